"""The name of the program that makes a request. Imports no Django."""

import re
from functools import lru_cache

UNKNOWN, OTHER = "unknown", "other clients"

BROWSERS = re.compile(r"\b(Edg|OPR|Firefox|Chrome|Version)/(\d{1,4})")
BROWSER_NAMES = {"Edg": "Edge", "OPR": "Opera", "Version": "Safari"}
PRODUCT = re.compile(r"([A-Za-z][A-Za-z0-9._+-]{0,39})(?:/(\S*))?(?:\s.*)?", re.DOTALL)
VERSION = re.compile(r"v?\d{1,8}(?:\.\d{1,8}){0,3}(?:[-+.]?[A-Za-z][A-Za-z0-9.]{0,11})?")


@lru_cache(maxsize=1_000)
def client_name(user_agent: str) -> str:
    """`ilara-go/1.1` for a User-Agent, at most 80 characters. Comments in brackets are left out,
    and what looks like no version: some games send device or player ids."""
    if user_agent.startswith("Mozilla/"):
        found = {match[1]: match[2] for match in BROWSERS.finditer(user_agent)}
        for name in ("Edg", "OPR", "Firefox", "Chrome", "Version"):
            if name in found:
                return f"{BROWSER_NAMES.get(name, name)}/{found[name]}"
        return "a browser"
    product = PRODUCT.fullmatch(user_agent.strip())
    if product is None:
        return OTHER if user_agent.strip() else UNKNOWN
    name, version = product[1], product[2] or ""
    return f"{name}/{version}" if VERSION.fullmatch(version) else name
