"""OFREP 0.3.0, OpenFeature's remote evaluation protocol, for OpenFeature SDKs.

Bodies and errors follow the protocol, without the envelope of /v1. API keys, limits and the order
of checks are those of /v1.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, ClassVar, NamedTuple, cast

import msgspec
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path, register_converter
from django.urls.converters import StringConverter

from flags import examples, usage
from flags.api import FLAG_NOT_FOUND, find_evaluation_context, unknown_flag
from flags.cache import FlagSet, flags_of, flags_part, split_precomputed
from flags.engine.bucketing import gate
from flags.engine.document import MetadataValue
from flags.engine.evaluation import (
    CompiledFlag,
    Decision,
    EvaluationContext,
    decide,
    evaluate,
    event_counts_needed,
    for_everyone,
)
from flags.ofrep.responses import (
    OfrepErrorCode,
    OfrepEvaluation,
    OfrepEvaluations,
    OfrepFailure,
    is_by_bucket,
    success,
    with_bucket,
)
from flags.results import exposures
from flags.schemas import FlagKey
from ilara_admin.api.bodies import is_uuid, read_body
from ilara_admin.api.dispatch import ApiRequest, encoder, is_known, route, run
from ilara_admin.api.endpoint import Docs, endpoint
from ilara_admin.api.errors import ApiError, invalid, not_found
from ilara_admin.api.json_schema import JSON_OBJECT, NO_NUL
from ilara_admin.models import KeyScope
from players.models import player_id_for
from players.statements import BY_EXTERNAL_ID, BY_ID
from segments.language.compiler import Subject
from segments.language.parser import EventCount

TARGETING_KEY = "targetingKey"
FIELD = f"context.{TARGETING_KEY}"
MAX_TARGETING_KEY = 255
INVALID_KEY = f"{FIELD} must be a string of at most {MAX_TARGETING_KEY} characters"
MISSING_KEY = f"This flag differs between players: send {FIELD}, the player's id or external id"
CONTEXT: dict[str, Any] = {
    "properties": {
        TARGETING_KEY: {
            "anyOf": [
                {"type": "string", "maxLength": MAX_TARGETING_KEY, **NO_NUL},
                {"type": "null"},
            ],
            "description": "The id or external id of a player.",
        }
    },
    **JSON_OBJECT,
}


class OfrepEvaluate(msgspec.Struct):
    """`context.targetingKey` is the id or external id of a player; the rest are attributes."""

    context: Annotated[dict[str, Any], msgspec.Meta(extra_json_schema=CONTEXT)] | None = None
    # All fields are optional, but an empty body is refused.
    json_schema: ClassVar[dict[str, Any]] = {}


def _error(error: ApiError, captured: Mapping[str, str]) -> HttpResponse:
    """The error reply; it names the flag when one was requested."""
    key = captured.get("key")
    failure = OfrepFailure(error.message)
    if error.status == 400:
        failure = OfrepFailure(error.message, _code(error), key)
    elif error.status == 404 and key is not None:
        failure = OfrepFailure(error.message, OfrepErrorCode.FLAG_NOT_FOUND, key)
    return _json(failure, status=error.status, headers=error.headers)


def _code(error: ApiError) -> OfrepErrorCode:
    if error.field is not None and re.match(r"context(?![^.[])", error.field):
        return OfrepErrorCode.INVALID_CONTEXT
    return OfrepErrorCode.PARSE_ERROR


def _without_key(flag: CompiledFlag) -> OfrepFailure:
    return OfrepFailure(MISSING_KEY, OfrepErrorCode.TARGETING_KEY_MISSING, flag.key)


def _json(reply: object, **options: Any) -> HttpResponse:
    return HttpResponse(encoder.encode(reply), content_type="application/json", **options)


@endpoint(
    "POST",
    scope=KeyScope.EVALUATE,
    body=OfrepEvaluate,
    basic=True,
    shape=_error,
    docs=Docs(
        reply=OfrepEvaluation,
        path={"key": FlagKey},
        invalid=INVALID_KEY,
        missing=(FLAG_NOT_FOUND.format(slug="live"),),
        examples=examples.OFREP,
        envelope=False,
        failure=OfrepFailure,
    ),
)
def ofrep_evaluate(request: ApiRequest, key: str, body: OfrepEvaluate) -> HttpResponse:
    """Evaluate one flag with an OpenFeature SDK. Send the API key in `X-API-Key` or, as a Bearer
    token, in `Authorization`. A player who is not registered yet is evaluated by the context
    alone, with the bucket that the player will have once registered. Without a `targetingKey`, a
    flag that is the same for all players is evaluated; others return `TARGETING_KEY_MISSING`."""
    sent = _sent(request, body)
    flag = flags_of(request.snapshot).get(key)
    if flag is None:
        raise unknown_flag(request, key, flags_part.of(request.snapshot))
    if sent.key is None:
        common = for_everyone(flag, _now(request), {})
        if common is None:
            return _json(_without_key(flag), status=400)
        usage.note(flag, common, request.META.get("HTTP_USER_AGENT", ""))
        return _json(success(flag, common))
    context = _context(request, sent.key, sent.attributes, event_counts_needed([flag]))
    decision = evaluate(flag, context)
    usage.note(flag, decision, request.META.get("HTTP_USER_AGENT", ""))
    flags = flags_part.of(request.snapshot)
    experiments = exposures.note(flags, flag, decision, context) if flags.measured else ()
    content = _encoded(flags, flag, decision, context, experiments)
    return HttpResponse(content, content_type="application/json")


@endpoint(
    "POST",
    scope=KeyScope.EVALUATE,
    body=OfrepEvaluate,
    basic=True,
    shape=_error,
    docs=Docs(
        reply=OfrepEvaluations,
        statuses={200: "The evaluations.", 304: "Unchanged since the ETag in If-None-Match."},
        headers=("If-None-Match",),
        invalid=INVALID_KEY,
        examples=examples.OFREP_ALL,
        envelope=False,
        failure=OfrepFailure,
    ),
)
def ofrep_evaluate_all(request: ApiRequest, body: OfrepEvaluate) -> HttpResponse:
    """Evaluate all flags with an OpenFeature SDK. Send the API key in `X-API-Key` or, as a Bearer
    token, in `Authorization`. Without a `targetingKey`, flags that differ between players have a
    failure in the reply. The reply has an ETag. Send it in `If-None-Match` to get 304 while nothing
    has changed."""
    sent = _sent(request, body)
    if sent.key is None:
        found = _all_for_everyone(request)
    else:
        found = _all_for_player(request, sent.key, sent.attributes)
    content = b'{"flags":[' + b",".join(found) + b"]}"
    etag = _etag(request.snapshot.version, body.context, content)
    if is_known(request, etag):
        return HttpResponse(status=304, headers={"ETag": etag})
    return HttpResponse(content, content_type="application/json", headers={"ETag": etag})


def _all_for_everyone(request: ApiRequest) -> list[bytes]:
    flags, now = flags_part.of(request.snapshot), _now(request)
    memo: dict[str, Decision | None] = {}
    found = [reply.ofrep for reply in flags.joined_constants]
    decided = []
    for flag in flags.varying:
        if decision := for_everyone(flag, now, memo):
            decided.append((flag, decision))
            found.append(encoder.encode(success(flag, decision)))
        else:
            found.append(encoder.encode(_without_key(flag)))
    usage.note_all(flags, decided)
    return found


def _all_for_player(request: ApiRequest, key: str, attributes: Mapping[str, Any]) -> list[bytes]:
    flags = flags_part.of(request.snapshot)
    context = _context(request, key, attributes, flags.event_counts)
    pending, ready = split_precomputed(flags, context)
    memo: dict[str, Decision] = {}
    decided = [(flag, decide(flag, context, memo)) for flag in pending]
    found = [reply.ofrep for reply in ready]
    experiments = exposures.note_all(flags, decided, context) if flags.measured else {}
    found += [
        _encoded(flags, flag, decision, context, experiments.get(flag.key, ()))
        for flag, decision in decided
    ]
    usage.note_all(flags, decided)
    return found


# --- Player ---------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """The context of a request. `key` is None if the targetingKey is missing, null or empty."""

    key: str | None
    attributes: Mapping[str, Any]


def _sent(request: ApiRequest, body: OfrepEvaluate) -> Sent:
    if not read_body(request).strip():
        raise invalid('The body is empty; send {"context": {"targetingKey": "..."}}')
    attributes = dict(body.context or {})
    key = attributes.pop(TARGETING_KEY, None)
    if key is not None and (not isinstance(key, str) or len(key) > MAX_TARGETING_KEY):
        raise invalid(INVALID_KEY, FIELD)
    return Sent(key or None, attributes)


def _now(request: ApiRequest) -> datetime:
    """The database's clock, after checking that the snapshot is current."""
    run(request, "SELECT config_version, now FROM env")
    return request.now


