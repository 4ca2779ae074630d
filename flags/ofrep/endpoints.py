"""OFREP 0.3.0, OpenFeature's remote evaluation protocol, for OpenFeature SDKs.

Bodies and errors follow the protocol, without the envelope of /v1. API keys, limits and the order
of checks are those of /v1.
"""

import uuid
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, ClassVar, cast

import msgspec
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path, re_path

from flags import examples, usage
from flags.api import FLAG_NOT_FOUND, find_evaluation_context, unknown_flag
from flags.cache import flags_of, flags_part, split_precomputed
from flags.engine.bucketing import gate
from flags.engine.evaluation import (
    CompiledFlag,
    Decision,
    EvaluationContext,
    decide,
    evaluate,
    event_counts_needed,
)
from flags.ofrep.responses import OfrepEvaluation, OfrepEvaluations, is_by_bucket, success
from flags.schemas import FlagKey
from ilara_admin.api.bodies import is_uuid
from ilara_admin.api.dispatch import ApiRequest, encoder, is_known, route
from ilara_admin.api.endpoint import Docs, endpoint
from ilara_admin.api.errors import ApiError, Code, invalid, not_found
from ilara_admin.api.json_schema import JSON_OBJECT, NO_NUL
from players.models import player_id_for
from players.statements import BY_EXTERNAL_ID, BY_ID
from segments.language.compiler import Subject
from segments.language.parser import EventCount

TARGETING_KEY = "targetingKey"
MAX_TARGETING_KEY = 255
CONTEXT: dict[str, Any] = {
    "type": "object",
    "required": [TARGETING_KEY],
    "properties": {
        TARGETING_KEY: {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_TARGETING_KEY,
            **NO_NUL,
        }
    },
    **JSON_OBJECT,
}


class OfrepEvaluate(msgspec.Struct):
    """`context.targetingKey` is the id or external id of a player; the rest are attributes."""

    # Optional here, so that a missing context gets OFREP's error code.
    context: Annotated[dict[str, Any] | None, msgspec.Meta(extra_json_schema=CONTEXT)] = None
    json_schema: ClassVar[dict[str, Any]] = {"required": ["context"]}


class OfrepFailure(msgspec.Struct, omit_defaults=True):
    """An error as OFREP defines it. `errorCode` is set for 400 and 404, `key` when one flag was
    requested."""

    errorDetails: str
    errorCode: str | None = None
    key: str | None = None


def _error(error: ApiError, captured: Mapping[str, str]) -> HttpResponse:
    """The error reply; it names the flag when one was requested."""
    key = captured.get("key")
    failure = OfrepFailure(error.message)
    if error.status == 400:
        failure = OfrepFailure(error.message, _code(error), key)
    elif error.status == 404 and key is not None:
        failure = OfrepFailure(error.message, "FLAG_NOT_FOUND", key)
    return HttpResponse(
        msgspec.json.encode(failure),
        status=error.status,
        content_type="application/json",
        headers=error.headers,
    )


def _code(error: ApiError) -> str:
    if error.field is None:
        return "PARSE_ERROR"
    is_missing = error.field == f"context.{TARGETING_KEY}"
    return "TARGETING_KEY_MISSING" if is_missing else "INVALID_CONTEXT"


@endpoint(
    "POST",
    body=OfrepEvaluate,
    basic=True,
    shape=_error,
    docs=Docs(
        reply=OfrepEvaluation,
        path={"key": FlagKey},
        invalid="The context needs a targetingKey",
        missing=(FLAG_NOT_FOUND.format(slug="live"),),
        examples=examples.OFREP,
        envelope=False,
        failure=OfrepFailure,
    ),
)
def ofrep_evaluate(request: ApiRequest, key: str, body: OfrepEvaluate) -> HttpResponse:
    """Evaluate one flag with an OpenFeature SDK. Send the API key in `X-API-Key` or, as a Bearer
    token, in `Authorization`. A player who is not registered yet is evaluated by the context
    alone, with the bucket that the player will have once registered."""
    flag = flags_of(request.snapshot).get(key)
    context = _context(request, body, event_counts_needed([flag] if flag else []))
    if flag is None:
        raise unknown_flag(request, key, flags_part.of(request.snapshot))
    decision = evaluate(flag, context)
    usage.note(flag, decision)
    reply = _evaluation(flag, decision, context)
    return HttpResponse(encoder.encode(reply), content_type="application/json")


