"""The operations of the API, derived from the endpoints' declarations. Rendered by the reference
pages and published by `openapi.py`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import getdoc
from typing import Any

import msgspec
from django.urls import URLResolver, get_resolver

from ilara_admin.api import rate_limits
from ilara_admin.api.body_errors import PLAYER_ID
from ilara_admin.api.endpoint import Docs, Endpoint, Example
from ilara_admin.api.errors import (
    FOR_SERVERS,
    LACKS_SCOPE,
    NOT_IN_BROWSER,
    OTHER_STATUSES,
    RESTRICTED,
    STATUS,
    ApiError,
    Code,
    unauthorized,
)
from ilara_admin.api.hints import key_problem
from ilara_admin.api.json_schema import INTEGER_RANGE, PlayerId
from ilara_admin.models import KeyKind, Tier

# By path prefix.
TAGS = {
    "/v1/players/": ("Players", "Register, read and update players; record sessions and purchases"),
    "/v1/events/": ("Events", "Track events singly and in batches; stream them"),
    "/v1/flags/": ("Feature flags", "Evaluate flags for a player, with reasons"),
    "/v1/experiments/": ("Experiments", "Read the results of experiments"),
    "/v1/segments/": ("Segments", "Evaluate which segments a player is in"),
    "/ofrep/": ("OpenFeature", "The same flags in OFREP 0.3.0, for OpenFeature SDKs"),
    "/v1/": ("Specification", "The specification of this API"),
}
HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "Idempotency-Key": (
        {"type": "string", "maxLength": 128, "examples": ["order_8812"]},
        "Used if the body has no id.",
    ),
    "Last-Event-ID": (
        {"type": "integer", "minimum": 0, "maximum": INTEGER_RANGE.stop - 1, "examples": [4711]},
        "The id of the last event received; the stream resumes after it. Default: only new events.",
    ),
    "If-None-Match": (
        {"type": "string", "examples": ['"5f2b8c0e4d1a49f7a3c6e9d2b7f01a58"']},
        "The ETag of a cached reply.",
    ),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """`place` is `path`, `query` or `header`."""

    name: str
    place: str
    required: bool
    schema: Mapping[str, Any]
    text: str
    example: Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of an operation: `error` is an example, `text` says when it occurs."""

    error: ApiError
    text: str


@dataclass(frozen=True, slots=True)
class Operation:
    """`keys` are the allowed kinds of keys. `restricted` operations need a secret key in an
    environment that restricts public keys. `limits` are the rate limits that apply."""

    id: str
    method: str
    path: str
    tag: str
    summary: str
    text: str
    keys: tuple[str, ...]
    restricted: bool
    limits: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    refusals: tuple[Refusal, ...]
    endpoint: Endpoint

    @property
    def docs(self) -> Docs:
        return self.endpoint.docs

    @property
    def statuses(self) -> Mapping[int, str]:
        return self.docs.statuses

    @property
    def examples(self) -> tuple[Example, ...]:
        return self.docs.examples

    def failure(self, error: ApiError) -> Any:
        """The reply for an error, with the examples as path parameters."""
        captured = {
            each.name: str(each.example) for each in self.parameters if each.place == "path"
        }
        return msgspec.json.decode(self.endpoint.shape(error, captured).content)


@cache
def operations() -> tuple[Operation, ...]:
    """All operations of the API, in the order of the tags."""
    found = list(_walk(get_resolver("ilara_admin.api_urls").url_patterns, "/"))
    order = [tag for tag, _ in TAGS.values()]
    return tuple(sorted(found, key=lambda operation: order.index(operation.tag)))


