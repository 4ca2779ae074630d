"""The WSGI application of a web process, for any server: `gunicorn ilara_admin.wsgi`.

It passes calls of the API by Django's handler. Of what that does around a view, they need only the
care for the thread's database connection.
"""

import os
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.http import HttpResponse

from ilara_admin.core import limits
from ilara_admin.core.route_template import API_PREFIXES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ilara_admin.settings")
django = get_wsgi_application()
limits.set_for_process(limits.API)
# In place: the engine reads it at each new connection.
connections.settings["default"].update(settings.POOLED_DATABASE)

from ilara_admin.middleware import answer_api  # noqa: E402  # needs Django to be set up


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if not environ["PATH_INFO"].startswith(API_PREFIXES):
        return django(environ, start_response)
    connections["default"].close_if_unusable_or_obsolete()
    response = answer_api(WSGIRequest(environ))
    status = f"{response.status_code} {response.reason_phrase}"
    start_response(status, list(response.headers.items()))
    # The server closes a stream. Other responses hold nothing, and would send a signal.
    return [response.content] if isinstance(response, HttpResponse) else response