@endpoint(
    "POST",
    body=OfrepEvaluate,
    basic=True,
    shape=_error,
    docs=Docs(
        reply=OfrepEvaluations,
        statuses={200: "The evaluations.", 304: "Unchanged since the ETag in If-None-Match."},
        headers=("If-None-Match",),
        invalid="The context needs a targetingKey",
        examples=examples.OFREP_ALL,
        envelope=False,
        failure=OfrepFailure,
    ),
)
def ofrep_evaluate_all(request: ApiRequest, body: OfrepEvaluate) -> HttpResponse:
    """Evaluate all flags with an OpenFeature SDK. Send the API key in `X-API-Key` or, as a Bearer
    token, in `Authorization`. The reply has an ETag. Send it in `If-None-Match` to get 304 while
    nothing has changed."""
    flags = flags_part.of(request.snapshot)
    context = _context(request, body, flags.event_counts)
    pending, ready = split_precomputed(flags, context)
    memo: dict[str, Decision] = {}
    decided = [(flag, decide(flag, context, memo)) for flag in pending]
    found = [reply.ofrep for reply in ready]
    found += [encoder.encode(_evaluation(flag, decision, context)) for flag, decision in decided]
    usage.note_all(flags, decided)
    content = b'{"flags":[' + b",".join(found) + b"]}"
    etag = _etag(request.snapshot.version, body.context, content)
    if is_known(request, etag):
        return HttpResponse(status=304, headers={"ETag": etag})
    return HttpResponse(content, content_type="application/json", headers={"ETag": etag})


# --- Player ---------------------------------------------------------------------------------------


def _context(
    request: ApiRequest, body: OfrepEvaluate, event_counts: frozenset[EventCount]
) -> EvaluationContext:
    """The player, by id or external id. Without one, only the context is known; the buckets are
    those of the player who will register with that external id."""
    context = dict(body.context or {})
    key = context.pop(TARGETING_KEY, None)
    if key is None or key == "":
        raise invalid("The context needs a targetingKey", f"context.{TARGETING_KEY}")
    if not isinstance(key, str) or len(key) > MAX_TARGETING_KEY:
        raise invalid("targetingKey must be a string of 1 to 255 characters", "context")
    by_external_id = player_id_for(request.snapshot.namespace, key)
    tries = [(by_external_id, BY_EXTERNAL_ID)]
    if is_uuid(key):
        tries.insert(0, (uuid.UUID(key), BY_ID))
    for player_id, by in tries:
        try:
            return find_evaluation_context(request, player_id, event_counts, context, by)
        except ApiError as error:
            if error.code is not Code.NOT_FOUND:
                raise
    subject = Subject(context, {"external_id": key}, request.now)
    return EvaluationContext(str(by_external_id), subject, {}, request.now)


def _evaluation(
    flag: CompiledFlag, decision: Decision, context: EvaluationContext
) -> OfrepEvaluation:
    by_bucket = is_by_bucket(flag, decision)
    fields = {"bucket": gate(flag.salt, context.player_id)} if by_bucket else None
    return success(flag, decision, fields)


# --- ETag -----------------------------------------------------------------------------------------


def _etag(version: int, context: Mapping[str, Any] | None, content: bytes) -> str:
    """A hash of the configuration version, the context and the reply. The reply stands for the
    player's state and the clock: their effect on flags shows in it."""
    canonical = msgspec.json.encode(context, order="sorted")
    parts = (str(version).encode(), sha256(canonical).digest(), content)
    return f'"{sha256(b"|".join(parts)).hexdigest()[:32]}"'


# --- Errors ---------------------------------------------------------------------------------------


def _not_found(request: HttpRequest) -> HttpResponseBase:
    cast(ApiRequest, request).shape_error = lambda error: _error(error, {})
    raise not_found("OFREP has no such path.")


urlpatterns = [
    path("evaluate/flags", route(ofrep_evaluate_all)),
    path("evaluate/flags/<str:key>", route(ofrep_evaluate)),
    re_path("", _not_found),
]
