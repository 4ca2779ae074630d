"""Small work that each process does now and then, off the hot path."""

import atexit
import os
import threading
from collections.abc import Callable

from django.db import connection


def run_every(seconds: float, name: str, work: Callable[[], None]) -> Callable[[], None]:
    """A function that sees to it that this process has a thread for the work. Cheap once it has.

    The work is also done when the process ends. It must not raise; the thread gives its connection
    back each time.
    """
    thread_of_process = 0
    starting = threading.Lock()

    def once() -> None:
        try:
            work()
        finally:
            connection.close()

    def run() -> None:
        wait = threading.Event()
        while not wait.wait(seconds):
            once()

    def start() -> None:
        nonlocal thread_of_process
        if thread_of_process == os.getpid():  # a fork takes no thread along
            return
        with starting:
            if thread_of_process != os.getpid():
                thread_of_process = os.getpid()
                threading.Thread(target=run, name=name, daemon=True).start()
                atexit.register(once)

    return start
