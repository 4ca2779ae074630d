#!/usr/bin/env python
"""The command line of Ilara: `manage.py serve` runs it, `manage.py help` lists the rest."""

import os
import sys
from contextlib import suppress

# What shells expect of a program that Ctrl-C ended, and of one whose reader went.
INTERRUPTED, READER_GONE = 130, 141


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ilara_admin.settings")
    from django.core.exceptions import ImproperlyConfigured

    from ilara_admin.management.help import IlaraManagement

    try:
        IlaraManagement(sys.argv).execute()
    except ImproperlyConfigured as error:
        sys.exit(f"ilara: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        # Now, when a reader such as `head` that has gone is still an error that can be handled.
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()


def _discard_output() -> None:
    """Send to nowhere what the streams without a reader still hold; Python flushes them at exit."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            with suppress(OSError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        _discard_output()
        sys.exit(READER_GONE)
