"""The cases of test_parser.py, evaluated by PostgreSQL."""

from typing import Any

import pytest

from ilara_admin.models import Environment
from players.models import Player
from segments.language.operators import OPERATORS
from segments.language.parser import FIELDS, parse
from segments.sizes import count, rule_query
from tests.factories import make_player
from tests.segments.language.test_parser import ATTRIBUTES, CASES, NOW, and_, condition

# Versions in ascending order, with every form of pre-release.
ASCENDING = [
    "1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.2",
    "1.0.0-alpha.10", "1.0.0-alpha.beta", "1.0.0-alpha-1", "1.0.0-beta", "1.0.0-rc.9",
    "1.0.0-rc.10", "1.0.0", "1.0.0.1", "1.2", "1.10", "2",
]  # fmt: skip


@pytest.fixture
def player(environment: Environment) -> Player:
    return make_player(environment, attributes=ATTRIBUTES, last_seen_at=NOW)


def holds(player: Player, field: str, operator: str, value: Any) -> bool:
    rule = parse(and_(condition(field, operator, value)))
    return count(rule_query(player.environment, rule, NOW)) == 1


@pytest.mark.parametrize("operator", CASES)
def test_operator__holds_exactly_where_expected(player: Player, operator: str) -> None:
    for expected, cases in zip((True, False), CASES[operator], strict=True):
        for field, value in cases:
            if field not in FIELDS:
                assert holds(player, field, operator, value) is expected, (field, value)


@pytest.mark.parametrize("operator", [name for name in OPERATORS if name.startswith("semver_")])
def test_versions__are_ordered(player: Player, operator: str) -> None:
    signs = {"eq": "__eq__", "gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}
    sign = signs[operator.removeprefix("semver_")]
    for place, version in enumerate(ASCENDING):
        Player.objects.filter(pk=player.pk).update(attributes={"version": version})
        # Comparing the neighbours is enough.
        for other in range(max(place - 1, 0), min(place + 2, len(ASCENDING))):
            expected = getattr(place, sign)(other)
            assert holds(player, "version", operator, ASCENDING[other]) is expected, version