def _context(
    request: ApiRequest,
    key: str,
    attributes: Mapping[str, Any],
    event_counts: frozenset[EventCount],
) -> EvaluationContext:
    """The player, by id or external id. Without one, only the context is known; the buckets are
    those of the player who will register with that external id."""
    by_external_id = player_id_for(request.snapshot.namespace, key)
    tries = [(by_external_id, BY_EXTERNAL_ID)]
    if is_uuid(key):
        tries.insert(0, (uuid.UUID(key), BY_ID))
    for player_id, by in tries:
        if found := find_evaluation_context(request, player_id, event_counts, attributes, by):
            return found
    subject = Subject(attributes, {"external_id": key}, request.now)
    return EvaluationContext(str(by_external_id), subject, {}, request.now, is_registered=False)


def _encoded(
    flags: FlagSet,
    flag: CompiledFlag,
    decision: Decision,
    context: EvaluationContext,
    experiments: Sequence[str],
) -> bytes:
    """The evaluation as JSON. `experiments` are the keys of those that compare the player."""
    if experiments:
        fields: dict[str, MetadataValue] = {"experiment": ",".join(experiments)}
        if is_by_bucket(flag, decision):
            fields["bucket"] = gate(flag.salt, context.player_id)
        return encoder.encode(success(flag, decision, fields))
    ready = flags.decided.get(id(decision))
    if ready is None:  # no rule decided, but an override or a prerequisite
        return encoder.encode(success(flag, decision))
    if ready.by_bucket:
        return with_bucket(ready.ofrep, gate(flag.salt, context.player_id))
    return ready.ofrep


