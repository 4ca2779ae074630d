"""The one error shape of the API."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec
from django.http import HttpResponse


class Code(StrEnum):
    """The published codes. A value is never reused for something else."""

    VALIDATION_ERROR = "VALIDATION_ERROR"
    UNAUTHORIZED = "UNAUTHORIZED"
    NOT_FOUND = "NOT_FOUND"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


STATUS = {
    Code.VALIDATION_ERROR: 400,
    Code.UNAUTHORIZED: 401,
    Code.NOT_FOUND: 404,
    Code.RATE_LIMIT_EXCEEDED: 429,
    Code.INTERNAL_ERROR: 500,
}


class ApiError(Exception):
    """Ends a request with `{"success": false, "error": {code, message, details?}}`.

    `field` locates the fault in the request, like `events[3].player_id`.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        field: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.status = status or STATUS[code]
        self.headers = dict(headers or {})

    def response(self) -> HttpResponse:
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.field is not None:
            error["details"] = [{"field": self.field, "message": self.message}]
        body = msgspec.json.encode({"success": False, "error": error})
        return HttpResponse(
            body, status=self.status, content_type="application/json", headers=self.headers
        )


def invalid(message: str, field: str | None = None, status: int | None = None) -> ApiError:
    return ApiError(Code.VALIDATION_ERROR, message, field=field, status=status)


def not_found(message: str) -> ApiError:
    return ApiError(Code.NOT_FOUND, message)


def unauthorized(message: str, status: int = 401) -> ApiError:
    return ApiError(Code.UNAUTHORIZED, message, status=status)
