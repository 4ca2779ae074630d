"""The Feature Flags API."""

import uuid
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.http import HttpResponse
from django.urls import path

from flags import schemas
from flags.evaluation import CompiledFlag, evaluate
from flags.lookup import find_subject_with_overrides
from flags.snapshot import flags_of
from ilara_admin.api import ApiRequest, endpoint, respond, route
from ilara_admin.errors import not_found
from segments.matching import Subject


@endpoint("POST", body=schemas.FlagEvaluate, basic=True)
def flag_evaluate(request: ApiRequest, key: str, body: schemas.FlagEvaluate) -> HttpResponse:
    """One flag for one player."""
    flag = flags_of(request.snapshot).get(key)
    asked = _asked(request, body, [flag] if flag else [])
    if flag is None:
        raise not_found("Flag not found")
    return respond(_evaluation(flag, asked))


@endpoint("POST", body=schemas.FlagEvaluate, basic=True)
def flag_evaluate_all(request: ApiRequest, body: schemas.FlagEvaluate) -> HttpResponse:
    """Every flag that is not archived, for one player."""
    flags = [flag for flag in flags_of(request.snapshot).values() if not flag.archived]
    asked = _asked(request, body, flags)
    evaluations = {flag.key: _evaluation(flag, asked) for flag in flags}
    return respond(schemas.FlagEvaluations(asked.player_id, evaluations))


class Asked(NamedTuple):
    """Whom flags are asked about; `overrides` are variants by flag id."""

    player_id: uuid.UUID
    subject: Subject
    overrides: Mapping[int, str]


def _asked(request: ApiRequest, body: schemas.FlagEvaluate, flags: Iterable[CompiledFlag]) -> Asked:
    needed = frozenset().union(*(flag.behaviours for flag in flags))
    player, subject, overrides = find_subject_with_overrides(
        request, uuid.UUID(body.player_id), needed, body.context
    )
    return Asked(player.id, subject, overrides)


def _evaluation(flag: CompiledFlag, asked: Asked) -> schemas.FlagEvaluation:
    override = asked.overrides.get(flag.id)
    decision = evaluate(flag, str(asked.player_id), asked.subject, override)
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
