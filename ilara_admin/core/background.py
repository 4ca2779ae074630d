"""Periodic background work in each process."""

import atexit
import os
import threading
from collections.abc import Callable

from django.db import connection


def run_every(seconds: float, name: str, work: Callable[[], None]) -> Callable[[], None]:
    """A function that starts the thread of this process unless it runs. Cheap to call.

    `work` also runs when the process exits. It must not raise. The thread closes its database
    connection after each run.
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
        if thread_of_process == os.getpid():  # a forked process has no copy of the thread
            return
        with starting:
            if thread_of_process != os.getpid():
                thread_of_process = os.getpid()
                threading.Thread(target=run, name=name, daemon=True).start()
                atexit.register(once)

    return start
