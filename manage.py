#!/usr/bin/env python
"""The command line of Ilara: `manage.py serve` runs it, `manage.py help` lists the rest."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ilara_admin.settings")
    from django.core.exceptions import ImproperlyConfigured

    from ilara_admin.management.help import IlaraManagement

    try:
        IlaraManagement(sys.argv).execute()
    except ImproperlyConfigured as error:
        sys.exit(f"ilara: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # what shells expect of a program that Ctrl-C ended


if __name__ == "__main__":
    main()
