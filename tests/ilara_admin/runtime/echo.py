"""A small WSGI application: it answers with the body it got, after `?seconds`; `/broken` breaks off
in the middle."""

import time
from collections.abc import Callable, Iterator
from typing import Any


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
) -> Iterator[bytes]:
    body = environ["wsgi.input"].read()
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Length", str(len(body)))])
    yield body
    if environ["PATH_INFO"] == "/broken":
        raise ValueError
