"""Time limits of database work: for calls of the API, pages, jobs and commands.

PostgreSQL ends a statement, a wait for a lock or an idle transaction that takes too long. A server
that hangs enforces nothing, so this process also stops waiting by itself, a little later.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds; 0 is no limit. PostgreSQL enforces the first three, this process the last."""

    statement: float
    lock: float
    idle_in_transaction: float
    answer: float

    @property
    def settings(self) -> dict[str, str]:
        """PostgreSQL's settings, in milliseconds."""
        return {
            "statement_timeout": f"{self.statement * 1000:.0f}",
            "lock_timeout": f"{self.lock * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{self.idle_in_transaction * 1000:.0f}",
        }


# A new partition locks the event table for up to four seconds; calls must outlast that.
API = Limits(statement=6, lock=5, idle_in_transaction=10, answer=7)
PAGE = Limits(statement=15, lock=5, idle_in_transaction=30, answer=17)
JOB = Limits(statement=600, lock=30, idle_in_transaction=600, answer=630)
# /readyz answers within two seconds: half for connecting, half for its query.
PROBE = Limits(statement=0.8, lock=0.8, idle_in_transaction=10, answer=0.9)
# A migration or an import by a person takes as long as it takes.
COMMAND = Limits(statement=0, lock=0, idle_in_transaction=0, answer=0)

# Read directly where every statement passes, instead of by current().
of_process = COMMAND


class _OfThread(threading.local):
    limits: Limits | None = None


of_thread = _OfThread()


def current() -> Limits:
    """The limits of what this thread does now."""
    return of_thread.limits or of_process


def set_for_process(limits: Limits) -> None:
    """The limits of this process's work, unless a thread uses others."""
    global of_process
    of_process = limits


@contextmanager
def using(limits: Limits) -> Iterator[None]:
    """Other limits in this thread."""
    before = of_thread.limits
    of_thread.limits = limits
    try:
        yield
    finally:
        of_thread.limits = before
