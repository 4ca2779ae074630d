"""Whether this process is shutting down.

Long responses, like the event stream, must check `stopping`: shutdown waits for open responses, up
to the server's graceful timeout.
"""

import os
import signal
import threading
from types import FrameType

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
