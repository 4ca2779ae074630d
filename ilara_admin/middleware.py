"""The first middleware: names each request, and answers `/v1`, `/ofrep` and the probes of load
balancers before any other runs.

The name joins an error page, a log line, an audit entry and the header that the caller sees.
"""

import re
import uuid
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from ilara_admin.api import dispatch
from ilara_admin.core import audit
from ilara_admin.runtime import health

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
API_PREFIXES = ("/v1/", "/ofrep/")
# A load balancer asks by address and over plain http: neither may be held against it.
PROBES = {"/healthz": health.healthz, "/readyz": health.readyz}


def request_id(header: str | None) -> str:
    """The id that the caller gave, if it is harmless in logs and headers, else a new one."""
    return header if header and REQUEST_ID.fullmatch(header) else uuid.uuid4().hex


class ApiMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.id = request_id(request.META.get("HTTP_X_REQUEST_ID"))  # type: ignore[attr-defined]
        audit.request_id.set(request.id)  # type: ignore[attr-defined]
        path = request.path_info
        if path.startswith(API_PREFIXES) or path in ("/v1", "/ofrep"):
            response = dispatch.answer(request)
        elif path in PROBES:
            response = PROBES[path](request)
        else:
            response = self.get_response(request)
        response.headers["X-Request-Id"] = request.id  # type: ignore[attr-defined]
        return response
