"""The impact of a draft on all players, evaluated by a job.

The ids are walked in ranges of equal width, and each finished range is stored, so that a killed job
continues where it was. Requests with the same draft and configuration share one job.
"""

import json
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from hashlib import sha256
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from procrastinate.exceptions import AlreadyEnqueued

from flags import tasks
from flags.cache import compile_draft, flags_of
from flags.dashboard.impact import ALL_IDS, ImpactPlan, evaluate, planned
from flags.dashboard.impact_figures import DateCount, Impact, Tally
from flags.dashboard.impact_rows import CHUNK_SIZE
from flags.engine.document import FlagDocument, decode_document, encode_document
from flags.models import Flag, FlagImpact
from ilara_admin.api.environment_cache import Snapshot, at_version
from ilara_admin.models import Environment
from players.lifecycle import Stage

# A finished evaluation is shown again for this long: players change.
FRESH = timedelta(minutes=5)
# Each range updates `touched_at`. A job untouched for this long has no live worker.
DEAD = timedelta(minutes=1)


def impact_start(
    flag: Flag,
    draft: FlagDocument,
    environment: Environment,
    players: int,
    *,
    archived: bool | None = None,
) -> FlagImpact:
    """The evaluation of this draft under the current configuration, started unless it exists.
    `players` is their number in the environment. Unless `archived` is given, that of the flag does
    not change."""
    document = encode_document(draft)
    archived = flag.archived_at is not None if archived is None else archived
    content = [flag.pk, environment.config_version, document, archived]
    impacts_forget(FRESH)
    with transaction.atomic():
        job, created = FlagImpact.objects.get_or_create(
            fingerprint=sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
            defaults={
                "flag": flag,
                "config_version": environment.config_version,
                "document": document,
                "archived": archived,
                "players": players,
                "chunks": max(1, players // CHUNK_SIZE),
            },
        )
        if created:
            _queue(job)
    return job


def impacts_forget(age: timedelta) -> None:
    """Delete the evaluations that were last continued so long ago."""
    FlagImpact.objects.filter(touched_at__lt=timezone.now() - age).delete()


def keep_going(job: FlagImpact) -> None:
    """Queue the job again if it failed or its worker was killed."""
    late = FlagImpact.objects.filter(pk=job.pk, touched_at__lt=timezone.now() - DEAD)
    if not job.is_done and late.update(touched_at=Now()):
        _queue(job)


def _queue(job: FlagImpact) -> None:
    name = f"flags.impact.{job.pk}"
    # One at a time leaves a slot of the worker to other jobs.
    queue = tasks.evaluate_everyone.configure(queueing_lock=name, lock="flags.impact", priority=-1)
    with suppress(AlreadyEnqueued), transaction.atomic():
        queue.defer(impact_id=job.pk)


def impact_run(impact_id: int, check: Callable[[], None]) -> None:
    """Evaluate the ranges that are left. `check` runs before each and may raise. Ends early if the
    configuration has changed, so that the result is out of date, or if another run of the job has
    stored the range meanwhile."""
    jobs = FlagImpact.objects.filter(pk=impact_id).select_related("flag__environment")
    while (job := jobs.first()) and not job.is_done:
        check()
        if (ready := _plan(job)) is None:
            job.delete()
            return
        snapshot, plan = ready
        evaluate(plan, snapshot, [_range(job)])
        values = {"chunk": job.chunk + 1, "found": _stored(plan.found), "touched_at": Now()}
        if not jobs.filter(chunk=job.chunk).update(**values):
            return


def impact_found(job: FlagImpact) -> Impact | None:
    """What the job found so far, exact when it is done; None if the configuration has changed."""
    ready = _plan(job)
    if ready is None:
        return None
    found = ready[1].found
    found.exact = job.is_done
    found.total = found.all.players if job.is_done else max(job.players, found.all.players)
    return found


def _plan(job: FlagImpact) -> tuple[Snapshot, ImpactPlan] | None:
    """What the job evaluates, with the counts so far; None if the configuration has changed."""
    environment = job.flag.environment
    known = at_version(environment)
    live = flags_of(known).get(job.flag.key)
    if live is None or known.version != job.config_version:
        return None
    draft = compile_draft(known, live, decode_document(job.document), job.archived)
    plan = planned(known, live, draft, job.created_at)
    if job.found:
        _restore(plan.found, job.found)
    return known, plan


def _range(job: FlagImpact) -> tuple[uuid.UUID, uuid.UUID]:
    after, end = (
        uuid.UUID(int=(ALL_IDS - 1) * number // job.chunks) for number in (job.chunk, job.chunk + 1)
    )
    return after, end


def _stored(found: Impact) -> dict[str, Any]:
    """The counts as JSON, without the examples: they name players."""
    return {
        "all": asdict(found.all),
        "stages": {stage.value: asdict(tally) for stage, tally in found.by_stage.items()},
        "payers": asdict(found.by_payer[True]),
        "others": asdict(found.by_payer[False]),
        "switches": [[*variants, count] for variants, count in found.switches.items()],
        "dates": _stored_counts(found.counts),
        "dependents": {
            each.dependent.flag.key: _stored_counts(each.counts) for each in found.dependents
        },
    }


def _stored_counts(counts: list[DateCount]) -> list[list[Any]]:
    return [[each.switches, each.differ, each.served] for each in counts]


def _restore(found: Impact, data: dict[str, Any]) -> None:
    found.all = Tally(**data["all"])
    found.by_stage = {Stage(stage): Tally(**each) for stage, each in data["stages"].items()}
    found.by_payer = {True: Tally(**data["payers"]), False: Tally(**data["others"])}
    found.switches = Counter({(old, new): count for old, new, count in data["switches"]})
    found.counts = _counts(data["dates"])
    for each in found.dependents:
        each.counts = _counts(data["dependents"][each.dependent.flag.key])


def _counts(data: list[list[Any]]) -> list[DateCount]:
    return [DateCount(switches, differ, Counter(served)) for switches, differ, served in data]
