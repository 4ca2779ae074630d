"""The Feature Flags API."""

import uuid

from django.http import HttpResponse
from django.urls import path

from flags import schemas
from flags.evaluation import Asked, CompiledFlag, Decision, evaluate
from flags.lookup import find_player_with_overrides
from flags.snapshot import flags_of
from ilara_admin.api import ApiRequest, endpoint, respond, route
from ilara_admin.errors import not_found
from players.record import thresholds_of
from segments.subject import subject_of


@endpoint("POST", body=schemas.FlagEvaluate, basic=True)
def flag_evaluate(request: ApiRequest, key: str, body: schemas.FlagEvaluate) -> HttpResponse:
    """One flag for one player."""
    asked = _asked(request, body)
    flag = flags_of(request.snapshot).get(key)
    if flag is None:
        raise not_found("Flag not found")
    return respond(_evaluation(flag, evaluate(flag, asked)))


@endpoint("POST", body=schemas.FlagEvaluate, basic=True)
def flag_evaluate_all(request: ApiRequest, body: schemas.FlagEvaluate) -> HttpResponse:
    """Every flag that is not archived, for one player."""
    asked = _asked(request, body)
    memo: dict[str, Decision] = {}
    evaluations = {
        flag.key: _evaluation(flag, evaluate(flag, asked, memo))
        for flag in flags_of(request.snapshot).values()
        if not flag.archived
    }
    return respond(schemas.FlagEvaluations(uuid.UUID(asked.player_id), evaluations))


def _asked(request: ApiRequest, body: schemas.FlagEvaluate) -> Asked:
    player, overrides = find_player_with_overrides(request, uuid.UUID(body.player_id))
    thresholds = thresholds_of(request.snapshot)
    subject = subject_of(player, thresholds, request.now, body.context)
    return Asked(str(player.id), subject, overrides, request.now)


def _evaluation(flag: CompiledFlag, decision: Decision) -> schemas.FlagEvaluation:
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
