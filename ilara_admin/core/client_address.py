"""The address of a request's client, with or without proxies in front."""

import re
from ipaddress import IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

IPV6_SUBSCRIBER = 64  # bits: the smallest network that a provider assigns
# Some proxies add the client's port.
WITH_PORT = re.compile(r"\[(.+)\](?::\d+)?|([0-9.]+):\d+")


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


def network_of(address: str) -> str:
    """What one client can send from: an IPv4 address, or the /64 of an IPv6 address. Other texts
    stay as they are."""
    match = WITH_PORT.fullmatch(address)
    try:
        found = ip_address(match[1] or match[2] if match else address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is None:
            return str(ip_network((int(found), IPV6_SUBSCRIBER), strict=False))
        found = found.ipv4_mapped
    return str(found)
