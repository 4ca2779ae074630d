"""Evidence that flags are no longer needed."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.test import Client, RequestFactory
from msgspec.structs import replace

from flags.dashboard.shortcuts import get_flag_or_404
from flags.dashboard.stale import hints
from flags.engine.document import Ramp, Rule, ScheduleStep, boolean_document, encode_document
from flags.models import Flag, FlagClient, FlagUsage
from flags.services import flag_create
from ilara_admin.models import AuditEntry, Environment, Role
from tests.factories import ACTOR
from tests.pages import message_of, squeezed, text_of

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
    "one-value-lately": ({29: ("disabled",), **dict.fromkeys(range(1, 9), ("enabled",))}, RULE, {},
                         []),
    "one-value-and-unknown": ({1: ("enabled", "gone")}, RULE, {}, [STEADY]),
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
        columns: dict[str, Any] = {
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


# --- The pages ------------------------------------------------------------------------------------


def asked(flag: Flag, client: str, hours_ago: float) -> None:
    at = datetime.now(UTC) - timedelta(hours=hours_ago)
    FlagClient.objects.create(flag=flag, client=client, count=7, last_at=at)


def page_at(client: Client, environment: Environment, path: str) -> str:
    response = client.get(f"/{environment.project.slug}/{environment.slug}/flags/{path}")
    assert response.status_code == 200
    return " ".join(squeezed(text_of(response)).split())


def old(environment: Environment, key: str) -> Flag:
    then = datetime.now(UTC) - 60 * DAY
    return make(environment, key, created_at=then, updated_at=then)


def test_stale_page__shows_evidence_and_who_asks(
    staff_client: Callable[..., Client], environment: Environment
) -> None:
    client, now = staff_client(Role.LIVE_OPS), datetime.now(UTC)
    unused, leaving, gone = (old(environment, key) for key in ("unused", "leaving", "gone"))
    asked(unused, "ilara-go/1.1", 24 * 40)
    asked(leaving, "old-game/2", 2.5)
    asked(gone, "older-game/1", 3.5)
    Flag.objects.filter(pk=leaving.pk).update(archives_at=now + timedelta(days=3))
    Flag.objects.filter(pk=gone.pk).update(archived_at=now - timedelta(days=3))
    page = page_at(client, environment, "+stale/")
    stale, shadow, still = re.findall("<tbody>.*?</tbody>", page, re.DOTALL)
    assert UNUSED in stale
    assert "ilara-go/1.1" in stale
    assert "leaving" not in stale + still
    assert ">in 3 d<" in shadow
    assert "old-game/2" in shadow
    assert ">2 h ago<" in shadow
    assert "older-game/1" in still
    reader = page_at(staff_client(Role.VIEWER), environment, "+stale/")
    assert "unused" in reader
    assert "Archive unused" in page
    assert "Archive unused" not in reader

    assert "Games still ask for it. Asked last by" in page_at(client, environment, "gone/")
    detail = page_at(client, environment, "leaving/")
    assert "Until then it serves as before." in detail
    assert "old-game/2" in detail


def test_archive_dialog__offers_a_shadow_period_that_can_be_cancelled(
    staff_client: Callable[..., Client], environment: Environment
) -> None:
    client = staff_client(Role.LIVE_OPS)
    flag = old(environment, "leaving")
    asked(flag, "old-game/2", 2.5)
    assert "Asked last by old-game/2, 2 h ago." in page_at(client, environment, "leaving/archive/")
    base = f"/{environment.project.slug}/{environment.slug}/flags/leaving"
    assert client.post(f"{base}/archive/", {"days": "8"}).status_code == 422
    response = client.post(f"{base}/archive/", {"days": "7", "reason": "Launched"})
    assert "leaving archives on " in message_of(response)
    flag.refresh_from_db()
    assert flag.archived_at is None
    assert flag.archives_at
    assert abs(flag.archives_at - datetime.now(UTC) - 7 * DAY) < timedelta(minutes=5)
    assert AuditEntry.objects.filter(action="flag.archive_scheduled", reason="Launched").exists()

    assert "It will not be archived." in page_at(client, environment, "leaving/keep/")
    assert "stays in use" in message_of(client.post(f"{base}/keep/"))
    flag.refresh_from_db()
    assert [flag.archives_at, flag.archived_at] == [None, None]
    assert "Nothing was changed" in message_of(client.post(f"{base}/keep/"))

    client.post(f"{base}/archive/")
    flag.refresh_from_db()
    assert flag.archived_at


def test_flag_page__tells_single_from_bulk_evaluations(
    staff_client: Callable[..., Client], environment: Environment
) -> None:
    client, now = staff_client(Role.VIEWER), datetime.now(UTC)
    flag = old(environment, "bulk-only")
    use = FlagUsage.objects.create(
        flag=flag, hour=now, variant="enabled", count=5, single=0, last_at=now
    )
    page = page_at(client, environment, "bulk-only/")
    assert "only together with all flags, 5 times" in page
    FlagUsage.objects.filter(pk=use.pk).update(single=2)
    asked(flag, "game/3", 1)
    page = page_at(client, environment, "bulk-only/")
    assert "2 evaluations alone, 3 together" in page
    assert "game/3" in page
