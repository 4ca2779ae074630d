"""Queries over few players: whose events are counted, and in which partitions."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from events import partitions
from ilara_admin.models import Environment
from segments.language.parser import parse
from segments.language.sql import SqlQuery
from segments.sizes import rule_query
from tests.factories import make_player

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC)
LEVEL = {"field": "level", "operator": ">=", "value": 3}
OFTEN = {"event": "buy", "operator": ">=", "value": 2, "within": "2d"}
PATTERN = {"field": "name", "operator": "matches", "value": "^b"}


def group(operator: str, *conditions: Any) -> dict[str, Any]:
    return {"operator": operator, "conditions": list(conditions)}


def query(environment: Environment, rule: Any) -> SqlQuery:
    return rule_query(environment, parse(rule), NOW).sql_query(one_by_one=True)


def run(found: SqlQuery, select: str, *, explain: bool = False) -> list[Any]:
    sql = f"WITH few AS (SELECT * FROM player){found.ctes} {select}"
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}" if explain else sql, found.params)
        return [row[0] for row in cursor.fetchall()]


@pytest.mark.parametrize(
    ("rule", "undecided"),
    [
        (group("AND", LEVEL, OFTEN), {3, 4}),
        (group("AND", OFTEN, LEVEL), {3, 4}),
        (group("OR", LEVEL, OFTEN), {1, 2}),
        (group("NOT", LEVEL, OFTEN), {1, 2}),
        (group("AND", group("OR", group("NOT", LEVEL), OFTEN), LEVEL), {3, 4}),
        (group("OR", PATTERN, OFTEN), {1, 2, 3, 4}),  # Python decides about patterns
        (group("AND", OFTEN), {1, 2, 3, 4}),
    ],
)
def test_events__are_counted_only_for_players_whose_result_depends_on_them(
    environment: Environment, rule: Any, undecided: set[int]
) -> None:
    players = {make_player(environment, f"p-{n}", attributes={"level": n}).pk: n for n in (1, 2, 3)}
    players[make_player(environment, "p-4", attributes={"level": 4, "name": "b"}).pk] = 4
    (ids,) = run(query(environment, rule), "SELECT ids FROM undecided")
    assert {players[each] for each in ids or ()} == undecided


def test_events__are_read_only_from_the_partitions_of_the_time_span(
    environment: Environment,
) -> None:
    today = NOW.date()
    partitions.ensure(today - timedelta(days=5), days_ahead=12)
    found = query(environment, group("AND", LEVEL, OFTEN))
    plan = run(found, f"SELECT p.id FROM few p {found.joins} WHERE {found.where}", explain=True)
    used = set(re.findall(r"\bon (event_\w+) ", "\n".join(plan)))
    # Two days, the day on which they began, and tomorrow for clocks that differ.
    assert used == {partitions.name_of(today + timedelta(days=day)) for day in (-2, -1, 0, 1)}


def test_rule_without_events__counts_none(environment: Environment) -> None:
    assert query(environment, group("AND", LEVEL)).ctes == ""