def _walk(patterns: Iterable[Any], before: str) -> Iterator[Operation]:
    for pattern in patterns:
        place = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, place)
            continue
        for item in getattr(pattern.callback, "endpoints", {}).values():
            yield _operation(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", place), item)


def _operation(place: str, item: Endpoint) -> Operation:
    summary, _, text = " ".join((getdoc(item.view) or "").split()).partition(". ")
    kinds = (KeyKind.SECRET,) if item.secret else (KeyKind.PUBLIC, KeyKind.SECRET)
    parameters = tuple(_parameters(place, item))
    return Operation(
        id=item.view.__name__,
        method=item.method,
        path=place,
        tag=next(tag for start, (tag, _) in TAGS.items() if place.startswith(start)),
        summary=summary.removesuffix("."),
        text=text,
        keys=tuple(str(kind) for kind in kinds) if item.scope else (),
        restricted=item.scope is not None and not item.secret and not item.basic,
        limits=(rate_limits.REQUESTS, *item.docs.counts) if item.scope else (),
        parameters=parameters,
        refusals=tuple(_refusals(item, parameters)) if item.scope else (),
        endpoint=item,
    )


# --- Parameters -----------------------------------------------------------------------------------


def _parameters(place: str, item: Endpoint) -> Iterator[Parameter]:
    for name in re.findall(r"\{(\w+)\}", place):
        wanted = PlayerId if name == "player_id" else item.docs.path.get(name, str)
        yield _parameter(name, "path", True, msgspec.json.schema(wanted))
    if (query := item.docs.query) is not None:
        _, components = msgspec.json.schema_components([query])
        for name, schema in components[query.__name__]["properties"].items():
            yield _parameter(name, "query", False, _without_null(schema))
    for name in item.docs.headers:
        schema, text = HEADERS[name]
        yield _parameter(name, "header", False, schema | {"description": text})


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without null: a query parameter is absent instead."""
    if "anyOf" not in schema:
        return schema
    return next(part for part in schema["anyOf"] if part != {"type": "null"})


def _parameter(name: str, place: str, required: bool, schema: dict[str, Any]) -> Parameter:
    rest = dict(schema)
    text, examples = rest.pop("description", ""), rest.pop("examples", [None])
    return Parameter(name, place, required, rest, text, examples[0])


# --- Refusals -------------------------------------------------------------------------------------


def _refusals(item: Endpoint, parameters: tuple[Parameter, ...]) -> Iterator[Refusal]:
    def refusal(status: int, message: str, field: str | None = None, when: str = "") -> Refusal:
        code, other = OTHER_STATUSES.get(status) or (_code_of(status), "")
        text = when or (f"{other[0].upper()}{other[1:]}." if other else code.meaning)
        fix = PLAYER_ID if field == "player_id" else None
        return Refusal(ApiError(code, message, field=field, status=status, fix=fix), text)

    yield refusal(400, *_invalid(item, parameters))
    yield refusal(401, unauthorized(key_problem("", {}, ())).message)
    yield refusal(403, _forbidden(item))
    lacking = LACKS_SCOPE.format(scope=item.scope)
    yield refusal(403, lacking, when="When a secret key does not have the scope.")
    for message in item.docs.missing:
        yield refusal(404, message, when=f"{message.partition('.')[0]}.")
    if item.docs.conflict:
        yield refusal(409, item.docs.conflict)
    if item.body is not None:
        yield refusal(413, "The body is larger than 1 MiB")
        yield refusal(415, "Send the body as application/json")
    policy = rate_limits.POLICIES[Tier.FREE][rate_limits.REQUESTS]
    yield refusal(429, rate_limits.refused(rate_limits.LimitState(policy, 0, 30)).message)
    yield refusal(500, "Something went wrong on our side.")
    yield refusal(503, "The database cannot be reached right now. Try again in a moment.")


def _code_of(status: int) -> Code:
    return next(code for code in Code if STATUS[code] == status)


def _invalid(item: Endpoint, parameters: tuple[Parameter, ...]) -> tuple[str, str | None]:
    """The message and field of an example error: in the first field that can be wrong."""
    if message := item.docs.invalid:
        return message, message.partition(" ")[0]
    fields = msgspec.structs.fields(item.body) if item.body else ()
    required = [field.name for field in fields if field.required]
    if "player_id" in required or any(each.name == "player_id" for each in parameters):
        return "Invalid player_id format", "player_id"
    return f"{required[0]} is required", required[0]


def _forbidden(item: Endpoint) -> str:
    if item.secret:
        return FOR_SERVERS
    return NOT_IN_BROWSER if item.basic else RESTRICTED
