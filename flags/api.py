"""The Feature Flags API."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.http import HttpResponse
from django.urls import path

from flags import examples, schemas, usage
from flags.cache import FlagSet, flags_part, split_precomputed
from flags.engine.evaluation import (
    CompiledFlag,
    Decision,
    EvaluationContext,
    decide,
    evaluate,
    event_counts_needed,
)
from flags.engine.receipt import receipt_of
from flags.history import flags_at
from flags.models import overrides_sql
from ilara_admin.api.bodies import parse_moment
from ilara_admin.api.dispatch import ApiRequest, encoder, respond, route
from ilara_admin.api.endpoint import Docs, endpoint
from ilara_admin.api.errors import invalid, not_found, unauthorized
from players.record import NOT_FOUND
from players.statements import BY_ID
from segments.cache import segments_part
from segments.language.parser import EventCount
from segments.subject import find_subject

FLAG_NOT_FOUND = "Flag not found"
OVERRIDES = overrides_sql("env.now")


@endpoint(
    "POST",
    body=schemas.FlagEvaluate,
    basic=True,
    docs=Docs(
        reply=schemas.FlagEvaluation,
        path={"key": schemas.FlagKey},
        query=schemas.FlagQuery,
        missing=(NOT_FOUND, FLAG_NOT_FOUND),
        examples=examples.EVALUATE,
    ),
)
def flag_evaluate(request: ApiRequest, key: str, body: schemas.FlagEvaluate) -> HttpResponse:
    """Evaluate one flag for a player. The answer is the value with the variant and the reason; a
    change made in the dashboard is in force on the very next call."""
    question = _query(request)
    flag = question.flags.by_key.get(key)
    context = _context(request, body, event_counts_needed([flag] if flag else []), question)
    if flag is None:
        raise not_found(FLAG_NOT_FOUND)
    decision = evaluate(flag, context)
    if question.is_from_game:
        usage.note(flag, decision)
    prepared = None if question.explain else question.flags.decided.get(id(decision))
    if prepared is not None:
        return respond(msgspec.Raw(prepared.value))
    return respond(_evaluation(request, question, flag, decision, context))


@endpoint(
    "POST",
    body=schemas.FlagEvaluate,
    basic=True,
    docs=Docs(
        reply=schemas.FlagEvaluations,
        query=schemas.FlagQuery,
        missing=(NOT_FOUND,),
        examples=examples.EVALUATE_ALL,
    ),
)
def flag_evaluate_all(request: ApiRequest, body: schemas.FlagEvaluate) -> HttpResponse:
    """Evaluate all flags for a player. Those that are archived are left out."""
    question = _query(request)
    context = _context(request, body, question.flags.event_counts, question)
    flags, ready = split_precomputed(question.flags, context)
    if question.explain:
        flags, ready = question.flags.in_use, []
    memo: dict[str, Decision] = {}
    decided = [(flag, decide(flag, context, memo)) for flag in flags]
    found = [answer.v1 for answer in ready]
    for flag, decision in decided:
        prepared = None if question.explain else question.flags.decided.get(id(decision))
        if prepared is not None:
            found.append(prepared.member)
        else:
            answer = _evaluation(request, question, flag, decision, context)
            found.append(encoder.encode(flag.key) + b":" + encoder.encode(answer))
    if question.is_from_game:
        usage.note_all(question.flags, decided)
    player = context.player_id.encode()
    return respond(
        msgspec.Raw(b'{"player_id":"' + player + b'","flags":{' + b",".join(found) + b"}}")
    )


class EvaluationQuery(NamedTuple):
    """What the address asks for: a receipt, and flags as they were `at` another time."""

    explain: bool
    at: datetime | None
    flags: FlagSet

    @property
    def is_from_game(self) -> bool:
        """What somebody looks into is no use of a flag."""
        return not self.explain and self.at is None


def _query(request: ApiRequest) -> EvaluationQuery:
    if not request.META["QUERY_STRING"]:
        return EvaluationQuery(False, None, flags_part.of(request.snapshot))
    explain, at = request.GET.get("explain", "false"), request.GET.get("at")
    if explain not in ("true", "false"):
        raise invalid("explain must be true or false", "explain")
    moment = None if at is None else parse_moment(at, "at")
    if (explain == "true" or moment) and not request.api_key.secret:
        raise unauthorized("A receipt and another time need a secret key", status=403)
    flags = flags_at(request.snapshot, moment) if moment else flags_part.of(request.snapshot)
    return EvaluationQuery(explain == "true", moment, flags)


def _context(
    request: ApiRequest,
    body: schemas.FlagEvaluate,
    event_counts: frozenset[EventCount],
    question: EvaluationQuery,
) -> EvaluationContext:
    context = find_evaluation_context(
        request, uuid.UUID(body.player_id), event_counts, body.context
    )
    return replace(context, at=question.at) if question.at else context


def find_evaluation_context(
    request: ApiRequest,
    player_id: uuid.UUID,
    event_counts: Iterable[EventCount],
    context: Mapping[str, Any] | None,
    by: str = BY_ID,
) -> EvaluationContext:
    """The player as flags are asked about them, in one statement; 404 if there is none. For `by`
    see find_subject."""
    player, subject, (overrides,) = find_subject(
        request, player_id, event_counts, context, [OVERRIDES], by
    )
    decoded = msgspec.json.decode(overrides, type=dict[int, str]) if overrides else {}
    return EvaluationContext(str(player.id), subject, decoded, request.now)


def _evaluation(
    request: ApiRequest,
    question: EvaluationQuery,
    flag: CompiledFlag,
    decision: Decision,
    context: EvaluationContext,
) -> schemas.FlagEvaluation:
    if not question.explain:
        return schemas.evaluation(flag, decision)
    receipt = receipt_of(flag, context, decision, segments_part.of(request.snapshot))
    return schemas.evaluation(flag, decision, receipt)


urlpatterns = [
    path("flags/flags/evaluate", route(flag_evaluate_all)),
    path("flags/flags/<str:key>/evaluate", route(flag_evaluate)),
]
