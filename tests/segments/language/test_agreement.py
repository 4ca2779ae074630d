"""The two evaluators of the rule language agree: compiler.py and sql.py.

Random rules are evaluated for random players by every evaluator, and all results must be equal.
Values come from small pools of edge cases, so that conditions often match.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.models import Event
from ilara_admin.api.environment_cache import at_version
from ilara_admin.models import Environment, Project
from players.models import Player, player_id_for
from players.record import PlayerRow, row_of
from segments.cache import SegmentRow, compile_segments, matchers_of, rules_of
from segments.language.compiler import Subject, compile_rule
from segments.language.operators import OPERATORS, ValueKind
from segments.language.parser import FIELDS, EventCount, Group, event_counts_of, parse
from segments.models import Segment, SegmentMember
from segments.sizes import RuleQuery, count, estimate, members, rule_query
from segments.subject import subject_of
from tests.factories import make_player

NOW = datetime.now(UTC).replace(microsecond=0)
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)

TEXTS = ["", "a", "A", "ab", "beta", "Beta", "é", "e\u0301", "日本", "😀x", "it's", '"q"', "50 %",
         "a\\b", "1", "1.0", "true", "null", "[]", " x ", "line\nend", "pro", "SS"]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 40, 40.0, 40.5, 0.1, 0.30000000000000004, 1e-7, 2**53, 2**53 + 1, -(2**63),
           2**63 - 1, 1e22, 1e23, 1.5e300, 5e-324, 12345678.9]  # fmt: skip
MOMENTS = [
    NOW.isoformat(), (NOW - DAY).isoformat(), (NOW + DAY).isoformat(),
    (NOW - 7 * DAY).isoformat().replace("+00:00", "Z"), (NOW - 7 * DAY - TICK).isoformat(),
    (NOW - DAY).strftime("%Y-%m-%d"), (NOW - DAY).strftime("%Y-%m-%d %H:%M"),
    (NOW - DAY).strftime("%Y-%m-%dT%H:%M:%S.5"), "2024-02-29", "2000-02-29T23:59:59+15:59",
    "0001-01-01", "9999-12-31T23:59:59.999999Z", "2026-06-01T12:00:00.123456-03:30",
]  # fmt: skip
ODD_MOMENTS = [
    (NOW - DAY).isoformat().replace("+00:00", ".0000000Z"), (NOW - DAY).strftime("%Y%m%dT%H%M%SZ"),
    (NOW - DAY).strftime("%Y-%m-%d %H:%M:%S.5 +0000 UTC"), "2024-02-29T24:00:00Z",
    (NOW - 7 * DAY).isoformat().replace("+00:00", "+00:00[UTC]"), "2016-12-31T23:59:60.5Z",
    (NOW - 7 * DAY).strftime("%Y-%m-%d %H:%M:%S,999999999+00"), "0001-01-01T00:00:00+02:00",
    "9999-12-31T18:59:60-05:00", "2026-06-01T12:00:00.123456789-23:59", "20260601",
]  # fmt: skip
SECONDS = int(NOW.timestamp()) - 86_400
EPOCH_NUMBERS = [
    SECONDS, SECONDS * 1000, SECONDS + 0.123456, SECONDS * 1000 + 0.5, SECONDS - 6 * 86_400,
    -1.0001, 1.001, 10**11 - 1, 10**11, -(10**11), -62_135_596_800, -62_135_596_801,
    253_402_300_799_999, 253_402_300_800_000, 253_402_300_799.9999, 99_999_999_999.9999,
]  # fmt: skip
NO_MOMENTS = ["2023-02-29", "1900-02-29", "0000-01-01", "2026-13-01", "2026-06-31", "24:00",
              "2026-6-1", "2026-06-01T24:00", "2026-06-01T12:00+16:00", "2026-06-01T12:00:60Z",
              "2026-06-01T12:0000Z", "9999-12-31T24:00", "2016-12-31T15:59:60-07:00",
              "2026-06-01-05", "2026-06-01T12:00Z[", "2026-06-01\n", "\u0662026-06-01"]  # fmt: skip
VERSIONS = ["1", "1.0", "v1.0.0", "1.0.0.0", "1.10.0", "1.9.9", "2.0.0-rc.1", "2.0.0-rc.10",
            "2.0.0-rc.9", "2.0.0-rc.1.x", "2.0.0-rc", "2.0.0-alpha", "2.0.0-alpha.1",
            "2.0.0-alpha-1", "2.0.0-1", "2.0.0-01", "2.0.0+b7", "2.0.0", "2.0.0-Beta",
            "999999999.0.1", "V1.0", "1.4.1759276800", "1.4.1759276800.0.2", "1.2.3.4.5.6.7.8",
            "9007199254740991", "0001.0", "1.2.3-rc+a+b"]  # fmt: skip
NO_VERSIONS = ["1.", "1.2.3.4.5.6.7.8.9", "1.2.3-", "9007199254740992", "1.99999999999999999",
               "vv1", "v", "1.2.3 ", "1,2", "\u0661.\u0662"]  # fmt: skip
SCALARS = [*TEXTS, *NUMBERS, *EPOCH_NUMBERS, True, False]
MIXED_TEXTS = [*TEXTS, *MOMENTS, *ODD_MOMENTS, *NO_MOMENTS, *VERSIONS, *NO_VERSIONS]
ITEMS = ["a", "b", "beta", "1", 1, 1.0, 40, True, False, ""]
ATTRIBUTES = ["level", "tag", "app", "joined", "seen", "list", "stats.wins", "stats.0",
              "attributes.email", "odd key", "50%", r"stats\.wins", r"a\\b.c\.d",
              r"attributes\.x", "attributes.attributes.x"]  # fmt: skip
# Operators that fit the usual values of an attribute are drawn more often.
FITTING = {
    "level": ["==", ">", ">=", "<", "<=", "in"],
    "tag": ["==", "in", "contains", "starts_with", "ends_with", "matches"],
    "app": ["semver_eq", "semver_gt", "semver_gte", "semver_lt", "semver_lte"],
    "joined": ["within_last", "not_within_last", "before", "after"],
    "seen": ["within_last", "not_within_last", "before", "after"],
    "list": ["contains", "contains_any", "contains_all", "not_contains"],
}
EMAILS = [None, "a@example.com", "A@Example.COM", "no at", "a@", "@b", "a@b@C.org", "é@É.fr", ""]
PATTERNS = ["a", "^[a-z]+$", "(?i)BETA", r"\d", "é", "^$", ".", r"\pL", "(a|b)*$", r"\s"]
EVENTS = ["buy", "win"]
SPANS = ["1d", "7d", "12h", "30d", "2w", "90m"]  # fmt: skip

# --- Players --------------------------------------------------------------------------------------

leaf = st.sampled_from([*SCALARS, *MIXED_TEXTS, None])
value = st.one_of(
    leaf,
    st.lists(leaf, max_size=4),
    st.dictionaries(st.sampled_from(["wins", "0", "a"]), leaf, max_size=2),
    st.lists(st.lists(leaf, max_size=2), max_size=2),
)
attributes = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        (
            *("level", "tag", "app", "joined", "seen", "stats", "list", "email", "odd key", "50%"),
            *("segment", "stats.wins", "attributes.x", "attributes"),
        ),
        value,
    ),
)


def usual_attributes(random: Random) -> dict[str, Any]:
    """Typical attributes: all present, with fitting types and values that rules mention."""
    return {
        "level": random.choice(NUMBERS),
        "tag": random.choice(TEXTS),
        "app": random.choice([*VERSIONS, *VERSIONS, *NO_VERSIONS]),
        "joined": random.choice([*MOMENTS, *MOMENTS, *ODD_MOMENTS, *NO_MOMENTS]),
        "seen": random.choice([*EPOCH_NUMBERS, *ODD_MOMENTS, *NUMBERS]),
        "list": random.sample(ITEMS, random.randrange(5)),
        "stats": {"wins": random.choice(NUMBERS), "0": random.choice(TEXTS)},
        "email": random.choice(SCALARS),
        "odd key": random.choice([None, True, False, 0, 1]),
        "50%": random.choice(MIXED_TEXTS),
        "stats.wins": random.choice(NUMBERS),
        "a\\b": {"c.d": random.choice(SCALARS)},
        "attributes.x": random.choice(SCALARS),
        "attributes": {"x": random.choice(SCALARS)},
    }


def moment(random: Random) -> datetime:
    """A time on or next to the edge of a time span."""
    edge = random.choice([0, 1, 6, 7, 8, 29, 30, 31, 60])
    return NOW - edge * DAY + random.choice([-1, 0, 0, 1]) * random.choice([TICK, DAY / 2])


def columns(random: Random) -> dict[str, Any]:
    first, last = sorted([moment(random), moment(random)])
    returned = random.choice([None, moment(random)])
    spent = random.choice(["0", "4.99", "0.01", "40", "99999999999999.99", "0.1"])
    return {
        "email": random.choice(EMAILS),
        "device_id": random.choice([None, "", "abc", "A"]),
        "first_seen_at": first,
        "last_seen_at": last,
        "last_active_on": last.date(),
        "returned_at": returned,
        "active_since": last,
        "session_count": random.choice([0, 1, 40]),
        "active_days": random.choice([1, 2, 5, 1000]),
        "purchase_count": random.choice([0, 1, 2]),
        "total_revenue": Decimal(spent),
    }


# --- Rules ----------------------------------------------------------------------------------------


def conditions(*, on_player: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """Any operator on any field. Each strategy is built once, since building takes longer than
    drawing."""
    names = [*ATTRIBUTES, *3 * list(FITTING), *(name for name in FIELDS if on_player)]
    by_name = []
    for name in names:
        kind = FIELDS.get(name, ValueKind.ANY) if on_player else ValueKind.ANY
        by_operator = [
            condition(name, kind, operator)
            for operator in [*OPERATORS, *3 * FITTING.get(name, [])]
            if kind in OPERATORS[operator].kinds
            and (on_player or OPERATORS[operator].takes != "pattern")
        ]
        by_name.append(st.sampled_from(by_operator).flatmap(lambda chosen: chosen))
    return st.sampled_from(by_name).flatmap(lambda chosen: chosen)


def condition(name: str, kind: ValueKind, operator: str) -> st.SearchStrategy[dict[str, Any]]:
    fixed = {"field": st.just(name), "operator": st.just(operator)}
    takes = OPERATORS[operator].takes
    if takes != "nothing":
        fixed["value"] = expected(name, kind, takes)
    return st.fixed_dictionaries(fixed)


def expected(name: str, kind: ValueKind, takes: str) -> st.SearchStrategy[Any]:
    texts = st.sampled_from([item for item in [*MIXED_TEXTS, "example.com", "b", "hero-1"] if item])
    numbers = st.sampled_from([*NUMBERS, 4.99, 1000, 0.5, 0.2])
    scalars: st.SearchStrategy[Any] = st.one_of(texts, numbers, st.booleans())
    match kind:
        case ValueKind.TEXT:
            scalars = texts
        case ValueKind.NUMBER:
            scalars = numbers
        case ValueKind.BOOLEAN:
            scalars = st.booleans()
        case ValueKind.SEGMENT:
            scalars = st.sampled_from(["rule", "listed", "chained", "patterned"])
    if name == "lifecycle_stage" and takes in ("scalar", "list"):
        scalars = st.sampled_from(["new", "active", "at_risk", "churned", "reactivated"])
    if name == "list" and takes in ("text", "list"):
        texts = st.sampled_from(["a", "b", "beta", "1", "x"])
        scalars = st.one_of(st.sampled_from(ITEMS), scalars)
    return {
        "scalar": scalars,
        "number": numbers,
        "text": texts,
        "list": st.lists(scalars, min_size=1, max_size=4),
        "duration": st.sampled_from(SPANS),
        "moment": st.sampled_from(
            [*MOMENTS, *ODD_MOMENTS[:7], "-7d", "-1d", "+1d", "-30d", "-90m"]
        ),
        "version": st.sampled_from(VERSIONS),
        "pattern": st.sampled_from(PATTERNS),
    }[takes]


def counting(times: st.SearchStrategy[int], operator: str) -> st.SearchStrategy[dict[str, Any]]:
    fixed = {
        "event": st.sampled_from([*EVENTS, "never"]),
        "operator": st.just(operator),
        "value": times,
        "within": st.sampled_from(SPANS),
    }
    return st.fixed_dictionaries(fixed, optional={"where": property_groups})


def groups(
    one: st.SearchStrategy[Any], depth: int = 3, longest: int = 3
) -> st.SearchStrategy[dict[str, Any]]:
    inner = st.one_of(one, groups(one, depth - 1)) if depth > 1 else one
    return st.fixed_dictionaries(
        {
            "operator": st.sampled_from(["AND", "OR", "NOT"]),
            "conditions": st.lists(inner, min_size=1, max_size=longest),
        }
    )


# Built by the tests that draw them, since building takes a second.
property_groups = st.deferred(lambda: groups(conditions(on_player=False), depth=1))
event_leaves = st.one_of(counting(st.integers(1, 4), ">="), counting(st.integers(0, 4), "<="))
player_conditions = st.deferred(conditions)
one = st.one_of(player_conditions, player_conditions, event_leaves)
# Mostly single conditions: in a group, other conditions hide a difference.
single = groups(player_conditions, depth=1, longest=1)
rules = st.one_of(single, single, groups(one))

# --- The environment ------------------------------------------------------------------------------


class Crowd:
    """An environment with fixed players and events, except for the attributes of some players.

    Everything is committed: in one long transaction dead rows would pile up and each example would
    be slower than the one before.
    """

    def __init__(self) -> None:
        random = Random(7)
        project = Project.objects.create(name="Crowd", slug="crowd")
        self.environment = Environment.objects.create(project=project, slug="live")
        self.segments()
        for number in range(60):
            make_player(
                self.environment,
                f"hero-{number}",
                attributes=usual_attributes(random),
                **columns(random),
            )
        self.events: dict[UUID, list[Event]] = {}
        for player in self.players():
            self.add_events(player, random)
        for number in range(0, 60, 4):
            self.add_to_list(f"hero-{number}", excluded=bool(number % 8), key="listed")
        self.add_to_list("hero-0", excluded=True, key="listed")
        self.add_to_list("hero-1", excluded=False, key="rule")
        self.rows = [row_of(player) for player in self.players()]
        self.places = {row.external_id: place for place, row in enumerate(self.rows)}
        rows = Segment.objects.filter(environment=self.environment)
        values = rows.values_list("id", "key", "name", "rule")
        self.compiled = compile_segments([SegmentRow(*row) for row in values], {})
        self.query = rule_query(self.environment, None, NOW)
        self.listed: dict[UUID, dict[int, bool]] = {}
        for member in SegmentMember.objects.order_by("excluded"):
            self.listed.setdefault(member.player_id, {})[member.segment_id] = member.excluded

    def players(self) -> Iterable[Player]:
        return Player.objects.of(self.environment).order_by("id")

    def segments(self) -> None:
        def all_of(*conditions: Any) -> dict[str, Any]:
            return {"operator": "AND", "conditions": list(conditions)}

        level = {"field": "level", "operator": ">=", "value": 1}
        often = {"event": "buy", "operator": ">=", "value": 2, "within": "7d"}
        made = {
            "rule": all_of(level),
            "listed": {"operator": "OR", "conditions": [often, {**level, "operator": "<"}]},
            "chained": {
                "operator": "NOT",
                "conditions": [{"field": "segment", "operator": "in", "value": ["rule", "listed"]}],
            },
            "patterned": all_of({"field": "email", "operator": "matches", "value": "^[aA]"}),
        }
        for key, rule in made.items():
            Segment.objects.create(environment=self.environment, key=key, name=key, rule=rule)

    def add_events(self, player: Player, random: Random) -> None:
        made: list[Event] = []
        for _ in range(random.choice([0, 1, 3, 6])):
            at = moment(random)
            properties = {
                "level": random.choice(SCALARS),
                "tag": random.choice(MIXED_TEXTS),
                "seen": random.choice([*EPOCH_NUMBERS, *ODD_MOMENTS]),
                "stats.wins": random.choice(NUMBERS),
            }
            made.append(
                Event(
                    id=len(self.events) * 100 + len(made) + 1,
                    environment_id=self.environment.pk,
                    player_id=player.pk,
                    event_id=f"{player.external_id}-{len(made)}",
                    name=random.choice(EVENTS),
                    properties=properties,
                    occurred_at=at,
                    received_at=at - timedelta(seconds=1),
                )
            )
        Event.objects.bulk_create(made)
        # Read back as stored: there, 1e23 is an integer.
        self.events[player.pk] = list(Event.objects.filter(player_id=player.pk))

    def add_to_list(self, external_id: str, *, excluded: bool, key: str) -> None:
        SegmentMember.objects.create(
            segment=Segment.objects.get(environment=self.environment, key=key),
            player_id=player_id_for(self.environment.namespace, external_id),
            external_id=external_id,
            excluded=excluded,
            change_id=0,
        )

    def query_of(self, rule: Group) -> RuleQuery:
        """rule_query without loading the segments again."""
        matches = compile_rule(rule, matchers_of(self.compiled))
        return replace(self.query, rule=rule, matches=matches)

    def set_attributes(self, drawn: list[dict[str, Any]]) -> None:
        """Set the attributes of the first players and read them back as stored."""
        with connection.cursor() as cursor:
            cursor.execute(
                """UPDATE player p SET attributes = given.value::jsonb
                FROM unnest(%s::text[], %s::text[]) given (external_id, value)
                WHERE p.environment_id = %s AND p.external_id = given.external_id
                RETURNING p.external_id, p.attributes::text""",
                [
                    [f"hero-{number}" for number in range(len(drawn))],
                    [json.dumps(item) for item in drawn],
                    self.environment.pk,
                ],
            )
            for external_id, value in cursor.fetchall():
                place = self.places[external_id]
                self.rows[place] = self.rows[place]._replace(attributes=msgspec.json.decode(value))

    def counts(self, wanted: Iterable[EventCount]) -> dict[UUID, dict[EventCount, int]]:
        """The expected event counts by player, computed event by event."""
        found: dict[UUID, dict[EventCount, int]] = {row.id: {} for row in self.rows}
        for event_count in wanted:
            matches = compile_rule(event_count.where or parse(ALWAYS))
            for player_id, events in self.events.items():
                counted = [
                    event
                    for event in events
                    if event.name == event_count.event
                    and event.received_at > NOW - event_count.span
                    and matches(Subject(event.properties, {}, NOW))
                ]
                found[player_id][event_count] = min(len(counted), event_count.limit)
        return found


ALWAYS = {"operator": "NOT", "conditions": [{"field": "no", "operator": "is_set"}]}


@pytest.fixture
def crowd(transactional_db: None) -> Crowd:
    """Shared by all examples of a test."""
    return Crowd()


def by_function(crowd: Crowd, rule: Group) -> set[UUID]:
    """The ids of matching players, evaluated as in a request."""
    matches = compile_rule(rule, matchers_of(crowd.compiled))
    needed = event_counts_of([rule], rules_of(crowd.compiled))
    snapshot = at_version(crowd.environment)

    counts = crowd.counts(needed)

    def subject(row: PlayerRow) -> Subject:
        lists = crowd.listed.get(row.id, {})
        return subject_of(row, snapshot, NOW, None, lists, counts[row.id])

    return {row.id for row in crowd.rows if matches(subject(row))}


def by_sql(query: RuleQuery, *, one_by_one: bool) -> set[UUID]:
    found = query.sql_query(one_by_one=one_by_one)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH few AS (SELECT * FROM player){found.ctes} SELECT p.id FROM few p {found.joins} "
            f"WHERE p.environment_id = {query.snapshot.environment_id} AND {found.where}",
            found.params,
        )
        return {row[0] for row in cursor.fetchall()}


def check(crowd: Crowd, document: dict[str, Any], drawn: list[dict[str, Any]]) -> None:
    crowd.set_attributes(drawn)
    rule = parse(document)
    wanted = by_function(crowd, rule)
    query = crowd.query_of(rule)
    exact = query.sql_query(one_by_one=True).exact
    for one_by_one in (False, True):
        found = by_sql(query, one_by_one=one_by_one)
        assert found == wanted if exact else found >= wanted
    if not exact:
        assert count(query) == len(wanted)


AGREEMENT = {"suppress_health_check": list(HealthCheck)}


@pytest.mark.slow
@settings(max_examples=100, **AGREEMENT)  # type: ignore[arg-type]
@given(rules, st.lists(attributes, min_size=6, max_size=6))
def test_random_rules__give_equal_results(crowd: Crowd, rule: Any, drawn: Any) -> None:
    check(crowd, rule, drawn)
    query = rule_query(crowd.environment, parse(rule), NOW)
    found = sorted(by_function(crowd, parse(rule)))
    assert count(query) == estimate(query).matched == len(found)
    assert [player.id for player in members(query).players] == found[:50]


@pytest.mark.slow
@settings(max_examples=2_000, **AGREEMENT)  # type: ignore[arg-type]
@given(rules, st.lists(attributes, min_size=6, max_size=6))
def test_many_random_rules__give_equal_results(crowd: Crowd, rule: Any, drawn: Any) -> None:
    check(crowd, rule, drawn)
