"""Declarations of endpoints: an `Endpoint` for dispatch, with its `Docs` for the specification.

Docstrings of views are published too: the first sentence as the summary, the rest as description.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from ilara_admin.api.errors import ApiError, Failure
from ilara_admin.models import KeyScope

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
class Docs:
    """The published part of an endpoint, which requests do not need.

    `reply` is the type of the reply (inside the envelope, if any), `statuses` the meaning of each
    success status. `path` has the types of path parameters, `query` those of the query string;
    `headers` names special request headers. `repeats`: an id may be sent again with other content,
    which the reply reports. `counts` are the limits other than that of requests.
    `invalid` is an example message of 400 that starts with the field, `missing` are all messages of
    404 and `conflict` is one of 409. `failure` is the type of errors."""

    reply: Any = None
    statuses: Mapping[int, str] = field(default_factory=lambda: {200: "Success."})
    path: Mapping[str, Any] = field(default_factory=dict)
    query: type[msgspec.Struct] | None = None
    headers: tuple[str, ...] = ()
    repeats: bool = False
    counts: tuple[str, ...] = ()
    invalid: str = ""
    missing: tuple[str, ...] = ()
    conflict: str = ""
    examples: tuple[Example, ...] = ()
    media: str = JSON
    envelope: bool = True
    failure: type[msgspec.Struct] = Failure


UNDOCUMENTED = Docs()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What dispatch needs: who may call, the type of the body, and the format of errors."""

    method: str
    view: EndpointView
    body: type[msgspec.Struct] | None
    scope: KeyScope | None
    secret: bool
    basic: bool
    checks_itself: tuple[str, ...]
    decodes_itself: bool
    exact_numbers: bool
    shape: ErrorShape
    docs: Docs


def _envelope(error: ApiError, captured: Mapping[str, str]) -> HttpResponse:
    return error.response()


def endpoint(
    method: str,
    *,
    scope: KeyScope | None,
    body: type[msgspec.Struct] | None = None,
    secret: bool = False,
    basic: bool = False,
    checks_itself: tuple[str, ...] = (),
    decodes_itself: bool = False,
    exact_numbers: bool = False,
    shape: ErrorShape = _envelope,
    docs: Docs = UNDOCUMENTED,
) -> Callable[[EndpointView], Endpoint]:
    """Declare an endpoint. The view is called with the request, the path parameters (`player_id` as
    a UUID) and the decoded `body`, if any.

    `scope` is what a secret key needs; None: no API key is required. `secret`: a secret key is
    required. `basic` endpoints stay open to public keys in an environment that restricts them. The
    view checks the contents of the
    body fields in `checks_itself`, and with `decodes_itself` the whole body. `exact_numbers`
    decodes fractions as Decimal. `shape` formats errors."""
    return lambda view: Endpoint(
        method=method,
        view=view,
        body=body,
        scope=scope,
        secret=secret,
        basic=basic,
        checks_itself=checks_itself,
        decodes_itself=decodes_itself,
        exact_numbers=exact_numbers,
        shape=shape,
        docs=docs,
    )
