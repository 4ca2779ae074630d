"""The job that evaluates all players: exact, shared, and continued after a kill."""

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.db.models import F
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from flags import tasks
from flags.dashboard import impact, impact_job, impact_rows
from flags.dashboard.impact_figures import Impact
from flags.dashboard.impact_job import impact_found, impact_run, impact_start, keep_going
from flags.engine.document import Prerequisite, encode_document
from flags.models import Flag, FlagImpact
from flags.services import flag_create
from ilara_admin.models import Environment, Role
from players.models import Player
from tests.factories import ACTOR
from tests.flags.dashboard.test_impact import flag, half, of, players
from tests.pages import HTMX, signed_in, text_of, url_of

__all__ = ["flag", "players"]  # fixtures
DRAFT = half(100_000, conditions={"operator": "AND", "conditions": [
    {"event": "buy", "operator": "<=", "value": 1, "within": "30d"}]})  # fmt: skip


@pytest.fixture
def job(flag: Flag, players: list[Player], monkeypatch: pytest.MonkeyPatch) -> FlagImpact:
    """A queued job of 6 ranges, for a flag on which another one depends."""
    needs = (Prerequisite("f", ("enabled",)),)
    document = msgspec.structs.replace(half(100_000), prerequisites=needs)
    flag_create(environment=flag.environment, key="needs-f", document=document, actor=ACTOR)
    monkeypatch.setattr(impact_job, "CHUNK_SIZE", 10)
    monkeypatch.setattr(impact_rows, "CHUNK_SIZE", 4)
    flag.environment.refresh_from_db()
    return impact_start(flag, DRAFT, flag.environment, 60)


def found_of(job: FlagImpact) -> Impact:
    job.refresh_from_db()
    found = impact_found(job)
    assert found
    return found


def queued() -> list[int]:
    jobs = ProcrastinateJob.objects.filter(task_name=tasks.evaluate_everyone.name).order_by("id")
    return [job.args["impact_id"] for job in jobs]


def counts(found: Impact) -> Any:
    dependents = [(each.dependent.flag.key, each.counts) for each in found.dependents]
    by_date = found.dates, found.counts
    return found.exact, found.total, found.all, found.groups, found.switched, by_date, dependents


class Killed(Exception):
    pass


def kill_after(chunks: int) -> Any:
    left = iter(range(chunks))

    def check() -> None:
        if next(left, None) is None:
            raise Killed

    return check


def test_job__is_exact_and_continues_after_a_kill(job: FlagImpact, flag: Flag) -> None:
    assert (job.chunk, job.chunks, job.players) == (0, 6, 60)
    with pytest.raises(Killed):
        impact_run(job.pk, kill_after(2))
    part = found_of(job)
    assert (job.chunk, part.exact, part.total) == (2, False, 60)
    assert 0 < part.all.players < 60
    impact_run(job.pk, kill_after(4))  # four are left, and no range is evaluated twice
    found = found_of(job)
    assert job.is_done
    assert counts(found) == counts(of(flag, DRAFT, everyone=True))
    assert (found.exact, found.total, found.examples) == (True, 60, [])
    assert found.dependents[0].switches > 0
    impact_run(job.pk, kill_after(0))  # nothing is left


def test_worker_that_another_overtakes__stops(job: FlagImpact) -> None:
    checks: list[int] = []

    def other_is_faster() -> None:
        checks.append(FlagImpact.objects.get().chunk)
        if checks == [0, 1]:
            impact_run(job.pk, kill_after(5))

    impact_run(job.pk, other_is_faster)
    assert checks == [0, 1]
    assert found_of(job).all.players == 60


def test_same_draft__shares_one_job(job: FlagImpact, flag: Flag) -> None:
    assert impact_start(flag, DRAFT, flag.environment, 60).pk == job.pk
    assert queued() == [job.pk]
    keep_going(job)
    assert queued() == [job.pk]
    other = impact_start(flag, half(1_000), flag.environment, 60)
    assert queued() == [job.pk, other.pk]


@pytest.mark.django_db(transaction=True)  # a rejected job aborts the transaction
def test_job_without_a_live_worker__is_queued_again(job: FlagImpact) -> None:
    late = timezone.now() - timedelta(minutes=5)
    for _ in range(2):  # the second is still queued
        FlagImpact.objects.update(touched_at=late)
        keep_going(job)
        assert queued() == [job.pk]
    ProcrastinateJob.objects.all().delete()
    keep_going(job)  # queued a moment ago
    assert queued() == []
    FlagImpact.objects.update(touched_at=late)
    keep_going(job)
    assert queued() == [job.pk]


def test_changed_configuration__ends_the_job_and_hides_its_result(
    job: FlagImpact, flag: Flag
) -> None:
    impact_run(job.pk, lambda: None)
    assert found_of(job).exact
    Environment.objects.update(config_version=F("config_version") + 1)
    job = FlagImpact.objects.get()
    assert impact_found(job) is None
    FlagImpact.objects.update(chunk=1)
    impact_run(job.pk, lambda: None)
    assert not FlagImpact.objects.exists()
    flag.environment.refresh_from_db()
    assert impact_start(flag, DRAFT, flag.environment, 60).chunk == 0


def test_results__hold_no_player_and_expire_after_minutes(
    job: FlagImpact, flag: Flag, players: list[Player]
) -> None:
    impact_run(job.pk, lambda: None)
    stored = json.dumps(FlagImpact.objects.values().get(), default=str)
    assert not [each for each in players if each.external_id in stored or str(each.pk) in stored]
    assert impact_start(flag, DRAFT, flag.environment, 60).pk == job.pk
    FlagImpact.objects.update(touched_at=timezone.now() - timedelta(minutes=5, seconds=1))
    assert impact_start(flag, half(), flag.environment, 60).pk != job.pk
    assert not FlagImpact.objects.filter(pk=job.pk).exists()


def test_review__follows_the_job_to_the_exact_answer(
    job: FlagImpact, flag: Flag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impact, "EVERYONE", 50)
    monkeypatch.setattr(impact, "SAMPLE_SIZE", 20)
    monkeypatch.setattr(impact, "SECONDS", 0.0)
    client, environment = signed_in(Role.LIVE_OPS), flag.environment
    draft = {"draft": json.dumps(encode_document(DRAFT)), "base": 1, "back": "flag_rules"}
    review = url_of(environment, "flag_review", "f")
    page = text_of(client.post(review, draft))
    poll = url_of(environment, "flag_impact", "f", job.pk)
    assert f'hx-get="{poll}"' in page
    assert queued() == [job.pk]
    assert FlagImpact.objects.values_list("pk", "players").get() == (job.pk, 60)
    assert client.get(poll, headers=HTMX).status_code == 204  # nothing new
    with pytest.raises(Killed):
        impact_run(job.pk, kill_after(3))
    part = text_of(client.get(poll, headers=HTMX))
    assert '<progress class="progress" max="6" value="3">' in part
    assert f'hx-get="{poll}"' in part
    impact_run(job.pk, lambda: None)
    for whole in (text_of(client.get(poll, headers=HTMX)), text_of(client.post(review, draft))):
        assert "All players were evaluated." in whole
        assert "of 60 players switch." in whole
        assert "hx-get" not in whole[whole.index('id="impact"') :]
        assert "<progress" not in whole
    assert client.get(poll).status_code == 302
    Environment.objects.update(config_version=F("config_version") + 1)
    assert "out of date" in text_of(client.get(poll, headers=HTMX))
    job.delete()
    assert "out of date" in text_of(client.get(poll, headers=HTMX))
