"""Declarations of endpoints: `dispatch.py` enforces them, `apidocs/openapi.py` publishes them.

Docstrings of views are published too: the first sentence as the summary, the rest as description.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from ilara_admin.api.errors import ApiError, Failure

JSON = "application/json"

type EndpointView = Callable[..., HttpResponseBase]
# Formats an error for the protocol of the endpoint; the mapping holds the path parameters.
type ErrorShape = Callable[[ApiError, Mapping[str, str]], HttpResponse]


@dataclass(frozen=True, slots=True)
class Example:
    """A request and its reply, without the envelope. Path parameters take the examples of their
    types."""

    reply: Any
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] | None = None
    status: int = 200
    name: str = "example"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The fields are described at `endpoint`. `basic` endpoints stay open to public keys in an
    environment that restricts them."""

    method: str
    view: EndpointView
    body: type[msgspec.Struct] | None
    secret: bool
    basic: bool
    checks_itself: tuple[str, ...]
    decodes_itself: bool
    exact_numbers: bool
    bearer: bool
    key: bool
    reply: Any
    statuses: Mapping[int, str]
    path: Mapping[str, Any]
    query: type[msgspec.Struct] | None
    headers: tuple[str, ...]
    counts: tuple[str, ...]
    invalid: str
    missing: tuple[str, ...]
    conflict: str
    examples: tuple[Example, ...]
    media: str
    envelope: bool
    failure: type[msgspec.Struct]
    shape: ErrorShape


def _envelope(error: ApiError, captured: Mapping[str, str]) -> HttpResponse:
    return error.response()


def endpoint(
    method: str,
    *,
    body: type[msgspec.Struct] | None = None,
    secret: bool = False,
    basic: bool = False,
    checks_itself: tuple[str, ...] = (),
    decodes_itself: bool = False,
    exact_numbers: bool = False,
    bearer: bool = False,
    key: bool = True,
    reply: Any = None,
    statuses: Mapping[int, str] | None = None,
    path: Mapping[str, Any] | None = None,
    query: type[msgspec.Struct] | None = None,
    headers: tuple[str, ...] = (),
    counts: tuple[str, ...] = (),
    invalid: str = "",
    missing: tuple[str, ...] = (),
    conflict: str = "",
    examples: tuple[Example, ...] = (),
    media: str = JSON,
    envelope: bool = True,
    failure: type[msgspec.Struct] = Failure,
    shape: ErrorShape = _envelope,
) -> Callable[[EndpointView], Endpoint]:
    """Declare an endpoint. The view is called with the request, the path parameters (a `player_id`
    as a UUID) and the decoded body, if any. The view checks the contents of the body fields in
    `checks_itself`, and with `decodes_itself` the whole body. `exact_numbers` decodes numbers with
    a fraction as Decimal. `bearer` also accepts the key in the Authorization header. `key=False`:
    no key is required. `shape` formats errors.

    The others are for the specification. `reply` is the type of the reply (inside the envelope, if
    any), `statuses` the meaning of each success status. `path` has the types of path parameters,
    `query` those of the query string; `headers` names special headers. `counts` are the limits
    other than that of requests. `invalid` is an example message of 400 that starts with the field,
    `missing` are all messages of 404 and `conflict` is one of 409. `failure` is the type of
    errors."""
    return lambda view: Endpoint(
        method=method,
        view=view,
        body=body,
        secret=secret,
        basic=basic,
        checks_itself=checks_itself,
        decodes_itself=decodes_itself,
        exact_numbers=exact_numbers,
        bearer=bearer,
        key=key,
        reply=reply,
        statuses=statuses or {200: "Success."},
        path=path or {},
        query=query,
        headers=headers,
        counts=counts,
        invalid=invalid,
        missing=missing,
        conflict=conflict,
        examples=examples,
        media=media,
        envelope=envelope,
        failure=failure,
        shape=shape,
    )
