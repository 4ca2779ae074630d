"""What this process knows about its database: whether it hangs, and whether it is out of space.

A hanging server accepts connections and never answers. Threads that wait for it answer no other
requests. So once a new connection gets no answer either, statements fail at once until one does.
"""

import threading
import time
from collections.abc import Callable

PAUSE_SECONDS = 0.5

hangs = False
# Set when a write fails for lack of space, until /readyz can write again.
is_full = False

_lock = threading.Lock()
_answered = threading.Event()  # cleared while a thread waits for an answer
_answered.set()


def suspect(ask: Callable[[], bool]) -> None:
    """Find out in a thread whether the database hangs. `ask` returns whether it answers, within
    seconds."""
    with _lock:
        if _answered.is_set():
            _answered.clear()
            threading.Thread(target=_watch, args=(ask,), name="database", daemon=True).start()


def answers(ask: Callable[[], bool], seconds: float) -> bool:
    """Whether the database answers in time."""
    suspect(ask)
    return _answered.wait(seconds)


def _watch(ask: Callable[[], bool]) -> None:
    global hangs
    try:
        while not ask():
            hangs = True
            time.sleep(PAUSE_SECONDS)
    finally:
        hangs = False
        _answered.set()
