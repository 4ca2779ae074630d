"""Whether this process is shutting down, and that it does so with its parent.

Long responses, like the event stream, must check `stopping`: shutdown waits for open responses, up
to the server's graceful timeout.
"""

import ctypes
import os
import signal
import sys
import threading
from types import FrameType

PR_SET_PDEATHSIG = 1

stopping = threading.Event()


def install() -> None:
    """Set `stopping` on the signals that stop a gunicorn worker, before its handlers run."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        _chain(number)


def _chain(number: signal.Signals) -> None:
    previous = signal.getsignal(number)

    def handle(signum: int, frame: FrameType | None) -> None:
        stopping.set()
        if callable(previous):
            previous(signum, frame)
        elif previous == signal.SIG_DFL:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    signal.signal(number, handle)
    # As in gunicorn: signals do not interrupt the system calls of open responses.
    signal.siginterrupt(number, False)


def end_with_parent(parent: int, libc: ctypes.CDLL) -> None:
    """Called in a new child: it gets SIGTERM when its parent ends, even by `kill -9`."""
    if sys.platform == "linux":
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent ended before the prctl call
            os._exit(1)
