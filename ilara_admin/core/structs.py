"""Plain data and JSON read as types, by any thread. Imports no Django.

msgspec (0.22) looks at the fields of a class when it first reads one. A second thread that reads
one meanwhile uses the unfinished result, and the process ends with a segmentation fault. Here one
thread at a time looks at classes, and a class is read after that.
"""

import threading
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import msgspec

_looking = threading.Lock()


@cache
def converter(kind: Any) -> Callable[[Any], Any]:
    """A function that converts plain data to this type, or raises msgspec.ValidationError."""
    decoder(kind)
    return partial(msgspec.convert, type=kind)


@cache
def decoder(kind: Any, float_hook: Callable[[str], Any] | None = None) -> msgspec.json.Decoder[Any]:
    """Decodes JSON as this type; its `decode` raises msgspec.DecodeError."""
    with _looking:
        return msgspec.json.Decoder(kind, float_hook=float_hook)
