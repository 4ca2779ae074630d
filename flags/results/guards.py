"""The guards of running experiments: each minute, after the refresh of results, see breach.py.

A breach changes the flag as staff would, with the evidence as the reason, so it can be undone like
any other change. It also ends the experiment: after an undo the rollout goes on without guards,
until they are set again with the next change. One that only notifies goes on, and notifies once a
phase.

A guard also acts while the sample ratio check fails: then a breach may be of players who are not
alike, but to act is the safer error, and what it records says so. That a guard is tolerable is no
verdict then, so it ends no rollout.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from flags import services as flag_services
from flags.engine.document import (
    EVERYBODY,
    DocumentError,
    FlagDocument,
    Rule,
    decode_document,
)
from flags.engine.schedule import rollout_at
from flags.models import (
    Experiment,
    ExperimentKind,
    ExperimentState,
    Flag,
    FlagRevision,
    MetricRole,
    OnBreach,
)
from flags.results import experiments
from flags.results.breach import (
    WATCHED,
    End,
    GuardReading,
    are_tolerable,
    breaches_in,
    change_text,
    doubt_text,
    end_of,
    fixed,
    last_good,
)
from flags.results.breach_notice import GUARD_BREACH
from flags.results.evidence import evidence_of
from flags.results.measured import rule_of
from flags.results.rollouts import GuardsRead, read_guards
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import MAX_REASON, bump_config_version
from ilara_admin.core.notifications import notify
from ilara_admin.core.percentages import percent
from ilara_admin.models import AuditAction, AuditEntry, Environment

logger = logging.getLogger("ilara.flags")


def guards_check(environment: Environment, now: datetime) -> int:
    """Act on breached guards and end the rollouts that are complete, each in its own transaction.
    Returns how many guards were breached. May run twice at once."""
    running = Experiment.objects.filter(
        environment=environment, state=ExperimentState.RUNNING, metrics__role=MetricRole.GUARD
    ).distinct()
    found = list(running.select_related("flag__environment__project").order_by("pk"))
    return sum(_check(experiment, now) for experiment in found)


def _check(experiment: Experiment, now: datetime) -> bool:
    """Whether it responded to a breach. An error must not keep the other guards from acting."""
    try:
        (read,) = read_guards([experiment])
        if breaches := breaches_in(read.readings):
            return _respond(read, breaches, now)
        if experiment.kind == ExperimentKind.ROLLOUT:
            _end(read, now)
    except Exception:
        logger.exception("guards not checked experiment=%s", experiment.pk)
    return False


# --- A breach -------------------------------------------------------------------------------------


@transaction.atomic
def _respond(read: GuardsRead, breaches: Sequence[GuardReading], now: datetime) -> bool:
    """False if another process has responded, or a new phase has begun since it was read."""
    experiment = experiments.locked(read.experiment)
    if experiment.state != ExperimentState.RUNNING or experiment.phase != read.experiment.phase:
        return False
    again = _responded_in_phase(experiment)
    if again and experiment.on_breach == OnBreach.NOTIFY:
        return False
    sentences = [change_text(each) for each in breaches]
    evidence = sentences[0]
    doubt = "" if read.is_trusted else doubt_text(experiment.key)
    reason = f"{evidence}. {doubt}".strip()
    actor = Actor.of_guard(f"Guard of {experiment.key}"[:200])
    done = _change_flag(experiment, f"Guard metric breached: {reason}"[:MAX_REASON], actor, now)
    if again and done.refused:
        return False
    fields = {"breach": evidence, "response": done.text}
    if doubt:
        fields["sample_ratio"] = doubt
    entry = _record(experiment, read, fields, reason, done, actor, now)
    notify(
        GUARD_BREACH,
        experiment.environment,
        f"{experiment.flag.key}: a guard metric was breached. {done.text}",
        [*(f"{text[0].upper()}{text[1:]}." for text in sentences), *([doubt] if doubt else [])],
        page="flag_detail",
        args=[experiment.flag.key],
        dedupe_key=f"{GUARD_BREACH}:{experiment.pk}:{experiment.phase}",
    )
    logger.warning("guard breached experiment=%s entry=%s", experiment.pk, entry.pk)
    return True


def _responded_in_phase(experiment: Experiment) -> bool:
    began, breached = experiment.phase_at, experiment.breached_at
    return breached is not None and began is not None and breached >= began


class _Done(NamedTuple):
    """What was done, as a sentence, and the entry of the flag's change. `refused`: the flag could
    not be changed."""

    text: str
    entry: AuditEntry | None = None
    refused: bool = False


def _change_flag(experiment: Experiment, reason: str, actor: Actor, now: datetime) -> _Done:
    """Change the flag as the experiment says. The experiment ends before, or the change would begin
    a new phase of it; if the flag refuses the change, it goes on."""
    flag = experiment.flag
    if experiment.on_breach == OnBreach.NOTIFY:
        return _Done("Nothing was changed.")
    before = (experiment.state, experiment.ended_at)
    try:
        with transaction.atomic():
            experiment.state, experiment.ended_at = ExperimentState.STOPPED, now
            experiment.save(update_fields=["state", "ended_at"])
            if experiment.on_breach == OnBreach.TURN_OFF:
                _, entry = flag_services.flag_set_enabled(flag, False, actor=actor, reason=reason)
            else:
                document = _document_after(experiment, now)
                _, entry = flag_services.flag_update(
                    flag, document=document, base_revision=flag.revision, actor=actor, reason=reason
                )
    except (ValidationError, DocumentError) as problem:
        experiment.state, experiment.ended_at = before
        messages = problem.messages if isinstance(problem, ValidationError) else [str(problem)]
        return _Done(f"The flag could not be changed: {' '.join(messages)}", refused=True)
    flag.refresh_from_db()
    return _Done(_done_text(experiment, entry, now), entry)


def _document_after(experiment: Experiment, now: datetime) -> FlagDocument:
    flag, at_most = experiment.flag, EVERYBODY
    rule = rule_of(flag.spec, experiment.rule_id)
    if rule and experiment.on_breach == OnBreach.STEP_BACK:
        assert experiment.phase_at, "a running experiment has a phase"
        at_most = last_good(rule, experiment.phase_at, _earlier(flag, experiment.rule_id))
    return fixed(flag.spec, experiment.rule_id, now, at_most=at_most)


def _earlier(flag: Flag, rule_id: str) -> Iterator[tuple[Rule | None, datetime]]:
    """The former states of a rule, newest first, each with the time when it was replaced."""
    revisions = FlagRevision.objects.filter(flag=flag).order_by("-number")
    replaced_at = None
    for document, created_at in revisions.values_list("document", "created_at").iterator():
        if replaced_at is not None:
            with suppress(DocumentError):
                yield rule_of(decode_document(document), rule_id), replaced_at
        replaced_at = created_at


def _done_text(experiment: Experiment, entry: AuditEntry | None, now: datetime) -> str:
    if experiment.on_breach == OnBreach.TURN_OFF:
        return "The flag was turned off." if entry else "The flag was off already."
    rule = rule_of(experiment.flag.spec, experiment.rule_id)
    share = percent(rollout_at(rule, now)) if rule else ""
    if experiment.on_breach == OnBreach.HOLD:
        return f"The percentage is held at {share}."
    return f"The percentage went back to {share}." if entry else f"The percentage stays at {share}."


def _record(
    experiment: Experiment, read: GuardsRead, fields: Mapping[str, str], reason: str, done: _Done,
    actor: Actor, now: datetime,
) -> AuditEntry:  # fmt: skip
    """Store the breach in words, `fields`, and what the guards showed then as its evidence."""
    before = {"state": str(read.experiment.state)}
    experiment.breached_at = now
    experiment.revision += 1
    experiment.updated_at = timezone.now()
    experiment.save()
    old, new = changed_fields(before, {"state": str(experiment.state)})
    entry = audit_record(
        AuditAction.EXPERIMENT_BREACHED,
        actor,
        environment=experiment.environment,
        object_id=experiment.key,
        object_name=experiment.key,
        before=old,
        after={
            **new,
            **fields,
            "_phase": experiment.phase,
            "_evidence": [_as_json(each) for each in read.readings],
            "_entry": done.entry.pk if done.entry else None,
            "_revision": experiment.flag.revision,
        },
        reason=reason[:MAX_REASON],
    )
    bump_config_version(experiment.environment)
    return entry


def _as_json(reading: GuardReading) -> dict[str, Any]:
    return {**asdict(reading), "verdict": str(reading.verdict)}


# --- A good end -----------------------------------------------------------------------------------


def _end(read: GuardsRead, now: datetime) -> None:
    """End a rollout whose schedule is complete and whose guards were watched for long enough."""
    experiment = read.experiment
    try:
        rule = rule_of(experiment.flag.spec, experiment.rule_id)
    except DocumentError:
        return
    if rule is None or experiment.phase_at is None:
        return
    planned = experiment.planned_end
    end = end_of(
        rule,
        _judged(read),
        phase_at=experiment.phase_at,
        planned_end=(
            datetime.combine(planned + timedelta(days=1), time(), UTC) if planned else None
        ),
        now=now,
    )
    if end is not None:
        _record_end(experiment, read, end, percent(rollout_at(rule, now)))


def _judged(read: GuardsRead) -> Sequence[GuardReading]:
    """The guards that can end a rollout well."""
    return read.readings if read.is_trusted else ()


@transaction.atomic
def _record_end(read_of: Experiment, read: GuardsRead, end: End, share: str) -> None:
    experiment = experiments.locked(read_of)
    if experiment.state != ExperimentState.RUNNING or experiment.phase != read_of.phase:
        return
    actor = Actor.of_guard(f"Guard of {experiment.key}"[:200])
    if end is End.SHIPPED:
        reason = "Complete without a breach: all players that match the rule are inside."
        rule = rule_of(experiment.flag.spec, experiment.rule_id)
        experiments.decision_record(
            experiment,
            variant=(rule and rule.variant) or "",
            evidence=evidence_of(experiment),
            decision_reason=reason,
            actor=actor,
            reason=reason,
        )
        return
    when = (
        f"for {WATCHED // timedelta(hours=1)} hours"
        if end is End.WATCHED
        else "until its planned end"
    )
    if are_tolerable(_judged(read)):
        reason = f"No guard metric was breached at {share} {when}."
    else:
        why = "too few players for a verdict" if read.is_trusted else "a failed sample ratio check"
        reason = f"It ended as planned at {share}, with {why}."
    experiments.experiment_stop(experiment, actor=actor, reason=reason)
