"""Changes of several flags at once: all of them or none. Each flag gets a revision and an audit
entry; one undo takes all of them back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction

from flags import services
from flags.details import tags_text
from flags.models import Flag
from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import Conflict
from ilara_admin.core.diff import Change
from ilara_admin.models import AuditEntry, Environment


@dataclass(frozen=True, slots=True)
class BulkChange:
    """`planned` is what changes in a flag, None if nothing does; `save` changes it."""

    planned: Callable[[Flag], Change | None]
    save: Callable[[Flag, Actor, str], services.Saved]


def turning_off() -> BulkChange:
    def planned(flag: Flag) -> Change | None:
        serves = flag.enabled and not flag.archived_at
        return Change("State", "on", "off") if serves else None

    def save(flag: Flag, actor: Actor, reason: str) -> services.Saved:
        return services.flag_set_enabled(flag, False, actor=actor, reason=reason)

    return BulkChange(planned, save)


def archiving() -> BulkChange:
    def planned(flag: Flag) -> Change | None:
        state = "on" if flag.enabled else "off"
        return None if flag.archived_at else Change("State", state, "archived")

    def save(flag: Flag, actor: Actor, reason: str) -> services.Saved:
        return services.flag_set_archived(flag, True, actor=actor, reason=reason)

    return BulkChange(planned, save)


def tagging(tag: str) -> BulkChange:
    return _setting_tags(lambda tags: sorted({*tags, tag}))


def untagging(tag: str) -> BulkChange:
    return _setting_tags(lambda tags: [each for each in tags if each != tag])


def _setting_tags(new: Callable[[list[str]], list[str]]) -> BulkChange:
    def planned(flag: Flag) -> Change | None:
        texts = [tags_text(tags) or "none" for tags in (flag.tags, new(flag.tags))]
        return Change("Tags", *texts) if texts[0] != texts[1] else None

    def save(flag: Flag, actor: Actor, reason: str) -> services.Saved:
        return services.flag_set_details(flag, {"tags": new(flag.tags)}, actor=actor, reason=reason)

    return BulkChange(planned, save)


@transaction.atomic
def flags_change(
    environment: Environment, seen: Mapping[str, int], change: BulkChange, *, actor: Actor,
    reason: str = "",
) -> list[AuditEntry]:  # fmt: skip
    """Change the flags with the keys of `seen`, at the revisions that the actor saw.

    Raises Conflict if one of them has another revision now, and ValidationError, which names the
    flag, if one cannot be changed; then none is changed.
    """
    # All are locked before the first save locks the environment's row, which comes last.
    flags = list(
        Flag.objects.of(environment)
        .filter(key__in=seen)
        .select_for_update(of=("self",))
        .select_related("environment__project")
        .order_by("pk")
    )
    if missing := seen.keys() - {flag.key for flag in flags}:
        raise ValidationError(f"There is no flag {', '.join(sorted(missing))} here any more.")
    for flag in flags:
        _check_revision(flag, seen[flag.key], change)
    entries = [_save(flag, change, actor, reason) for flag in flags if change.planned(flag)]
    return [entry for entry in entries if entry is not None]


def _check_revision(flag: Flag, seen: int, change: BulkChange) -> None:
    mine = change.planned(flag)
    if flag.revision == seen or mine is None:
        return
    was = flag.revisions.filter(number=seen).first()
    raise Conflict(
        "flag",
        flag.key,
        flag.key,
        theirs=services.differences(was, flag) if was else [],
        yours=[mine],
        current=flag.revision,
    )


def _save(flag: Flag, change: BulkChange, actor: Actor, reason: str) -> AuditEntry | None:
    try:
        _, entry = change.save(flag, actor, reason)
    except ValidationError as error:
        raise ValidationError(f"{flag.key}: {' '.join(error.messages)}") from None
    return entry
