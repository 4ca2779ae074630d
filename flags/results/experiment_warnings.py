"""What is wrong with a running experiment, in words."""

from datetime import timedelta

from django.utils import timezone

from flags.engine.schedule import rollout_at
from flags.engine.sentences import short_moment
from flags.models import Experiment, ExperimentState, FlagRevision, segments_used
from flags.results.figures_sql import EVENT_KINDS
from flags.results.measured import reached_alike, rule_of, rules_until
from segments.language.parser import segments_named
from segments.models import Segment


def warnings_of(experiment: Experiment) -> list[str]:
    """Why a running experiment records no players, others than before, or soon counts less, as
    sentences."""
    if experiment.state != ExperimentState.RUNNING:
        return []
    flag = experiment.flag
    if flag.archived_at:
        return [f"Nothing is recorded: the flag {flag.key} is archived."]
    if not flag.enabled:
        return [f"Nothing is recorded: the flag {flag.key} is off."]
    if flag.problem:
        return [f"Nothing is recorded: the flag {flag.key} cannot be read."]
    rule = rule_of(flag.spec, experiment.rule_id)
    if rule is None:
        return ["Nothing is recorded: the rule was removed."]
    if not rollout_at(rule, timezone.now()):
        return ["Nothing is recorded while the rule serves no player."]
    return [*_lost_events(experiment), *_other_players(experiment)]


def _lost_events(experiment: Experiment) -> list[str]:
    """A warning if the phase lasts, or is planned to last, longer than its events are kept."""
    began, end = experiment.phase_at, experiment.planned_end
    days = experiment.flag.environment.retention_days
    kept = (began or timezone.now()) + timedelta(days=days)
    is_over = kept < timezone.now()
    if not is_over and (end is None or end <= kept.date()):
        return []
    if not experiment.metrics.filter(metric__kind__in=EVENT_KINDS).exists():
        return []
    fix = "Decide earlier, or keep events longer in the settings."
    if is_over:
        return [
            f"This phase is older than its events, which are kept for {days} days: players lose "
            f"what they did first. {fix}"
        ]
    day = timezone.localtime(kept)
    return [
        f"Events are kept for {days} days. From {day.day} {day:%b %Y} on, before the planned end, "
        f"players lose what they did first. {fix}"
    ]


def _other_players(experiment: Experiment) -> list[str]:
    """Warnings if other players than at the start of the phase come to the rule. The results hold,
    as this is so for all variants, but they are those of a mixture."""
    began = experiment.phase_at or timezone.now()
    found = []
    revisions = FlagRevision.objects.filter(flag=experiment.flag, created_at__lte=began)
    before = revisions.order_by("-number").values_list("document", flat=True).first()
    now = experiment.flag.document
    if before and not reached_alike(before, now, experiment.rule_id):
        found.append(
            "Since this phase began, rules above the measured rule or prerequisites changed: other "
            "players are exposed now. Variants can still be compared."
        )
    named = segments_used({"rules": rules_until(now, experiment.rule_id)})
    for segment in _segments(experiment.environment_id, named):
        if segment.updated_at > began:
            minute = segment.updated_at.replace(second=0, microsecond=0)
            at = short_moment(minute, timezone.localtime())
            found.append(
                f"The segment {segment.key}, on which the rule depends, was edited on {at}, after "
                "this phase began: other players are exposed since. Variants can still be compared."
            )
    return found


def _segments(environment_id: int, keys: set[str]) -> list[Segment]:
    """Segments and those that they refer to, by key."""
    found: dict[str, Segment] = {}
    asked = set[str]()
    while keys:
        asked |= keys
        few = list(Segment.objects.filter(environment=environment_id, key__in=keys))
        found |= {each.key: each for each in few}
        keys = set[str]().union(*(segments_named(each.rule) for each in few)) - asked
    return [found[key] for key in sorted(found)]
