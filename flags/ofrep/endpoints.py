"""OFREP 0.3.0, OpenFeature's remote evaluation protocol: flags for every OpenFeature SDK.

Bodies are the protocol's own, without the envelope of /v1, those of errors too. Keys, limits and
the order of checks are the same.
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
from flags.api import FLAG_NOT_FOUND, find_evaluation_context
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
    """`context.targetingKey` is a player's id or external id; the rest are attributes."""

    # Without one the answer is OFREP's own code for that.
    context: Annotated[dict[str, Any] | None, msgspec.Meta(extra_json_schema=CONTEXT)] = None
    json_schema: ClassVar[dict[str, Any]] = {"required": ["context"]}


class OfrepFailure(msgspec.Struct, omit_defaults=True):
    """OFREP's own shape of an error. `errorCode` is there for 400 and 404, `key` where one flag was
    asked for."""

    errorDetails: str
    errorCode: str | None = None
    key: str | None = None


def _error(error: ApiError, captured: Mapping[str, str]) -> HttpResponse:
    """The protocol's failure: it names the flag where one was asked for."""
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
    bearer=True,
    shape=_error,
    docs=Docs(
        reply=OfrepEvaluation,
        path={"key": FlagKey},
        invalid="The context needs a targetingKey",
        missing=(FLAG_NOT_FOUND,),
        examples=examples.OFREP,
        envelope=False,
        failure=OfrepFailure,
    ),
)
def ofrep_evaluate(request: ApiRequest, key: str, body: OfrepEvaluate) -> HttpResponse:
    """Evaluate one flag, in OpenFeature's words. The key goes into `X-API-Key` or, as a Bearer
    token, into `Authorization`. Somebody who is not registered yet is decided by the context
    alone, into the bucket that they will have once they are."""
    flag = flags_of(request.snapshot).get(key)
    context = _context(request, body, event_counts_needed([flag] if flag else []))
    if flag is None:
        raise not_found(FLAG_NOT_FOUND)
    decision = evaluate(flag, context)
    usage.note(flag, decision)
    answer = _answer(flag, decision, context)
    return HttpResponse(encoder.encode(answer), content_type="application/json")


@endpoint(
    "POST",
    body=OfrepEvaluate,
    basic=True,
    bearer=True,
    shape=_error,
    docs=Docs(
        reply=OfrepEvaluations,
        statuses={200: "The answers.", 304: "They are what If-None-Match names; without a body."},
        headers=("If-None-Match",),
        invalid="The context needs a targetingKey",
        examples=examples.OFREP_ALL,
        envelope=False,
        failure=OfrepFailure,
    ),
)
def ofrep_evaluate_all(request: ApiRequest, body: OfrepEvaluate) -> HttpResponse:
    """Evaluate all flags, in OpenFeature's words. The key goes into `X-API-Key` or, as a Bearer
    token, into `Authorization`. The reply has an ETag; sent back in `If-None-Match`, it is answered
    with 304 as long as nothing differs."""
    flags = flags_part.of(request.snapshot)
    context = _context(request, body, flags.event_counts)
    own, ready = split_precomputed(flags, context)
    memo: dict[str, Decision] = {}
    decided = [(flag, decide(flag, context, memo)) for flag in own]
    found = [answer.ofrep for answer in ready]
    found += [encoder.encode(_answer(flag, decision, context)) for flag, decision in decided]
    usage.note_all(flags, decided)
    content = b'{"flags":[' + b",".join(found) + b"]}"
    etag = _etag(request.snapshot.version, body.context, content)
    if is_known(request, etag):
        return HttpResponse(status=304, headers={"ETag": etag})
    return HttpResponse(content, content_type="application/json", headers={"ETag": etag})


# --- Whom it is about -----------------------------------------------------------------------------


def _context(
    request: ApiRequest, body: OfrepEvaluate, event_counts: frozenset[EventCount]
) -> EvaluationContext:
    """The player, or else somebody of whom nothing is known but the context: they fall into the
    buckets that they will have once they are registered under that external id."""
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


def _answer(flag: CompiledFlag, decision: Decision, context: EvaluationContext) -> OfrepEvaluation:
    by_bucket = is_by_bucket(flag, decision)
    fields = {"bucket": gate(flag.salt, context.player_id)} if by_bucket else None
    return success(flag, decision, fields)


# --- ETag -----------------------------------------------------------------------------------------


def _etag(version: int, context: Mapping[str, Any] | None, content: bytes) -> str:
    """Over the configuration, the context and the answer. The answer stands in for the player's own
    state and for the clock: whatever in them matters to a flag shows in it."""
    canonical = msgspec.json.encode(context, order="sorted")
    parts = (str(version).encode(), sha256(canonical).digest(), content)
    return f'"{sha256(b"|".join(parts)).hexdigest()[:32]}"'


# --- Errors ---------------------------------------------------------------------------------------


def _nothing(request: HttpRequest) -> HttpResponseBase:
    cast(ApiRequest, request).shape_error = lambda error: _error(error, {})
    raise not_found("There is no such path in OFREP.")


urlpatterns = [
    path("evaluate/flags", route(ofrep_evaluate_all)),
    path("evaluate/flags/<str:key>", route(ofrep_evaluate)),
    re_path("", _nothing),
]
