"""The WSGI application of a web process, for any server: `gunicorn ilara_admin.wsgi`."""

import os
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connections

from ilara_admin.core import limits
from ilara_admin.core.route_template import API_PREFIXES
from ilara_admin.runtime.loading import without_collector

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ilara_admin.settings")
with without_collector():
    django_application = get_wsgi_application()
    from ilara_admin.middleware import api_application  # needs Django to be set up
limits.set_for_process(limits.API)
# In place: the engine reads it at each new connection.
connections.settings["default"].update(settings.POOLED_DATABASE)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    is_api = environ["PATH_INFO"].startswith(API_PREFIXES)
    answer = api_application if is_api else django_application
    return answer(environ, start_response)
