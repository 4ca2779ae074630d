"""The impact of a draft equals the evaluation of each of 20,000 players before and after the save,
now and at later dates, for the flag and for those that depend on it."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.db import connection

from flags.cache import compile_draft, flags_of
from flags.dashboard.impact import impact
from flags.engine.document import (
    FlagDocument,
    Prerequisite,
    Ramp,
    Rule,
    RuleGroup,
    ScheduleStep,
    boolean_document,
)
from flags.engine.evaluation import Decision, EvaluationContext, decide
from flags.models import ExperimentGroup, ExperimentState, Flag, FlagOverride
from flags.services import flag_create, flag_update
from ilara_admin.api import environment_cache
from ilara_admin.models import Environment
from players.models import Player
from players.record import COLUMNS, player_of
from segments.services import segment_create
from segments.subject import subject_of
from tests.factories import ACTOR, make_experiment
from tests.flags.dashboard.test_impact_rows import all_of

PLAYERS = 20_000
NOW = datetime.now(UTC)
PLAYERS_SQL = """
INSERT INTO player (id, environment_id, external_id, attributes, session_count, active_days,
    purchase_count, total_revenue, first_seen_at, last_seen_at, last_active_on, active_since)
SELECT gen_random_uuid(), %(environment)s, 'p-' || n,
    jsonb_build_object('level', n %% 80, 'vip', n %% 7 = 0), 1, 1, n %% 3, n %% 5,
    seen - interval '90 days', seen, seen::date, seen - interval '90 days'
FROM (SELECT n, %(now)s - n * interval '4 minutes' AS seen FROM generate_series(1, %(count)s) n) d
"""
KEYS = ("base", "shop", "offers")


def days(number: float) -> datetime:
    return NOW + timedelta(days=number)


def flag_needing(key: str, *rules: Rule, enabled: bool = True) -> FlagDocument:
    items = (Prerequisite(key, ("enabled",)),) if key else ()
    document = boolean_document(enabled=enabled, rules=rules)
    return msgspec.structs.replace(document, prerequisites=items)


LIVE = flag_needing(
    "season",
    Rule(id="few", segment="high", variant="enabled", rollout=20_000),
    Rule(id="all", variant="enabled", rollout=5_000),
)
LATER = [days(1), days(2), days(3)]
GROUP = RuleGroup(key="economy", salt="economy", start=10_000, end=70_000)
STEPS = tuple(map(ScheduleStep, LATER, (30_000, 10_000, 80_000)))
DRAFT = flag_needing(
    "season",
    Rule(id="vip", conditions=all_of(("vip", "==", True)), variant="disabled", end=days(2)),
    Rule(id="few", segment="high", variant="enabled", rollout=50_000, group=GROUP),
    Rule(id="all", variant="enabled", rollout=5_000, steps=STEPS),
)


@pytest.fixture
def flag(environment: Environment) -> Flag:
    """`base` needs `season`, which is ramped; `shop` needs base, and `offers` needs shop."""
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"environment": environment.pk, "count": PLAYERS, "now": NOW}
        cursor.execute(PLAYERS_SQL, values)
        cursor.execute("ANALYZE player")
    high = all_of(("level", ">=", 40), ("lifecycle_stage", "!=", "churned"))
    segment_create(environment=environment, key="high", name="High", rule=high, actor=ACTOR)
    ramp = Ramp(from_=50_000, to=100_000, start=days(-1), end=days(4))
    documents = {
        "season": flag_needing("", Rule(id="r", variant="enabled", ramp=ramp)),
        "base": LIVE,
        "shop": flag_needing(
            "base", Rule(id="r", conditions=all_of(("is_payer", "==", True)), variant="enabled")
        ),
        "offers": flag_needing("shop", Rule(id="r", variant="enabled", rollout=40_000)),
    }
    flags = {
        key: flag_create(environment=environment, key=key, document=document, actor=ACTOR)
        for key, document in documents.items()
    }
    for number, player in enumerate(Player.objects.of(environment).order_by("id")[:40]):
        FlagOverride.objects.create(
            player_id=player.pk,
            flag=flags[KEYS[number % 3]],
            variant=("enabled", "disabled")[number % 2],
            author_name="Ada",
            expires_at=(None, days(1.5), days(-1))[number % 3],
        )
    make_experiment(
        flags["base"],
        state=ExperimentState.DRAFT,
        group=ExperimentGroup.objects.create(
            environment=environment, key=GROUP.key, name=GROUP.key, salt=GROUP.salt
        ),
        first_bucket=GROUP.start,
        end_bucket=GROUP.end,
    )
    environment.refresh_from_db()
    return flags["base"]


type ServedByKey = dict[tuple[str, datetime], list[str]]


def served_to_each(environment: Environment) -> ServedByKey:
    """The variant of every player, in the order of their ids, by flag and time."""
    known = environment_cache.load(environment.pk)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM player p ORDER BY id")
        players = [player_of(row) for row in cursor.fetchall()]
    flags = [flags_of(known)[key] for key in KEYS]
    overrides: dict[str, list[FlagOverride]] = {}
    for each in FlagOverride.objects.all():
        overrides.setdefault(str(each.player_id), []).append(each)
    found: ServedByKey = {(key, at): [] for key in KEYS for at in (NOW, *LATER)}
    for player in players:
        subject, player_id = subject_of(player, known, NOW), str(player.id)
        for at in (NOW, *LATER):
            variants = {
                each.flag_id: each.variant
                for each in overrides.get(player_id, ())
                if each.expires_at is None or each.expires_at > at
            }
            context = EvaluationContext(player_id, subject, variants, at)
            memo: dict[str, Decision] = {}
            for flag in flags:
                found[flag.key, at].append(decide(flag, context, memo).variant.key)
    return found


@pytest.mark.slow
def test_impact__equals_every_player_before_and_after_the_save(
    flag: Flag, environment: Environment
) -> None:
    known = environment_cache.load(environment.pk)
    live = flags_of(known)["base"]
    found = impact(known, live, compile_draft(known, live, DRAFT), NOW)
    assert (found.exact, found.total) == (True, PLAYERS)
    dates = [each.at or NOW for each in found.dates]
    before = served_to_each(environment)
    flag_update(flag, document=DRAFT, base_revision=1, actor=ACTOR)
    after = served_to_each(environment)
    counts = {each.after.key: each.counts for each in found.dependents} | {"base": found.counts}
    assert set(counts) == set(KEYS)
    for key, at in before:
        old, new = before[key, at], after[key, at]
        count = counts[key][dates.index(at)]
        assert count.differ == sum(map(str.__ne__, old, new)) > 0
        assert count.served == Counter(new)
        assert len(count.served) == 2
    assert found.all.switches == found.counts[0].differ == found.counts[0].switches
    assert "season: Rule 1 at" in " ".join(each.text for each in found.dates)
