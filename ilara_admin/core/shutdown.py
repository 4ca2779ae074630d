"""Whether this process is about to stop.

Whoever answers for longer than a moment, like the event stream, looks here: a stop waits for every
open reply, up to the server's full grace period.
"""

import os
import signal
import threading
from types import FrameType

stopping = threading.Event()


def install() -> None:
    """Set `stopping` at the signals that end a gunicorn worker, before its own handlers run."""
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
    # As gunicorn has it: a stop does not interrupt the system calls of open replies.
    signal.siginterrupt(number, False)
