"""The WSGI application of a web process, for any server."""

import os
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connections

from ilara_admin.core import limits


def web_application() -> Any:
    """Set up Django, the time limits of calls, and the pooler if there is one."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ilara_admin.settings")
    application = get_wsgi_application()
    limits.set_for_process(limits.API)
    # In place: the engine reads it at each new connection.
    connections.settings["default"].update(settings.POOLED_DATABASE)
    return application
