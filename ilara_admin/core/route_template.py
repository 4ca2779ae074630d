"""Routes as metrics and logs name them: never a path, which may contain an external id.

The web server imports this before Django is set up.
"""

import re
from functools import cache

API_PREFIXES = ("/v1/", "/ofrep/")
CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>")
UNMATCHED = "^$"  # the route of a path that does not exist


@cache
def route_template(route: str) -> str:
    """A Django route as a path: `^/v1/flags/<str:key>` gives `/v1/flags/{key}`."""
    path = "/" + route.removeprefix("^").removeprefix("/")
    # Regular expressions stand for paths that do not exist.
    return "unmatched" if set(path) & set("^$(\\") else CONVERTER.sub(r"{\1}", path)
