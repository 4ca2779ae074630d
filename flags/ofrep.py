"""OFREP 0.3.0, OpenFeature's remote evaluation protocol: flags for every OpenFeature SDK.

Bodies are the protocol's own, without the envelope of /v1, those of errors too. Keys, limits and
the order of checks are the same.
"""

import uuid
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, cast

import msgspec
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path, re_path

from flags import usage
from flags.bucketing import gate
from flags.evaluation import (
    Asked,
    CompiledFlag,
    Decision,
    behaviours_needed,
    decide,
    evaluate,
)
from flags.lookup import find_asked
from flags.ofrep_answers import Success, is_by_bucket, success
from flags.snapshot import divide, flag_set, flags_of
from ilara_admin.api import ApiRequest, Endpoint, encoder, endpoint, route
from ilara_admin.errors import ApiError, Code, invalid, not_found
from ilara_admin.payload import is_uuid
from players.models import player_id_for
from players.statements import BY_EXTERNAL_ID, BY_ID
from segments.matching import Subject
from segments.rules import Behaviour

TARGETING_KEY = "targetingKey"
MAX_TARGETING_KEY = 255


class Evaluation(msgspec.Struct):
    """`context.targetingKey` is a player's id or external id; the rest are attributes."""

    context: dict[str, Any] | None = None


@endpoint("POST", body=Evaluation, basic=True, bearer=True)
def ofrep_evaluate(request: ApiRequest, key: str, body: Evaluation) -> HttpResponse:
    """One flag."""
    flag = flags_of(request.snapshot).get(key)
    asked = _asked(request, body, behaviours_needed([flag] if flag else []))
    if flag is None:
        raise not_found("Flag not found")
    decision = evaluate(flag, asked)
    usage.note(flag, decision)
    answer = _answer(flag, decision, asked)
    return HttpResponse(encoder.encode(answer), content_type="application/json")


@endpoint("POST", body=Evaluation, basic=True, bearer=True)
def ofrep_evaluate_all(request: ApiRequest, body: Evaluation) -> HttpResponse:
    """Every flag that is not archived, with an ETag; 304 when nothing differs."""
    flags = flag_set(request.snapshot)
    asked = _asked(request, body, flags.behaviours)
    own, ready = divide(flags, asked)
    memo: dict[str, Decision] = {}
    decided = [(flag, decide(flag, asked, memo)) for flag in own]
    found = [answer.ofrep for answer in ready]
    found += [encoder.encode(_answer(flag, decision, asked)) for flag, decision in decided]
    usage.note_all(flags, decided)
    content = b'{"flags":[' + b",".join(found) + b"]}"
    etag = _etag(request.snapshot.version, body.context, content)
    if _matches(request.headers.get("If-None-Match", ""), etag):
        return HttpResponse(status=304, headers={"ETag": etag})
    return HttpResponse(content, content_type="application/json", headers={"ETag": etag})


# --- Whom it is about -----------------------------------------------------------------------------


def _asked(request: ApiRequest, body: Evaluation, behaviours: frozenset[Behaviour]) -> Asked:
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
            return find_asked(request, player_id, behaviours, context, by)
        except ApiError as error:
            if error.code is not Code.NOT_FOUND:
                raise
    subject = Subject(context, {"external_id": key}, request.now)
    return Asked(str(by_external_id), subject, {}, request.now)


def _answer(flag: CompiledFlag, decision: Decision, asked: Asked) -> Success:
    by_bucket = is_by_bucket(flag, decision)
    facts = {"bucket": gate(flag.salt, asked.player_id)} if by_bucket else None
    return success(flag, decision, facts)


# --- ETag -----------------------------------------------------------------------------------------


def _etag(version: int, context: Mapping[str, Any] | None, content: bytes) -> str:
    """Over the configuration, the context and the answer. The answer stands in for the player's own
    state and for the clock: whatever in them matters to a flag shows in it."""
    canonical = msgspec.json.encode(context, order="sorted")
    parts = (str(version).encode(), sha256(canonical).digest(), content)
    return f'"{sha256(b"|".join(parts)).hexdigest()[:32]}"'


def _matches(header: str, etag: str) -> bool:
    """If-None-Match, compared weakly. Django itself answers 304 to GET and HEAD alone."""
    sent = (part.strip().removeprefix("W/") for part in header.split(","))
    return any(part in ("*", etag) for part in sent)


# --- Errors ---------------------------------------------------------------------------------------


def _mount(item: Endpoint) -> Callable[..., HttpResponseBase]:
    view = route(item)

    def mounted(request: HttpRequest, **captured: str) -> HttpResponseBase:
        key = captured.get("key")
        cast(ApiRequest, request).shape_error = lambda error: _error(error, key)
        return view(request, **captured)

    mounted.endpoints = view.endpoints  # type: ignore[attr-defined]  # as route marks its own
    return mounted


def _error(error: ApiError, key: str | None) -> HttpResponse:
    """The protocol's failure: it names the flag where one was asked for."""
    content = {"errorDetails": error.message}
    if error.status == 400:
        content["errorCode"] = _code(error)
    elif error.status == 404 and key is not None:
        content["errorCode"] = "FLAG_NOT_FOUND"
    if "errorCode" in content and key is not None:
        content["key"] = key
    return HttpResponse(
        msgspec.json.encode(content),
        status=error.status,
        content_type="application/json",
        headers=error.headers,
    )


def _code(error: ApiError) -> str:
    if error.field is None:
        return "PARSE_ERROR"
    is_missing = error.field == f"context.{TARGETING_KEY}"
    return "TARGETING_KEY_MISSING" if is_missing else "INVALID_CONTEXT"


def _nothing(request: HttpRequest) -> HttpResponseBase:
    cast(ApiRequest, request).shape_error = lambda error: _error(error, None)
    raise not_found("There is no such path in OFREP.")


urlpatterns = [
    path("evaluate/flags", _mount(ofrep_evaluate_all)),
    path("evaluate/flags/<str:key>", _mount(ofrep_evaluate)),
    re_path("", _nothing),
]
