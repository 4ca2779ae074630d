"""The first middleware: sets the request id, and handles `/v1`, `/ofrep` and health probes before
any other middleware runs.

The request id appears on error pages, in logs, in audit entries and in the X-Request-Id header.
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
# Load balancers probe by IP address and over HTTP, which later middleware would refuse.
PROBES = {"/healthz": health.healthz, "/readyz": health.readyz}


def request_id(header: str | None) -> str:
    """The caller's id if it is safe in logs and headers, else a new one."""
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
