"""The WSGI application of a web process, for any server: `gunicorn ilara_admin.wsgi`."""

import os
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connections

from ilara_admin.core import limits
from ilara_admin.core.route_template import API_PREFIXES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ilara_admin.settings")
django_application = get_wsgi_application()
limits.set_for_process(limits.API)
# In place: the engine reads it at each new connection.
connections.settings["default"].update(settings.POOLED_DATABASE)

from ilara_admin.middleware import api_application  # noqa: E402  # needs Django to be set up


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    is_api = environ["PATH_INFO"].startswith(API_PREFIXES)
    answer = api_application if is_api else django_application
    return answer(environ, start_response)
