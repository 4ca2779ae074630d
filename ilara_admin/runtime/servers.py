"""The web servers that `serve` can start, and their commands."""

import importlib.util
import sys
from ipaddress import ip_address

from django.conf import settings

from ilara_admin.runtime import sizing

GUNICORN, GRANIAN = "gunicorn", "granian"
SERVERS = (GUNICORN, GRANIAN)


def is_installed(server: str) -> bool:
    return importlib.util.find_spec(server) is not None


def web_command(server: str, host: str, port: int, workers: int | None = None) -> list[str]:
    """To be run with the checkout as the working folder."""
    workers = workers or sizing.web_workers()
    count = str(workers)
    if server == GRANIAN:
        threads = str(sizing.web_threads(workers))
        return [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--http", "1", "--no-ws"),
            *("--host", host, "--port", str(port), "--workers", count),
            # Its backpressure counts clients, also those that are connected and silent.
            *("--blocking-threads", threads, "--backpressure", str(sizing.web_connections())),
            *("--workers-kill-timeout", "10", "--respawn-failed-workers"),
            # At the level of warnings, it calls so many threads unusual.
            *("--log-level", "error", "ilara_admin.runtime.granian_app:application"),
        ]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return [
        *(sys.executable, "-m", "gunicorn", "-c", "ilara_admin/runtime/gunicorn_conf.py"),
        *("--bind", address, "--workers", count, "--log-level", "warning", "ilara_admin.wsgi"),
    ]


def proxy_advice(server: str, host: str) -> str:
    """What belongs in front of the server at this address, or "" if nothing does."""
    if settings.HTTPS:
        return ""
    if not _is_loopback(host):
        return "keys travel unencrypted: put a TLS proxy in front and set ILARA_HTTPS=1"
    if server == GRANIAN:
        return "put one that buffers in front: slow clients occupy granian's threads"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
