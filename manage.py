#!/usr/bin/env python
"""The command line of Ilara: `manage.py serve` runs it, `manage.py help` lists the rest."""

import os
import sys
from contextlib import suppress

# The usual exit codes of programs ended by Ctrl-C, and by a closed pipe.
INTERRUPTED, PIPE_CLOSED = 130, 141


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ilara_admin.settings")
    from ilara_admin.runtime.loading import without_collector

    with without_collector():
        import django
        from django.core.exceptions import ImproperlyConfigured

        from ilara_admin.management.help import IlaraManagement

        with suppress(ImproperlyConfigured):  # the command says what is missing
            django.setup()
    try:
        IlaraManagement(sys.argv).execute()
    except ImproperlyConfigured as error:
        sys.exit(f"ilara: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        # Python would flush them at exit, too late to handle the error of a closed pipe.
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()


def _discard_output() -> None:
    """Let the flush at exit succeed: discard what a stream with a closed pipe still holds."""
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
        sys.exit(PIPE_CLOSED)
