"""The cases of test_parser.py, evaluated by PostgreSQL."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from django.db import connection

from ilara_admin.models import Environment
from players.models import Player
from segments.language.compiler import Subject, compile_rule
from segments.language.operators import OPERATORS
from segments.language.parser import FIELDS, Condition, parse
from segments.language.sql import NOW as SQL_NOW
from segments.language.sql import condition_sql
from segments.language.sql_operators import moment_sql
from segments.language.values import moment
from segments.sizes import count, rule_query
from tests.factories import make_player
from tests.inputs import inputs
from tests.segments.language.test_parser import ATTRIBUTES, CASES, NOW, and_, condition

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

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


# --- Many values in one query ---------------------------------------------------------------------


def numbers(random: Random) -> Iterator[int | float]:
    """Numbers near the limits of what is a time, and everywhere between."""
    for edge in (0, 1, 10**11, -(10**11), 253_402_300_800, 253_402_300_800_000, -62_135_596_800,
                 -62_135_596_800_000, 2**53, 2**63 - 1):  # fmt: skip
        yield from (edge - 1, edge, edge + 1, edge - 0.001, edge + 0.0005, edge + 0.5)
    for _ in range(3_000):
        size = 10 ** random.uniform(-8, 19)
        yield random.choice([int(size), size, round(size, 3), -int(size), -size, -round(size, 3)])


def test_numbers__are_read_as_the_same_times(db: None) -> None:
    drawn = list(dict.fromkeys(numbers(Random(3))))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT (extract(epoch FROM {moment_sql("value")}) * 1000000)::bigint
            FROM unnest(%s::text[]::jsonb[]) WITH ORDINALITY given (value, place) ORDER BY place""",
            [[json.dumps(number) for number in drawn]],
        )
        found = [row[0] for row in cursor.fetchall()]
    microsecond = timedelta(microseconds=1)
    expected = [at and (at - EPOCH) // microsecond for at in map(moment, drawn)]
    assert [each for each in zip(drawn, found, expected, strict=True) if each[1] != each[2]] == []
    assert expected.count(None) > 300


def some_version(random: Random) -> str:
    def part() -> str:
        return random.choice(["0", "1", "2", "10", "007", str(random.randrange(10**17))])

    texts = [".".join(part() for _ in range(random.randint(1, 9)))]
    texts += [
        random.choice(["-rc.1", "-1.x", "-", "+b-1.2", "-a+b+c", ".", " "])
    ] * random.randrange(2)
    return random.choice(["", "", "v", "V", "="]) + "".join(texts)


def test_versions__are_compared_alike(db: None) -> None:
    random = Random(4)
    texts = [item["text"] for item in inputs("versions")]
    texts = list(dict.fromkeys(texts + [some_version(random) for _ in range(1_000)]))
    params: dict[str, Any] = {"now": NOW}

    def bind(value: Any) -> str:
        params[name := f"p{len(params)}"] = value
        return f"%({name})s"

    operands = ["1", "1.2.0", "0.0.7", "2.10.0-rc.1", "10.9007199254740991", "1.4.0-1"]
    leaves = parse(
        and_(
            *(
                condition("v", name, each)
                for name in ("semver_gte", "semver_lt")
                for each in operands
            )
        )
    ).conditions
    columns = [
        condition_sql(leaf, bind, SQL_NOW, {}, True)
        for leaf in leaves
        if isinstance(leaf, Condition)
    ]
    given = bind([json.dumps({"v": text}) for text in texts])
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT {", ".join(columns)}
            FROM unnest({given}::text[]::jsonb[]) WITH ORDINALITY p (attributes, place)
            ORDER BY place""",
            params,
        )
        found = cursor.fetchall()
    matchers = [compile_rule(leaf) for leaf in leaves]
    for text, row in zip(texts, found, strict=True):
        assert [matches(Subject({"v": text}, {}, NOW)) for matches in matchers] == list(row), text
