"""What an endpoint declares: an `Endpoint` for dispatch, with its `Docs` for the specification.

Docstrings of views are published, too: the first sentence as the summary, the rest as the text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from ilara_admin.api.errors import ApiError, Failure

JSON = "application/json"

type EndpointView = Callable[..., HttpResponseBase]
# Makes the response for an error; the mapping holds the path's parameters.
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
class Docs:
    """What the specification publishes and no request needs.

    `reply` is the type of a success (inside the envelope, if there is one); `statuses` says what
    each success means. `path` has the types of the path's parameters, `query` those of the query
    string; `headers` names special request headers. `counts` are limits besides that of requests.
    `invalid` is an example message of a 400 whose first word is the field, `missing` are all
    messages of a 404, `conflict` is one of a 409. `failure` is the type of an error."""

    reply: Any = None
    statuses: Mapping[int, str] = field(default_factory=lambda: {200: "The answer."})
    path: Mapping[str, Any] = field(default_factory=dict)
    query: type[msgspec.Struct] | None = None
    headers: tuple[str, ...] = ()
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
    """What dispatch needs: who may call, what the body decodes to, how errors look."""

    method: str
    view: EndpointView
    body: type[msgspec.Struct] | None
    key: bool
    secret: bool
    basic: bool
    bearer: bool
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
    body: type[msgspec.Struct] | None = None,
    key: bool = True,
    secret: bool = False,
    basic: bool = False,
    bearer: bool = False,
    checks_itself: tuple[str, ...] = (),
    decodes_itself: bool = False,
    exact_numbers: bool = False,
    shape: ErrorShape = _envelope,
    docs: Docs = UNDOCUMENTED,
) -> Callable[[EndpointView], Endpoint]:
    """Declare an endpoint. The view gets the request, the path's parameters (`player_id` as a UUID)
    and the decoded `body`, if there is one.

    Without `key` the call needs no API key; `secret` needs a secret one. `basic` endpoints stay
    open to public keys in an environment that restricts them. `bearer` also accepts the key in the
    Authorization header. `checks_itself` names the fields of the body whose contents the view
    checks, `decodes_itself` leaves the whole body to the view, `exact_numbers` decodes numbers with
    a fraction as Decimal. `shape` makes the response for an error."""
    return lambda view: Endpoint(
        method=method,
        view=view,
        body=body,
        key=key,
        secret=secret,
        basic=basic,
        bearer=bearer,
        checks_itself=checks_itself,
        decodes_itself=decodes_itself,
        exact_numbers=exact_numbers,
        shape=shape,
        docs=docs,
    )
