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
from flags.results import exposures
from ilara_admin.api.bodies import parse_moment
from ilara_admin.api.dispatch import ApiRequest, encoder, respond, route
from ilara_admin.api.endpoint import Docs, endpoint
from ilara_admin.api.errors import ApiError, forbidden, invalid, not_found
from ilara_admin.api.hints import did_you_mean
from ilara_admin.core.structs import decoder
from ilara_admin.models import KeyScope
from players.personal import personal_fields
from players.record import UNKNOWN_PLAYER
from players.statements import BY_EXTERNAL_ID, BY_ID, unknown_player
from segments.cache import segments_part
from segments.language.parser import EventCount
from segments.subject import find_subject

FLAG_NOT_FOUND = "Flag not found in {slug}, the environment of this key."
OVERRIDES = {by: overrides_sql(by, "env.now") for by in (BY_ID, BY_EXTERNAL_ID)}
_decode_overrides = decoder(dict[int, str]).decode


@endpoint(
    "POST",
    scope=KeyScope.EVALUATE,
    body=schemas.FlagEvaluate,
    basic=True,
    docs=Docs(
        reply=schemas.FlagEvaluation,
        path={"key": schemas.FlagKey},
        query=schemas.FlagQuery,
        missing=(UNKNOWN_PLAYER, FLAG_NOT_FOUND.format(slug="live")),
        examples=examples.EVALUATE,
    ),
)
def flag_evaluate(request: ApiRequest, key: str, body: schemas.FlagEvaluate) -> HttpResponse:
    """Evaluate one flag for a player. Returns the value, the variant and the reason. Changes in
    the dashboard apply to the next request."""
    query = _query(request)
    flag = query.flags.by_key.get(key)
    context = _context(request, body, event_counts_needed([flag] if flag else []), query)
    if flag is None:
        raise unknown_flag(request, key, query.flags)
    decision = evaluate(flag, context)
    if query.is_from_game:
        usage.note(flag, decision, request.META.get("HTTP_USER_AGENT", ""))
        if flag.id in query.flags.measured:
            exposures.note(query.flags, flag, decision, context)
    prepared = None if query.explain else query.flags.decided.get(id(decision))
    if prepared is not None:
        return respond(msgspec.Raw(prepared.value))
    return respond(_evaluation(request, query, flag, decision, context))


@endpoint(
    "POST",
    scope=KeyScope.EVALUATE,
    body=schemas.FlagEvaluate,
    basic=True,
    docs=Docs(
        reply=schemas.FlagEvaluations,
        query=schemas.FlagQuery,
        missing=(UNKNOWN_PLAYER,),
        examples=examples.EVALUATE_ALL,
    ),
)
def flag_evaluate_all(request: ApiRequest, body: schemas.FlagEvaluate) -> HttpResponse:
    """Evaluate all flags for a player. Archived flags are left out."""
    query = _query(request)
    context = _context(request, body, query.flags.event_counts, query)
    flags, ready = split_precomputed(query.flags, context)
    if query.explain:
        flags, ready = query.flags.in_use, []
    memo: dict[str, Decision] = {}
    decided = [(flag, decide(flag, context, memo)) for flag in flags]
    found = [reply.v1 for reply in ready]
    for flag, decision in decided:
        prepared = None if query.explain else query.flags.decided.get(id(decision))
        if prepared is not None:
            found.append(prepared.member)
        else:
            reply = _evaluation(request, query, flag, decision, context)
            found.append(encoder.encode(flag.key) + b":" + encoder.encode(reply))
    if query.is_from_game:
        usage.note_all(query.flags, decided)
        if query.flags.measured:
            exposures.note_all(query.flags, decided, context)
    player = context.player_id.encode()
    return respond(
        msgspec.Raw(b'{"player_id":"' + player + b'","flags":{' + b",".join(found) + b"}}")
    )


def unknown_flag(request: ApiRequest, key: str, flags: FlagSet) -> ApiError:
    """The 404 for a key, which names the flag that was probably meant."""
    known = flags.by_key
    return not_found(FLAG_NOT_FOUND.format(slug=request.snapshot.slug) + did_you_mean(key, known))


class EvaluationQuery(NamedTuple):
    """The query parameters: whether to add a receipt, and the time `at` which to evaluate."""

    explain: bool
    at: datetime | None
    flags: FlagSet

    @property
    def is_from_game(self) -> bool:
        """Whether to count the evaluation as usage: not with `explain` or `at`."""
        return not self.explain and self.at is None


def _query(request: ApiRequest) -> EvaluationQuery:
    if not request.META["QUERY_STRING"]:
        return EvaluationQuery(False, None, flags_part.of(request.snapshot))
    explain, at = request.GET.get("explain") or "false", request.GET.get("at") or None
    if explain not in ("true", "false"):
        raise invalid("explain must be true or false", "explain")
    moment = None if at is None else parse_moment(at, "at")
    if (explain == "true" or moment) and not request.api_key.secret:
        raise forbidden("explain and at require a secret key (sk_)")
    flags = flags_at(request.snapshot, moment) if moment else flags_part.of(request.snapshot)
    return EvaluationQuery(explain == "true", moment, flags)


def _context(
    request: ApiRequest,
    body: schemas.FlagEvaluate,
    event_counts: frozenset[EventCount],
    query: EvaluationQuery,
) -> EvaluationContext:
    player_id = uuid.UUID(body.player_id)
    context = find_evaluation_context(request, player_id, event_counts, body.context)
    if context is None:
        raise unknown_player(request, player_id)
    if query.explain and KeyScope.PERSONAL not in request.api_key.scopes:
        hidden = personal_fields(request.snapshot.personal_attributes) - set(body.context or ())
        context = replace(context, subject=replace(context.subject, hidden=hidden))
    return replace(context, at=query.at) if query.at else context


def find_evaluation_context(
    request: ApiRequest,
    player_id: uuid.UUID,
    event_counts: Iterable[EventCount],
    context: Mapping[str, Any] | None,
    by: str = BY_ID,
) -> EvaluationContext | None:
    """The context of a player, read in one statement; None if there is no such player. For `by`
    see find_subject."""
    found = find_subject(request, player_id, event_counts, context, (OVERRIDES[by],), by)
    if found is None:
        return None
    player, subject, (overrides,) = found
    decoded = _decode_overrides(overrides) if overrides else {}
    return EvaluationContext(str(player.id), subject, decoded, request.now)


def _evaluation(
    request: ApiRequest,
    query: EvaluationQuery,
    flag: CompiledFlag,
    decision: Decision,
    context: EvaluationContext,
) -> schemas.FlagEvaluation:
    if not query.explain:
        return schemas.evaluation(flag, decision)
    receipt = receipt_of(flag, context, decision, segments_part.of(request.snapshot))
    return schemas.evaluation(flag, decision, receipt)


urlpatterns = [
    path("flags/flags/evaluate", route(flag_evaluate_all)),
    path("flags/flags/<str:key>/evaluate", route(flag_evaluate)),
]
