"""The one error shape of the API."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from django.http import HttpResponse
from msgspec import UNSET, Meta, Struct, UnsetType

from ilara_admin.api.enums import DocumentedEnum


class Code(DocumentedEnum):
    """The published codes. A value is never reused for something else."""

    VALIDATION_ERROR = (
        "VALIDATION_ERROR",
        "The request cannot be parsed or a value is not valid; details name the field.",
    )
    UNAUTHORIZED = "UNAUTHORIZED", "The key is missing, unknown, expired or revoked."
    NOT_FOUND = (
        "NOT_FOUND",
        "The path, player, flag or segment does not exist in the environment of the key.",
    )
    RATE_LIMIT_EXCEEDED = (
        "RATE_LIMIT_EXCEEDED",
        "More calls or events than the project's tier allows. Retry after the number of seconds in "
        "the Retry-After header.",
    )
    INTERNAL_ERROR = "INTERNAL_ERROR", "An error on the server."


STATUS = {
    Code.VALIDATION_ERROR: 400,
    Code.UNAUTHORIZED: 401,
    Code.NOT_FOUND: 404,
    Code.RATE_LIMIT_EXCEEDED: 429,
    Code.INTERNAL_ERROR: 500,
}

# Other statuses of a code, and when they occur.
OTHER_STATUSES = {
    405: (Code.VALIDATION_ERROR, "for a method that the path does not support"),
    409: (Code.VALIDATION_ERROR, "for an id that belongs to another player"),
    413: (Code.VALIDATION_ERROR, "for a body above 1 MiB"),
    415: (
        Code.VALIDATION_ERROR,
        "for a body that is not JSON, or compressed in another way than gzip",
    ),
    403: (
        Code.UNAUTHORIZED,
        "when the key is valid but not allowed for this call: a public key where a secret one is "
        "required, a secret key without the scope or from a browser, or an address outside the "
        "networks of the key",
    ),
    503: (Code.INTERNAL_ERROR, "with Retry-After while the database is away, too slow or full"),
}


def describe_code(code: Code) -> str:
    """The description of a code, with its other statuses."""
    others = [f"{status} {when}" for status, (of, when) in OTHER_STATUSES.items() if of is code]
    return f"{code.meaning} {', '.join(others)}." if others else code.meaning


class Detail(Struct):
    """`field` is the path of the invalid value in the request, like `events[3].player_id`."""

    field: str
    message: str


class Fault(Struct):
    """`code` is for programs, `message` for people. `details` name the fields that are not
    valid."""

    code: Code
    message: str
    details: list[Detail] | UnsetType = UNSET


class Failure(Struct):
    """The envelope of every error."""

    success: Annotated[bool, Meta(extra_json_schema={"const": False})]
    error: Fault


class ApiError(Exception):
    """Ends a request with `{"success": false, "error": {code, message, details?}}`.

    `field` is the path of the invalid value in the request, like `events[3].player_id`. `fix` says
    what to do next where `message` is a published text; it becomes the message of the detail.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        field: str | None = None,
        fix: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.fix = fix
        self.status = status or STATUS[code]
        self.headers = dict(headers or {})

    def response(self) -> HttpResponse:
        details = UNSET if self.field is None else [Detail(self.field, self.fix or self.message)]
        body = msgspec.json.encode(Failure(False, Fault(self.code, self.message, details)))
        return HttpResponse(
            body, status=self.status, content_type="application/json", headers=self.headers
        )


def invalid(
    message: str, field: str | None = None, status: int | None = None, fix: str | None = None
) -> ApiError:
    return ApiError(Code.VALIDATION_ERROR, message, field=field, status=status, fix=fix)


def not_found(message: str) -> ApiError:
    return ApiError(Code.NOT_FOUND, message)


INVALID_KEY = "Invalid API key"
NOT_IN_BROWSER = "A secret key must not be used from a browser. Use a public key (pk_)."
FOR_SERVERS = "This call needs a secret key (sk_). Make it from your game's server."
RESTRICTED = (
    "Public keys may only register, track and evaluate here. Use a secret key on your game's "
    "server, or lift the restriction in the environment's settings."
)

LACKS_SCOPE = (
    "This key does not have the scope {scope}. Use another key, or have an admin edit this one in "
    "the dashboard under API keys."
)
OTHER_NETWORK = (
    "The address {address} is not among the networks of this key. An admin can add it in the "
    "dashboard under API keys."
)
PROXIES_HINT = " If it is the address of a proxy of Ilara, set ILARA_PROXIES."


def unauthorized(reason: str) -> ApiError:
    """401. The message begins with the published text, the reason follows."""
    challenge = {"WWW-Authenticate": 'Bearer realm="Ilara"'}
    return ApiError(Code.UNAUTHORIZED, f"{INVALID_KEY}: {reason}", headers=challenge)


def forbidden(message: str) -> ApiError:
    """403: the key is valid but may not do this."""
    return ApiError(Code.UNAUTHORIZED, message, status=403)
