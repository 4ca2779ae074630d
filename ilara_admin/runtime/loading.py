"""Loading the modules of a process faster."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Import modules without the garbage collector.

    It would walk through all that is loaded again and again, a seventh of the time, and find
    nothing: modules, classes and functions stay. Later collections leave them out, too.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
