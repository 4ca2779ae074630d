"""The Feature Flags API."""

import uuid

from django.http import HttpResponse
from django.urls import path

from flags import schemas
from flags.evaluation import CompiledFlag, evaluate
from flags.snapshot import flags_of
from ilara_admin.api import ApiRequest, endpoint, respond, route
from ilara_admin.errors import not_found
from players.lookup import find_player
from players.record import thresholds_of
from segments.rules import Subject
from segments.subject import subject_of


@endpoint("POST", body=schemas.FlagEvaluate, basic=True)
def flag_evaluate(request: ApiRequest, key: str, body: schemas.FlagEvaluate) -> HttpResponse:
    """One flag for one player."""
    player_id, subject = _subject(request, body)
    flag = flags_of(request.snapshot).get(key)
    if flag is None:
        raise not_found("Flag not found")
    return respond(_evaluation(flag, player_id, subject))


@endpoint("POST", body=schemas.FlagEvaluate, basic=True)
def flag_evaluate_all(request: ApiRequest, body: schemas.FlagEvaluate) -> HttpResponse:
    """Every flag that is not archived, for one player."""
    player_id, subject = _subject(request, body)
    evaluations = {
        flag.key: _evaluation(flag, player_id, subject)
        for flag in flags_of(request.snapshot).values()
        if not flag.archived
    }
    return respond(schemas.FlagEvaluations(player_id, evaluations))


def _subject(request: ApiRequest, body: schemas.FlagEvaluate) -> tuple[uuid.UUID, Subject]:
    player = find_player(request, uuid.UUID(body.player_id))
    thresholds = thresholds_of(request.snapshot)
    return player.id, subject_of(player, thresholds, request.now, body.context)


def _evaluation(
    flag: CompiledFlag, player_id: uuid.UUID, subject: Subject
) -> schemas.FlagEvaluation:
    decision = evaluate(flag, str(player_id), subject)
    return schemas.FlagEvaluation(
        flag_key=flag.key,
        value=decision.variant.value,
        variant_key=decision.variant.key,
        reason=decision.reason,
        segment_id=decision.segment_id,
    )


urlpatterns = [
    path("flags/flags/evaluate", route(flag_evaluate_all)),
    path("flags/flags/<str:key>/evaluate", route(flag_evaluate)),
]
