"""Which experiment has which buckets of a group.

A range is in use while its experiment is a draft or runs, and after that as long as the measured
rule is limited to it: else players of the next experiment could get that rule, too. Shipping a
variant, removing the rule and leaving the group free it.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError

from flags.engine.document import EVERYBODY, FlagDocument
from flags.models import Experiment, ExperimentGroup, ExperimentState
from ilara_admin.core.percentages import percent
from ilara_admin.models import Environment


class OwnedRange(NamedTuple):
    """The buckets `start <= b < end` of a group, in thousandths of a percent."""

    experiment: Experiment
    start: int
    end: int


def ranges_of(group: ExperimentGroup) -> list[OwnedRange]:
    """The ranges in use, lowest first."""
    found = Experiment.objects.filter(group=group, first_bucket__isnull=False).select_related(
        "flag", "group"
    )
    return [
        OwnedRange(each, each.first_bucket or 0, each.end_bucket or 0)
        for each in found.order_by("first_bucket")
        if _is_in_use(each)
    ]


def _is_in_use(experiment: Experiment) -> bool:
    if experiment.state in (ExperimentState.DRAFT, ExperimentState.RUNNING):
        return True
    return is_limited(experiment)


def is_limited(experiment: Experiment) -> bool:
    """Whether its rule takes only the players of its group."""
    group = _key(experiment)
    return group is not None and limited_to(experiment.flag.document, experiment.rule_id) == group


def _key(experiment: Experiment) -> str | None:
    return experiment.group.key if experiment.group else None


def limited_to(document: Any, rule_id: str) -> str | None:
    """The key of the group to which a stored document, which may be unreadable, limits a rule."""
    rules = document.get("rules") if isinstance(document, dict) else None
    for rule in rules if isinstance(rules, list) else ():
        if isinstance(rule, dict) and rule.get("id") == rule_id:
            group = rule.get("group")
            return group.get("key") if isinstance(group, dict) else None
    return None


def gaps(holdout: int, owned: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The free ranges above the holdout, lowest first."""
    found, position = list[tuple[int, int]](), holdout
    for start, end in sorted(owned):
        if start > position:
            found.append((position, start))
        position = max(position, end)
    return [*found, (position, EVERYBODY)] if position < EVERYBODY else found


def lowest_free(
    holdout: int, owned: Iterable[tuple[int, int]], share: int
) -> tuple[int, int] | None:
    """The lowest free range of this size, or None."""
    wide = (start for start, end in gaps(holdout, owned) if end - start >= share)
    start = next(wide, None)
    return None if start is None else (start, start + share)


def locked_group(group: ExperimentGroup) -> ExperimentGroup:
    found = (
        ExperimentGroup.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .filter(pk=group.pk)
        .first()
    )
    if found is None:
        raise ValidationError(f"The group “{group.key}” was deleted.")
    return found


def check_range(experiment: Experiment) -> None:
    """Raise ValidationError if the experiment's buckets are of the holdout or another experiment.
    Locks the group."""
    if experiment.group is None:
        return
    group = locked_group(experiment.group)
    start, end = experiment.first_bucket or 0, experiment.end_bucket or 0
    if not 0 <= start < end <= EVERYBODY:
        raise ValidationError({"group": "Its range must lie between 0 and 100 %."})
    if start < group.holdout:
        raise ValidationError(
            {"group": f"The holdout of {group.key} takes the first {percent(group.holdout)}."}
        )
    for other in ranges_of(group):
        if other.experiment.pk != experiment.pk and other.start < end and start < other.end:
            owner = other.experiment.key
            raise ValidationError(
                {"group": f"{owner} has these players of {group.key} now. Choose another share."}
            )


def check_rule_groups(environment: Environment, key: str, document: FlagDocument) -> None:
    """Raise ValidationError if a rule of the flag `key` is limited to buckets that no experiment on
    it has."""
    for index, rule in enumerate(document.rules):
        if rule.group is None:
            continue
        experiment = Experiment.objects.filter(
            environment=environment, flag__key=key, rule_id=rule.id, group__key=rule.group.key,
            group__salt=rule.group.salt, first_bucket=rule.group.start, end_bucket=rule.group.end,
        ).first()  # fmt: skip
        place = f"rules[{index}].group"
        if experiment is None:
            raise ValidationError(
                {
                    "document": f"{place}: No experiment on this rule has these players of the "
                    f"group {rule.group.key}. Leave the group out."
                }
            )
        try:
            check_range(experiment)
        except ValidationError as error:
            raise ValidationError({"document": f"{place}: {error.messages[0]}"}) from None


def check_limit_stays(experiment: Experiment, before: Any, after: Any) -> None:
    """Raise ValidationError if a change of the stored document lifts the limit of the rule that a
    running experiment measures."""
    group = _key(experiment)
    was, is_now = (limited_to(each, experiment.rule_id) for each in (before, after))
    if group is not None and was == group != is_now:
        raise ValidationError(
            {
                "document": f"The rule {experiment.rule_id} must stay limited to the players of "
                f"the experiment {experiment.key}, which runs. Stop it first."
            }
        )


# --- The field of an experiment -------------------------------------------------------------------


def range_of(experiment: Experiment) -> dict[str, Any] | None:
    """The group and the range as the audit log stores them."""
    if experiment.group is None:
        return None
    return {
        "key": experiment.group.key,
        "start": experiment.first_bucket,
        "end": experiment.end_bucket,
    }


def range_set(experiment: Experiment, wanted: dict[str, Any] | None) -> None:
    """Give an experiment, which the caller saves, the range that `range_of` returned."""
    if wanted is None:
        experiment.group = experiment.first_bucket = experiment.end_bucket = None
        return
    group = ExperimentGroup.objects.filter(
        environment=experiment.environment_id, key=wanted["key"]
    ).first()
    if group is None:
        raise ValidationError({"group": f"There is no group “{wanted['key']}” here."})
    experiment.group = group
    experiment.first_bucket, experiment.end_bucket = wanted["start"], wanted["end"]
    check_range(experiment)
