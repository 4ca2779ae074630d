"""The Feature Flags API."""

import uuid

import msgspec
from django.http import HttpResponse
from django.urls import path

from flags import schemas
from flags.evaluation import (
    Asked,
    Decision,
    behaviours_needed,
    decide,
    evaluate,
    is_overridden,
)
from flags.lookup import find_asked
from flags.snapshot import flag_set, flags_of
from ilara_admin.api import ApiRequest, encoder, endpoint, respond, route
from ilara_admin.errors import not_found
from segments.rules import Behaviour


@endpoint("POST", body=schemas.FlagEvaluate, basic=True)
def flag_evaluate(request: ApiRequest, key: str, body: schemas.FlagEvaluate) -> HttpResponse:
    """One flag for one player."""
    flag = flags_of(request.snapshot).get(key)
    asked = _asked(request, body, behaviours_needed([flag] if flag else []))
    if flag is None:
        raise not_found("Flag not found")
    return respond(schemas.evaluation(flag, evaluate(flag, asked)))


@endpoint("POST", body=schemas.FlagEvaluate, basic=True)
def flag_evaluate_all(request: ApiRequest, body: schemas.FlagEvaluate) -> HttpResponse:
    """Every flag that is not archived, for one player."""
    flags = flag_set(request.snapshot)
    asked = _asked(request, body, flags.behaviours)
    memo: dict[str, Decision] = {}
    found: list[bytes] = []
    for entry in flags.entries:
        if entry.ready is not None and not is_overridden(entry.flag, asked):
            found.append(entry.name + entry.ready)
        else:
            decision = decide(entry.flag, asked, memo)
            found.append(entry.name + encoder.encode(schemas.evaluation(entry.flag, decision)))
    player = asked.player_id.encode()
    return respond(
        msgspec.Raw(b'{"player_id":"' + player + b'","flags":{' + b",".join(found) + b"}}")
    )


def _asked(
    request: ApiRequest, body: schemas.FlagEvaluate, behaviours: frozenset[Behaviour]
) -> Asked:
    return find_asked(request, uuid.UUID(body.player_id), behaviours, body.context)


urlpatterns = [
    path("flags/flags/evaluate", route(flag_evaluate_all)),
    path("flags/flags/<str:key>/evaluate", route(flag_evaluate)),
]
