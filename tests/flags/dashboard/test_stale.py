"""Evidence that flags are no longer needed."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.test import RequestFactory
from msgspec.structs import replace

from flags.dashboard.shortcuts import get_flag_or_404
from flags.dashboard.stale import hints
from flags.engine.document import Ramp, Rule, ScheduleStep, boolean_document, encode_document
from flags.models import Flag, FlagUsage
from flags.services import flag_create
from ilara_admin.models import Environment
from tests.factories import ACTOR

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 12, 1, 12, 30, tzinfo=UTC)
RULE = Rule(id="half", variant="enabled", rollout=50_000)
WHOLE = Rule(id="whole", variant="enabled")
DAY = timedelta(days=1)


def make(environment: Environment, key: str, rule: Rule = RULE, **columns: Any) -> Flag:
    """A flag that was created and changed 60 days ago, unless the columns override it."""
    document = boolean_document(enabled=True, rules=(rule,))
    flag = flag_create(environment=environment, key=key, document=document, actor=ACTOR)
    then = NOW - 60 * DAY
    Flag.objects.filter(pk=flag.pk).update(**{"created_at": then, "updated_at": then, **columns})
    return flag


def serve(flag: Flag, days_ago: float, *variants: str) -> None:
    at = NOW - days_ago * DAY
    hour = at.replace(minute=0, second=0, microsecond=0)
    for variant in variants:
        FlagUsage.objects.create(flag=flag, hour=hour, variant=variant, count=3, last_at=at)


def found(environment: Environment) -> dict[str, list[str]]:
    """The hints of each flag of the environment."""
    flags = Flag.objects.of(environment).with_evidence(NOW)
    return {flag.key: hints(flag, NOW) for flag in flags}


UNUSED = "No game has evaluated it for 30 days."
STEADY = "Everyone has got enabled for 30 days, and it did not change."
NEXT_WEEK = NOW + 7 * DAY
# The variants served by days ago, the rule, columns, and the expected sentences.
CASES: dict[str, tuple[dict[float, tuple[str, ...]], Rule, dict[str, Any], list[str]]] = {
    "never-evaluated": ({}, RULE, {}, [UNUSED]),
    "new": ({}, RULE, {"created_at": NOW - DAY}, []),
    "long-ago": ({31: ("enabled", "disabled")}, RULE, {}, [UNUSED]),
    "recent": ({29: ("enabled", "disabled")}, RULE, {}, []),
    "one-value": ({40: ("enabled", "disabled"), 29: ("enabled",), 1: ("enabled",)}, RULE, {},
                  [STEADY]),
    "two-values": ({29: ("disabled",), 1: ("enabled",)}, RULE, {}, []),
    "changed": ({1: ("enabled",)}, RULE, {"updated_at": NOW - 29 * DAY}, []),
    "unknown-variant": ({1: ("gone",)}, RULE, {}, []),
    "ended": ({1: ("enabled", "disabled")}, RULE, {"expected_end": (NOW - DAY).date()},
              ["It was expected to end on 30 Nov 2026."]),
    "ends-today": ({1: ("enabled", "disabled")}, RULE, {"expected_end": NOW.date()}, []),
    "ended-and-unused": ({}, RULE, {"expected_end": (NOW - DAY).date()},
                         ["It was expected to end on 30 Nov 2026.", UNUSED]),
    "archived": ({}, RULE, {"archived_at": NOW}, []),
    "archives": ({}, RULE, {"archives_at": NEXT_WEEK}, []),
    "starts": ({1: ("enabled",)}, replace(RULE, start=NEXT_WEEK), {}, []),
    "started": ({1: ("enabled",)}, replace(RULE, start=NOW - DAY), {}, [STEADY]),
    "step": ({1: ("enabled",)}, replace(RULE, steps=(ScheduleStep(NEXT_WEEK, 70_000),)), {}, []),
    "ramp": ({1: ("enabled",)}, replace(WHOLE, ramp=Ramp(0, 90_000, NOW - DAY, NEXT_WEEK)), {}, []),
    "unreadable": ({1: ("enabled",)}, RULE, {"document": {"variants": [{"key": "enabled"}]}},
                   [STEADY]),
    "no-object": ({1: ("enabled",)}, RULE, {"document": [1]}, []),
}  # fmt: skip


def test_evidence__each_kind_and_its_limits(environment: Environment) -> None:
    Flag.objects.of(environment).delete()
    for key, (served, rule, columns, _) in CASES.items():
        flag = make(environment, key, rule, **columns)
        for days_ago, variants in served.items():
            serve(flag, days_ago, *variants)
    assert found(environment) == {key: case[-1] for key, case in CASES.items()}
    stale = Flag.objects.of(environment).stale(NOW).values_list("key", flat=True)
    assert set(stale) == {key for key, case in CASES.items() if case[-1]}


def test_stale_filter__equals_the_hints_of_each_flag(environment: Environment) -> None:
    """Every combination of the four things that count, and the state."""
    ages, ends = (10, 45), (None, NOW - 3 * DAY, NOW + 3 * DAY)
    served: tuple[dict[float, tuple[str, ...]], ...] = (
        {}, {40: ("enabled",)}, {2: ("enabled",)}, {2: ("enabled", "disabled")},
        {20: ("disabled",), 2: ("enabled",)},
    )  # fmt: skip
    for number, (age, changed, end, use) in enumerate(product(ages, ages, ends, served)):
        columns = {
            "created_at": NOW - max(age, changed) * DAY,
            "updated_at": NOW - changed * DAY,
            "expected_end": end and end.date(),
            "archived_at": NOW if number % 7 == 0 else None,
        }
        flag = make(environment, f"flag-{number}", **columns)
        for days_ago, variants in use.items():
            serve(flag, days_ago, *variants)
    hinted = {key for key, sentences in found(environment).items() if sentences}
    stale = Flag.objects.of(environment).stale(NOW).values_list("key", flat=True)
    assert set(stale) == hinted
    assert 10 < len(hinted) < 50


def test_page__has_the_same_evidence_as_the_list(environment: Environment) -> None:
    now = datetime.now(UTC)
    flag = make(environment, "steady", created_at=now - 60 * DAY, updated_at=now - 60 * DAY)
    FlagUsage.objects.create(flag=flag, hour=now, variant="enabled", count=3, last_at=now)
    later = replace(RULE, start=now + DAY)
    waiting = make(environment, "waiting", later, updated_at=now - 60 * DAY)
    FlagUsage.objects.create(flag=waiting, hour=now, variant="enabled", count=3, last_at=now)
    request: Any = RequestFactory().get("/")
    request.environment = environment
    assert hints(get_flag_or_404(request, "steady"), now) == [STEADY]
    assert hints(get_flag_or_404(request, "waiting"), now) == []
    assert encode_document(waiting.spec)["rules"][0]["start"].endswith("Z")
