"""The address of a request's client, with or without proxies in front."""

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """The peer's address, or the one added to X-Forwarded-For by the outermost of our proxies.
    Earlier entries, and the whole header without a proxy, can be forged."""
    return forwarded_address(request) or str(request.META.get("REMOTE_ADDR", ""))


def forwarded_address(request: HttpRequest) -> str:
    """The address that the outermost of our proxies added; "" if the request did not pass all of
    them."""
    if not settings.PROXIES:
        return ""
    hops = request.headers.get("X-Forwarded-For", "").split(",")[-settings.PROXIES :]
    return hops[0].strip() if len(hops) == settings.PROXIES else ""
