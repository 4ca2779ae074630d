"""The find box of every page: an exact match opens its page, anything else a list of results."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from flags.models import Flag
from ilara_admin.models import Environment, Role
from ilara_admin.web.access import environment_url, staff_view
from ilara_admin.web.filters import searched
from ilara_admin.web.htmx import HtmxHttpRequest
from players.aliases import aliases_starting_with, player_id_of
from players.models import Player
from players.views import found_by
from segments.models import Segment

MAX_QUERY = 255  # the longest external id
MAX_FOUND = 10


@staff_view(Role.VIEWER)
def find(request: HtmxHttpRequest) -> HttpResponse:
    """Redirect to a single exact match, else list the results."""
    q = searched(request, "q")
    context: dict[str, Any] = {"q": q}
    if q and len(q) <= MAX_QUERY and "\0" not in q:
        found = _found(request.environment, q)
        exact = _exact(request, q, found)
        if len(exact) == 1:
            if found["known"]:
                return found_by(request, found["known"][0], q)
            return HttpResponseRedirect(exact.pop())
        context |= found
        context["more_players"] = len(found["players"]) == MAX_FOUND
    return render(request, "ilara_admin/find.html", context)


def _found(environment: Environment, q: str) -> dict[str, Any]:
    players = Player.objects.of(environment)
    ids = [player_id_of(environment, q), *_uuid(q)]
    named = Q(key__icontains=q) | Q(name__icontains=q)
    exact_first = (ExpressionWrapper(~Q(key=q), BooleanField()), "key")
    return {
        "known": list(players.filter(pk__in=ids).for_list()),
        "linked": aliases_starting_with(environment, q),
        "players": list(players.starting_with(q).for_list()[:MAX_FOUND]),
        "flags": list(
            Flag.objects.filter(named, environment=environment).order_by(*exact_first)[:MAX_FOUND]
        ),
        "segments": list(
            Segment.objects.filter(named, environment=environment).order_by(*exact_first)[
                :MAX_FOUND
            ]
        ),
    }


def _exact(request: HtmxHttpRequest, q: str, found: Mapping[str, Any]) -> set[str]:
    return {
        *(environment_url(request, "player_detail", player.pk) for player in found["known"]),
        *(
            environment_url(request, "flag_detail", flag.key)
            for flag in found["flags"]
            if flag.key == q
        ),
        *(
            environment_url(request, "segment_detail", each.key)
            for each in found["segments"]
            if each.key == q
        ),
    }


def _uuid(text: str) -> list[uuid.UUID]:
    try:
        return [uuid.UUID(text)]
    except ValueError:
        return []