# --- ETag -----------------------------------------------------------------------------------------


def _etag(version: int, context: Mapping[str, Any] | None, content: bytes) -> str:
    """A hash of the configuration version, the context and the reply. The reply stands for the
    player's state and the clock: their effect on flags shows in it."""
    canonical = msgspec.json.encode(context, order="sorted")
    parts = (str(version).encode(), sha256(canonical).digest(), content)
    return f'"{sha256(b"|".join(parts)).hexdigest()[:32]}"'


# --- URLs -----------------------------------------------------------------------------------------


class AnyKeyConverter(StringConverter):
    """Any text, also empty or with slashes and newlines: OFREP's 404 names the key."""

    regex = r"[\s\S]*"


def no_such_path(request: HttpRequest, **captured: str) -> HttpResponseBase:
    """404 in the shape of OFREP, for other paths under /ofrep."""
    cast(ApiRequest, request).shape_error = lambda error: _error(error, {})
    raise not_found(
        "OFREP has no such path. POST to /ofrep/v1/evaluate/flags/{key} for one flag, "
        "or to /ofrep/v1/evaluate/flags for all."
    )


register_converter(AnyKeyConverter, "any_key")
urlpatterns = [
    path("evaluate/flags", route(ofrep_evaluate_all)),
    path("evaluate/flags/<any_key:key>", route(ofrep_evaluate)),
]
