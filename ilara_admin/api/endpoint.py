"""What an endpoint declares of itself. `api.py` acts on one half of it, `openapi.py` publishes all.

Docstrings of views are published, too: the first sentence as the summary, the rest as the text.
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
# Tells an error in a protocol of its own; the path captured what is in the mapping.
type ErrorShape = Callable[[ApiError, Mapping[str, str]], HttpResponse]


@dataclass(frozen=True, slots=True)
class Example:
    """A request and what it answers, without the envelope. What the path names is the example that
    the type of the parameter has."""

    reply: Any
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] | None = None
    status: int = 200
    name: str = "example"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`basic` endpoints stay open to public keys in an environment that restricts them; `bearer`
    ones take the key from `Authorization`, too."""

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
    """Declare an endpoint. The view is called with the request, what the path captured (a
    `player_id` as a UUID) and, if there is one, the decoded body. `checks_itself` names the fields
    of the body whose contents the view checks item by item, and `decodes_itself` leaves the whole
    body to it; `exact_numbers` gives numbers with a fraction as Decimal; `bearer` accepts the key
    in the Authorization header, too; without `key` nobody is asked for one.

    The others are for the specification. `reply` is the type of what is answered (inside the
    envelope, where there is one), `statuses` what each success means. `path` has the types of what
    the path captures, `query` those of the parameters in the address; `headers` names special ones.
    `counts` are the limits beside that of requests. `invalid` is an example of a message of 400, of
    which the first word is the field, `missing` are all messages of 404 and `conflict` is one of
    409. `failure` and `shape` are the type of an error and how it is made."""
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
        statuses=statuses or {200: "The answer."},
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
