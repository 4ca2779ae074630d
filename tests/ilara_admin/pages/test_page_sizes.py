"""A page costs what it shows: with ten times as many flags and segments in the environment, it
makes as many queries and is hardly larger."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from flags.engine.document import Rule, boolean_document, encode_document
from flags.models import Flag, FlagRevision
from ilara_admin.models import Environment, Role
from ilara_admin.web.suggestions import MAX_LISTED
from players.models import Player
from segments.models import Segment
from tests.pages import signed_in

RULES = 10
PAGES = (
    "", "flags/", "flags/f-0/", "flags/f-0/rules/", "flags/f-0/prerequisites/",
    "flags/f-0/variants/", "flags/f-0/turn-off/", "flags/f-0/archive/", "flags/f-0/rules/r-1/up/",
    "segments/", "segments/s-0/", "segments/s-0/edit/", "segments/+new/", "segments/s-0/delete/",
    "segments/s-0/members/", "audit/", "players/", "events/names/",
)  # fmt: skip
NAMED = {"field": "segment", "operator": "in", "value": ["s-1", "s-2"]}
PAGE = 50  # rows of a list
# Of the longest list of suggestions, which a page contains once, and of a row of a list.
SUGGESTION, ROW = 80, 3_000


def rules(number: int) -> dict[str, Any]:
    """The document of a flag with RULES rules for one segment."""
    rules = tuple(
        Rule(id=f"r-{each}", variant="enabled", segment=f"s-{number}", rollout=40_000)
        for each in range(RULES)
    )
    return encode_document(boolean_document(enabled=True, rules=rules))


def fill(environment: Environment, first: int, end: int) -> None:
    """As many flags as segments; the first segment names two others, twice."""
    Segment.objects.bulk_create(
        Segment(
            environment=environment, key=f"s-{number}", name=f"s-{number}",
            rule={"operator": "AND", "conditions": [
                {"field": "level", "operator": ">", "value": number},
                *([NAMED, NAMED] if number == 0 else []),
            ]},
        )
        for number in range(first, end)
    )  # fmt: skip
    flags = Flag.objects.bulk_create(
        Flag(environment=environment, key=f"f-{number}", name=f"f-{number}", document=rules(number))
        for number in range(first, end)
    )
    FlagRevision.objects.bulk_create(
        FlagRevision(flag=flag, number=1, name=flag.key, document=flag.document) for flag in flags
    )
    Environment.objects.filter(pk=environment.pk).update(config_version=end)


@pytest.fixture
def staff(db: None) -> Client:
    return signed_in(Role.ADMIN)


def costs(staff: Client, environment: Environment) -> dict[str, tuple[int, int]]:
    """Queries and bytes of each page."""
    found: dict[str, Any] = {}
    for page in PAGES:
        url = f"/{environment.project.slug}/{environment.slug}/{page}"
        staff.get(url)
        with CaptureQueriesContext(connection) as queries:
            response = staff.get(url)
        assert response.status_code == 200, page
        found[page] = len(queries), len(response.content)
    return found


@pytest.mark.slow
def test_pages__cost_what_they_show(
    staff: Client, environment: Environment, player: Player
) -> None:
    fill(environment, 0, MAX_LISTED + 5)
    few = costs(staff, environment)
    fill(environment, MAX_LISTED + 5, 10 * MAX_LISTED)
    many = costs(staff, environment)
    more = 10 * MAX_LISTED - (MAX_LISTED + 5)
    for page in PAGES:
        assert many[page][0] == few[page][0], page
        rows = PAGE - MAX_LISTED - 5 if page in ("flags/", "segments/") else 0
        assert many[page][1] - few[page][1] <= 2 * more * SUGGESTION + rows * ROW, page
