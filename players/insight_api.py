"""Endpoints of what is computed from a player's activity: lifecycle stage and churn risk."""

import uuid
from datetime import UTC

from django.http import HttpResponse

from ilara_admin.api.dispatch import ApiRequest, respond, run_one
from ilara_admin.api.endpoint import Docs, endpoint
from ilara_admin.models import KeyScope
from players import examples, schemas, statements
from players.cache import churn_part
from players.record import UNKNOWN_PLAYER, lifecycle_of, risk_of, thresholds_of
from players.statements import find_player, player_or_404


@endpoint(
    "GET",
    scope=KeyScope.READ,
    docs=Docs(
        reply=schemas.PlayerLifecycle, missing=(UNKNOWN_PLAYER,), examples=examples.LIFECYCLE
    ),
)
def player_lifecycle(request: ApiRequest, player_id: uuid.UUID) -> HttpResponse:
    """Get the lifecycle stage, when it began, and the next stage. New players become active;
    inactive players become at risk, then churned; players who return after that are reactivated."""
    player = find_player(request, player_id)
    life = lifecycle_of(player, thresholds_of(request.snapshot), request.now)
    following = None
    if life.next_stage is not None and life.next_at is not None:
        following = schemas.StageChange(life.next_stage, life.next_at.astimezone(UTC))
    return respond(
        schemas.PlayerLifecycle(
            player_id=player.id,
            lifecycle_stage=life.stage,
            stage_since=life.since.astimezone(UTC),
            first_seen_at=player.first_seen_at.astimezone(UTC),
            last_seen_at=player.last_seen_at.astimezone(UTC),
            days_since_last_seen=max((request.now - player.last_seen_at).days, 0),
            session_count=player.session_count,
            next=following,
        )
    )


@endpoint(
    "GET",
    scope=KeyScope.READ,
    docs=Docs(reply=schemas.ChurnRisk, missing=(UNKNOWN_PLAYER,), examples=examples.CHURN_RISK),
)
def churn_risk(request: ApiRequest, player_id: uuid.UUID) -> HttpResponse:
    """Get the probability that the player is not seen in the next 14 days. The model uses the
    player's active days and is calibrated on the environment's own past; the contributions of the
    factors add up to the score."""
    row = run_one(request, statements.FIND_WITH_ACTIVITY, [player_id])
    player, activity = player_or_404(request, player_id, row[:-1]), row[-1]
    risk = risk_of(player, activity, churn_part.of(request.snapshot), request.now)
    return respond(
        schemas.ChurnRisk(
            player_id=player.id,
            risk_score=risk.score,
            risk_level=risk.level,
            factors=[
                schemas.RiskFactor(item.factor, item.description, item.contribution)
                for item in risk.factors
            ],
            prediction_date=risk.prediction_date,
            confidence=risk.confidence,
            model=risk.model,
        )
    )
