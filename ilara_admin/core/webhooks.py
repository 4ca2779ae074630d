"""Incoming webhooks of Slack and Discord: which addresses are allowed, and sending to one.

Only to the hosts of Slack, Discord and ILARA_WEBHOOK_HOSTS: otherwise an admin of a project could
make the server call machines of its own network.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from ilara_admin.models import ChannelKind

HOSTS = {
    ChannelKind.SLACK: ("https://hooks.slack.com",),
    ChannelKind.DISCORD: ("https://discord.com", "https://discordapp.com"),
}
PORTS = {"https": 443, "http": 80}
SECONDS = 10
ANSWER_BYTES = 200
SHOWN_CHARACTERS = 4
# The receiver is overloaded, or asks to wait.
TEMPORARY = (408, 425, 429)


class Undelivered(Exception):
    """A message could not be delivered, and why, without secrets. `is_final`: another attempt
    would fail, too. `pause` is what the receiver asks for."""

    def __init__(
        self, text: str, *, is_final: bool = False, pause: timedelta = timedelta()
    ) -> None:
        super().__init__(text)
        self.is_final, self.pause = is_final, pause


def address_problem(kind: ChannelKind, url: str, more_hosts: Collection[str] = ()) -> str:
    """Why a channel cannot have this address, as a sentence; "" if it can.

    `more_hosts` are entries of ILARA_WEBHOOK_HOSTS: a host, a host with a port, or either after
    `http://`, which allows it without encryption.
    """
    allowed = {_origin(each) for each in HOSTS[kind]}
    allowed |= {_origin(each if "//" in each else f"https://{each}") for each in more_hosts}
    if not url.isascii() or any(each.isspace() or each < " " for each in url):
        return "The address has characters that are not allowed in one. Copy it again."
    try:
        parts, origin = urlsplit(url), _origin(url)
    except ValueError:
        return "This is not an address. Copy it again."
    if parts.username is not None or parts.password is not None:
        return "The address must not hold a user name or a password."
    if origin not in allowed:
        hosts = " or ".join(each.removeprefix("https://") for each in HOSTS[kind])
        return (
            f"The address must begin with https:// and the host {hosts}. Others must be listed in "
            "ILARA_WEBHOOK_HOSTS."
        )
    if parts.path in ("", "/"):
        return "The address lacks what follows the host. Copy it whole."
    return ""


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)


def masked(url: str) -> str:
    """The host and the last characters, such as `hooks.slack.com/…a1B2`."""
    parts = urlsplit(url)
    return f"{parts.netloc}/…{url[-SHOWN_CHARACTERS:]}"


def post(kind: ChannelKind, url: str, payload: Mapping[str, Any]) -> None:
    """Send one message. Raises Undelivered."""
    import requests  # loaded only where messages are sent

    if problem := address_problem(kind, url, settings.WEBHOOK_HOSTS):
        raise Undelivered(problem, is_final=True)
    try:
        with requests.post(
            url, json=payload, timeout=SECONDS, allow_redirects=False, stream=True
        ) as answer:
            text = answer.raw.read(ANSWER_BYTES, decode_content=True)
    # The texts of these errors would show the address.
    except requests.exceptions.SSLError:
        raise Undelivered("The certificate of the host is not valid.") from None
    except requests.Timeout:
        raise Undelivered(f"The host did not answer within {SECONDS} seconds.") from None
    except (requests.RequestException, OSError):
        raise Undelivered("The host cannot be reached.") from None
    if answer.status_code >= 300:  # a redirect may lead to any host
        raise _refused(answer.status_code, answer.headers, text.decode("utf-8", "replace"))


def _refused(status: int, headers: Mapping[str, str], text: str) -> Undelivered:
    words = f": {' '.join(text.split())}" if text.strip() else ""
    pause = headers.get("Retry-After", "")
    return Undelivered(
        f"The host answered {status}{words}",
        is_final=status < 500 and status not in TEMPORARY,
        pause=timedelta(seconds=int(pause)) if pause.isdecimal() else timedelta(),
    )
