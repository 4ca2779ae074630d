"""The commands of the web servers, and what belongs in front of them."""

import pytest
from pytest_django.fixtures import Settings

from ilara_admin.runtime.servers import GRANIAN, GUNICORN, SERVERS, proxy_advice, web_command


@pytest.mark.parametrize("server", SERVERS)
def test_command__has_the_configured_number_of_processes(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def processes(given: int | None) -> str:
        command = web_command(server, "127.0.0.1", 1, given)
        return command[command.index("--workers") + 1]

    monkeypatch.setenv("ILARA_WORKERS", "3")
    assert processes(None) == "3"
    assert processes(2) == "2"


def test_gunicorn__gets_brackets_around_an_ipv6_address() -> None:
    assert "[::1]:80" in web_command(GUNICORN, "::1", 80)


@pytest.mark.parametrize(
    ("server", "host", "https", "found"),
    [
        (GUNICORN, "127.0.0.1", False, ""),
        (GUNICORN, "127.0.0.2", False, ""),
        (GUNICORN, "::1", False, ""),
        (GUNICORN, "localhost", False, ""),
        (GUNICORN, "0.0.0.0", False, "TLS"),  # noqa: S104
        (GUNICORN, "::", False, "TLS"),
        (GUNICORN, "192.168.0.9", False, "TLS"),
        (GUNICORN, "game.example", False, "TLS"),
        (GUNICORN, "0.0.0.0", True, ""),  # noqa: S104
        (GRANIAN, "127.0.0.1", False, "buffers"),
        (GRANIAN, "0.0.0.0", False, "TLS"),  # noqa: S104
        (GRANIAN, "127.0.0.1", True, ""),
    ],
)
def test_proxy_advice(server: str, host: str, https: bool, found: str, settings: Settings) -> None:
    settings.HTTPS = https
    advice = proxy_advice(server, host)
    assert found in advice
    assert bool(found) == bool(advice)
