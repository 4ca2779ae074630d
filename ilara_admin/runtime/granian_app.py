"""The WSGI application for granian.

A granian worker sets its signal handlers after it has imported this, so `shutdown` is installed
behind them.
"""

import os
import signal
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string
from granian import _signals

from ilara_admin.core import shutdown

_set_signals = _signals.set_main_signals


def _set_signals_and_ours(*handlers: Any) -> None:
    _set_signals(*handlers)  # type: ignore[no-untyped-call]  # granian is not typed
    shutdown.install()
    for number in (signal.SIGINT, signal.SIGTERM):
        # The handlers run in the main thread, which waits in a system call.
        signal.siginterrupt(number, True)


_signals.set_main_signals = _set_signals_and_ours

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ilara_admin.settings")
application = import_string(settings.WSGI_APPLICATION)
