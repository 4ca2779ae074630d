"""Usage counts of flags: counted in requests, written separately."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models import Sum
from django.utils import timezone

from flags import usage
from flags.engine.document import Rule, boolean_document
from flags.models import EnvironmentUsage, Flag, FlagUsage, FlagUsageDay
from flags.overrides import override_set
from flags.services import flag_create
from ilara_admin.models import Environment
from players.models import Player
from tests.api_client import FLAGS, Api
from tests.factories import ACTOR

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def flag(environment: Environment) -> Flag:
    document = boolean_document(
        enabled=True, rules=(Rule(id="half", variant="enabled", rollout=50_000),)
    )
    return flag_create(environment=environment, key="half", document=document, actor=ACTOR)


def used(flag: Flag) -> dict[str, int]:
    usage.flush()
    rows = FlagUsage.objects.filter(flag=flag).values_list("variant")
    return dict(rows.annotate(times=Sum("count")))


def test_evaluations__are_counted_by_variant(public_api: Api, flag: Flag) -> None:
    served = {"enabled": 0, "disabled": 0}
    for number in range(20):
        body = {"player_id": public_api.register(f"p-{number}")["id"]}
        served[public_api.post(f"{FLAGS}/half/evaluate", body).data["variant_key"]] += 1
    assert all(served.values())
    assert used(flag) == served
    row = FlagUsage.objects.filter(flag=flag)[0]
    assert (row.hour.minute, row.hour.second) == (0, 0)
    assert timedelta(0) <= datetime.now(UTC) - row.last_at < timedelta(minutes=5)
    found = Flag.objects.with_last_evaluated().get(pk=flag.pk)
    assert found.last_evaluated_at == max(
        FlagUsage.objects.filter(flag=flag).values_list("last_at", flat=True)
    )


def test_bulk_evaluation__counts_constant_flags_too(
    public_api: Api, flag: Flag, player: Player
) -> None:
    always = flag_create(
        environment=flag.environment,
        key="always",
        document=boolean_document(enabled=True, rules=(Rule(id="r", variant="enabled"),)),
        actor=ACTOR,
    )
    body = {"player_id": str(player.pk)}
    for _ in range(3):
        public_api.post(f"{FLAGS}/evaluate", body)
        public_api.post(
            "/ofrep/v1/evaluate/flags", {"context": {"targetingKey": player.external_id}}
        )
    assert used(always) == {"enabled": 6}
    assert sum(used(flag).values()) == 6
    override_set(always, player, "disabled", actor=ACTOR)
    public_api.post(f"{FLAGS}/evaluate", body)
    assert used(always) == {"enabled": 6, "disabled": 1}


def test_single_evaluations__are_told_apart(public_api: Api, flag: Flag, player: Player) -> None:
    body = {"player_id": str(player.pk)}
    context = {"context": {"targetingKey": player.external_id}}
    for _ in range(3):
        public_api.post(f"{FLAGS}/half/evaluate", body)
    usage.flush()
    public_api.post("/ofrep/v1/evaluate/flags/half", context)
    public_api.post(f"{FLAGS}/evaluate", body)
    public_api.post("/ofrep/v1/evaluate/flags", context)
    usage.flush()
    [row] = FlagUsage.objects.filter(flag=flag)
    assert (row.count, row.single) == (6, 4)


def test_environment__has_the_sum_of_its_flags(public_api: Api, flag: Flag, player: Player) -> None:
    body = {"player_id": str(player.pk)}
    for _ in range(2):
        public_api.post(f"{FLAGS}/half/evaluate", body)
        public_api.post(f"{FLAGS}/evaluate", body)
        usage.flush()
    [(today, count)] = usage.environment_daily(flag.environment, timezone.now())
    expected = sum(FlagUsage.objects.values_list("count", flat=True))
    assert expected > 4
    assert (today.hour, today.minute, count) == (0, 0, expected)
    EnvironmentUsage.objects.all().delete()
    usage.environment_recount(flag.environment)
    usage.environment_recount(flag.environment)
    assert sum(EnvironmentUsage.objects.values_list("count", flat=True)) == expected


def test_day__has_the_sums_of_its_hours(public_api: Api, flag: Flag, player: Player) -> None:
    body = {"player_id": str(player.pk)}
    override_set(flag, player, "enabled", actor=ACTOR)
    public_api.post(f"{FLAGS}/half/evaluate", body)
    usage.flush()
    override_set(flag, player, "disabled", actor=ACTOR)
    for _ in range(2):
        public_api.post(f"{FLAGS}/half/evaluate", body)
        usage.flush()
    written = list(FlagUsageDay.objects.filter(flag=flag).values_list("day", "hours"))
    assert sum(sum(hours) for _, hours in written) == 3
    for row in FlagUsage.objects.filter(flag=flag):
        [hours] = [hours for day, hours in written if day == row.hour.date()]
        assert (len(hours), hours[row.hour.hour] >= row.count) == (24, True)
    FlagUsageDay.objects.all().delete()
    usage.environment_recount(flag.environment)
    usage.environment_recount(flag.environment)
    assert list(FlagUsageDay.objects.filter(flag=flag).values_list("day", "hours")) == written


def test_explain_and_at__are_not_counted(secret_api: Api, flag: Flag, player: Player) -> None:
    body = {"player_id": str(player.pk)}
    for path in (f"{FLAGS}/half/evaluate", f"{FLAGS}/evaluate"):
        secret_api.post(f"{path}?explain=true", body)
        secret_api.post(f"{path}?at=2090-01-01T00:00:00Z", body)
    assert used(flag) == {}


def test_counts__add_up_over_flushes(public_api: Api, flag: Flag, player: Player) -> None:
    body = {"player_id": str(player.pk)}
    variant = ""
    for _ in range(3):
        variant = public_api.post(f"{FLAGS}/half/evaluate", body).data["variant_key"]
        usage.flush()
    other = {"enabled": "disabled", "disabled": "enabled"}[variant]
    override_set(flag, player, other, actor=ACTOR)
    public_api.post(f"{FLAGS}/half/evaluate", body)
    assert used(flag) == {variant: 3, other: 1}


def test_flag_deleted_before_the_flush__is_skipped(
    public_api: Api, flag: Flag, player: Player
) -> None:
    public_api.post(f"{FLAGS}/half/evaluate", {"player_id": str(player.pk)})
    Flag.objects.filter(pk=flag.pk).delete()
    usage.flush()
    assert not FlagUsage.objects.exists()


def test_failed_write__loses_no_counts(
    public_api: Api,
    flag: Flag,
    player: Player,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise OperationalError

    body = {"player_id": str(player.pk)}
    public_api.post(f"{FLAGS}/half/evaluate", body)
    public_api.post(f"{FLAGS}/evaluate", body)
    with monkeypatch.context() as patched:
        patched.setattr(connection, "cursor", fail)
        usage.flush_quietly()
    assert "could not write flag usage" in caplog.text
    assert sum(used(flag).values()) == 2


def test_old_counts__are_deleted(flag: Flag) -> None:
    now = datetime.now(UTC)
    for days in (1, 89, 91):
        FlagUsage.objects.create(
            flag=flag, hour=now - timedelta(days=days), variant="enabled", count=1, last_at=now
        )
    assert usage.usage_forget(now) == 1
    assert FlagUsage.objects.count() == 2


def use(flag: Flag, variant: str, hour: datetime, count: int) -> None:
    FlagUsage.objects.create(flag=flag, hour=hour, variant=variant, count=count, last_at=hour)


def test_by_variant__counts_each_span(flag: Flag) -> None:
    starts = [datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in range(4)]
    use(flag, "enabled", starts[0] - timedelta(hours=1), 100)
    use(flag, "enabled", starts[0], 1)
    use(flag, "disabled", starts[0], 2)
    use(flag, "enabled", starts[2], 3)
    use(flag, "enabled", starts[3], 100)
    assert usage.by_variant(flag, starts) == {"enabled": [1, 0, 3], "disabled": [2, 0, 0]}
    assert usage.by_variant(flag, [starts[0], starts[3]]) == {"enabled": [4], "disabled": [2]}


def test_daily__counts_days_of_the_users_zone(flag: Flag) -> None:
    other = flag_create(
        environment=flag.environment, key="other", document=boolean_document(), actor=ACTOR
    )
    with timezone.override("Asia/Tokyo"):  # UTC+9
        today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
        use(flag, "enabled", today, 1)
        use(flag, "disabled", today, 2)
        use(flag, "enabled", today - timedelta(hours=1), 4)
        use(flag, "enabled", today - timedelta(days=2, hours=1), 100)
        usage.environment_recount(flag.environment)
        found = usage.daily([flag.pk, other.pk], timezone.now() - timedelta(days=2))
    assert found == {flag.pk: [0, 4, 3], other.pk: [0, 0, 0]}
    assert usage.daily([], timezone.now()) == {}


@pytest.mark.parametrize(
    "zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles", "Asia/Kathmandu", "America/St_Johns"]
)
def test_daily__counts_each_hour_in_its_day(flag: Flag, zone: str) -> None:
    """An hour that two days share counts in the earlier."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for ago in range(100):
        use(flag, "enabled", now - timedelta(hours=ago), 1 << ago % 40)
    usage.environment_recount(flag.environment)
    with timezone.override(zone):
        today = timezone.localdate()
        expected = [0, 0, 0]
        for ago in range(100):
            index = 2 - (today - timezone.localdate(now - timedelta(hours=ago))).days
            if index >= 0:
                expected[index] += 1 << ago % 40
        found = usage.daily([flag.pk], timezone.now() - timedelta(days=2))
    assert found == {flag.pk: expected}


def test_days_too_old__are_deleted(flag: Flag) -> None:
    now = datetime.now(UTC)
    for days in (1, 89, 91):
        use(flag, "enabled", now - timedelta(days=days), 1)
    usage.environment_recount(flag.environment)
    usage.usage_forget(now)
    kept = FlagUsageDay.objects.values_list("day", flat=True)
    assert sorted(kept) == [(now - timedelta(days=ago)).date() for ago in (89, 1)]
