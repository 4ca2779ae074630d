"""The daily figures: exact on every day, made up for when missed, cheap when large."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from django.utils import timezone

from ilara_admin.models import Environment
from players import days
from players.days import SETTLED, day_figures, days_count
from players.figures import day_end
from players.models import PlayerDay, Purchase
from tests.api_client import PLAYERS, Api
from tests.factories import make_environment, make_player

NOW = datetime.now(UTC).replace(hour=12)
TODAY = NOW.date()


def stored(environment: Environment) -> dict[date, PlayerDay]:
    return {
        each.day: each for each in PlayerDay.objects.filter(environment=environment, dimension="")
    }


def test_days__equal_what_the_activity_says(environment: Environment) -> None:
    random, active, new = Random(7), dict[date, int](), dict[date, int]()
    make_player(make_environment(), "stranger")
    for number in range(60):
        first, last = sorted(random.randrange(20) for _ in range(2))
        bits = "".join(random.choice("01") for _ in range(last - first + 1))
        bits = f"1{bits[1:-1]}1" if last > first else "1"
        start, end = NOW - timedelta(days=last), NOW - timedelta(days=first)
        times = {"first_seen_at": start, "last_seen_at": end}
        make_player(environment, f"p{number}", **times, activity=bits)
        new[start.date()] = new.get(start.date(), 0) + 1
        for offset, bit in enumerate(bits):
            day = start.date() + timedelta(days=offset)
            active[day] = active.get(day, 0) + int(bit)
    days_count(environment, NOW)
    found = stored(environment)
    assert {day: each.active for day, each in found.items() if each.active} == {
        day: number for day, number in active.items() if number
    }
    assert {day: each.new for day, each in found.items() if each.new} == new
    assert max(found) == TODAY


def test_purchases__count_unless_refunded_or_of_another_currency(
    environment: Environment, public_api: Api, secret_api: Api
) -> None:
    player, other = make_player(environment), make_player(environment, "other")
    for buyer, amount in ((player, 5), (player, 2), (other, 1)):
        public_api.post(f"{PLAYERS}/{buyer.pk}/purchase?amount={amount}")
    public_api.post(f"{PLAYERS}/{other.pk}/purchase", {"amount": 50, "currency": "EUR"})
    secret_api.post(f"{PLAYERS}/{other.pk}/purchase?amount=4")
    Purchase.objects.filter(amount=2).update(refunded_at=timezone.now())
    now = timezone.now()
    for each in (day_figures(environment, now.date(), now), _counted(environment, now)):
        assert (each.purchases, each.payers, each.revenue) == (3, 2, Decimal(10))
        assert each.unverified == Decimal(6)


def _counted(environment: Environment, now: datetime) -> PlayerDay:
    days_count(environment, now)
    return PlayerDay.objects.get(environment=environment, day=now.date(), dimension="")


def test_days_count__repeats_only_days_that_may_still_change(environment: Environment) -> None:
    make_player(environment, first_seen_at=NOW - timedelta(days=3), last_seen_at=NOW)
    assert days_count(environment, NOW) == 4
    PlayerDay.objects.filter(day__lt=TODAY).update(counted_at=day_end(TODAY))
    assert days_count(environment, NOW) == 1
    yesterday = TODAY - timedelta(days=1)
    for counted_at, repeated in ((day_end(yesterday), 2), (day_end(yesterday) + SETTLED, 1)):
        PlayerDay.objects.filter(day=yesterday).update(counted_at=counted_at)
        assert days_count(environment, NOW) == repeated


def test_older_figures__do_not_replace_newer_ones(environment: Environment) -> None:
    make_player(environment, first_seen_at=NOW, last_seen_at=NOW)
    days_count(environment, NOW)
    later = timezone.now() + timedelta(hours=1)
    PlayerDay.objects.update(active=77, counted_at=later)
    days_count(environment, NOW)
    assert stored(environment)[TODAY].active == 77


def test_large_day__is_read_from_the_figures_while_they_are_fresh(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_player(environment)
    now = timezone.now()
    days_count(environment, now)
    make_player(environment, "later")
    assert day_figures(environment, now.date(), now).active == 2
    monkeypatch.setattr(days, "COUNTED_WHEN_SHOWN", 1)
    assert day_figures(environment, now.date(), now).active == 1
    later = now + days.STALE + SETTLED
    stale = day_figures(environment, now.date(), later)
    assert (stale.active, days.is_late(stale, later)) == (1, True)


def test_large_day__is_unknown_until_the_job_has_counted_it(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(days, "COUNTED_WHEN_SHOWN", 1)
    make_player(environment)
    now = timezone.now()
    unknown = day_figures(environment, now.date(), now)
    figures: tuple[int | None, bool] = (unknown.active, days.is_late(unknown, now))
    assert figures == (None, True)


def test_environment_without_players__has_no_days(environment: Environment) -> None:
    assert days_count(environment, NOW) == 0
    assert day_figures(environment, TODAY, NOW).active == 0
