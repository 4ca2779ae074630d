"""Changes of several flags at once: all or none."""

from collections.abc import Callable

import msgspec
import pytest
from django.core.exceptions import ValidationError

from flags.bulk import BulkChange, archiving, flags_change, tagging, turning_off, untagging
from flags.engine.document import boolean_document
from flags.models import Flag, FlagRevision
from flags.services import flag_create, flag_set_archived, flag_set_details, flag_update
from ilara_admin.core.audit import request_id
from ilara_admin.core.changes import Conflict, entries_together, undo_together
from ilara_admin.models import AuditEntry, Environment
from tests.factories import ACTOR, make_environment

pytestmark = pytest.mark.django_db

KEYS = ["a", "b", "c"]
CHANGES: dict[str, Callable[[], BulkChange]] = {
    "turn off": turning_off,
    "archive": archiving,
    "tag": lambda: tagging("shop"),
    "untag": lambda: untagging("old"),
}


@pytest.fixture
def flags(environment: Environment) -> list[Flag]:
    """Three flags that are on."""
    return [
        flag_create(
            environment=environment,
            key=key,
            document=boolean_document(enabled=True),
            tags=["old"],
            actor=ACTOR,
        )
        for key in KEYS
    ]


def the(flag: Flag) -> Flag:
    return Flag.objects.get(pk=flag.pk)


def state(flags: list[Flag]) -> list[tuple[bool, bool, list[str]]]:
    return [
        (flag.enabled, flag.archived_at is not None, flag.tags) for flag in (the(f) for f in flags)
    ]


def seen(flags: list[Flag]) -> dict[str, int]:
    return {flag.key: flag.revision for flag in flags}


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("turn off", (False, False, ["old"])),
        ("archive", (True, True, ["old"])),
        ("tag", (True, False, ["old", "shop"])),
        ("untag", (True, False, [])),
    ],
)
def test_change__is_one_entry_per_flag_and_one_undo(
    name: str,
    after: tuple[bool, bool, list[str]],
    flags: list[Flag],
    environment: Environment,
) -> None:
    before, version = state(flags), the(flags[0]).environment.config_version
    token = request_id.set("r-1")
    entries = flags_change(environment, seen(flags), CHANGES[name](), actor=ACTOR, reason="done")
    request_id.reset(token)
    assert state(flags) == [after] * 3
    assert [entry.object_id for entry in entries] == KEYS
    assert {entry.reason for entry in entries} == {"done"}
    assert the(flags[0]).environment.config_version > version

    together = entries_together(entries[1])
    assert {entry.pk for entry in together} == {entry.pk for entry in entries}
    undo_together(together, actor=ACTOR)
    assert state(flags) == before


@pytest.mark.parametrize("name", list(CHANGES))
def test_conflict_in_one_flag__changes_none_and_names_it(
    name: str, flags: list[Flag], environment: Environment
) -> None:
    shown = seen(flags)
    flag_set_details(flags[1], {"owner": "Lena"}, actor=ACTOR)
    before, entries = state(flags), AuditEntry.objects.count()
    with pytest.raises(Conflict) as raised:
        flags_change(environment, shown, CHANGES[name](), actor=ACTOR)
    assert (raised.value.object_id, raised.value.current) == ("b", 2)
    assert [change.after for change in raised.value.theirs] == ["Lena"]
    assert len(raised.value.yours) == 1
    assert state(flags) == before
    assert AuditEntry.objects.count() == entries


def test_error_in_the_last_flag__changes_none_and_names_it(
    flags: list[Flag], environment: Environment
) -> None:
    """A flag has a limited number of tags."""
    full = [f"t{number:02}" for number in range(20)]
    last, _ = flag_set_details(flags[2], {"tags": full}, actor=ACTOR)
    before = state(flags)
    with pytest.raises(ValidationError, match="c: A flag has 20 tags at most"):
        flags_change(environment, {**seen(flags), "c": last.revision}, tagging("x"), actor=ACTOR)
    assert state(flags) == before


def test_missing_flag__is_named(flags: list[Flag], environment: Environment) -> None:
    with pytest.raises(ValidationError, match="no flag gone here"):
        flags_change(environment, {**seen(flags), "gone": 1}, turning_off(), actor=ACTOR)
    assert all(on for on, _, _ in state(flags))


def test_flag_of_another_environment__is_not_changed(flags: list[Flag]) -> None:
    with pytest.raises(ValidationError, match="no flag a, b, c here"):
        flags_change(make_environment(), seen(flags), turning_off(), actor=ACTOR)
    assert all(on for on, _, _ in state(flags))


def test_flag_in_which_nothing_changes__is_left_alone(
    flags: list[Flag], environment: Environment
) -> None:
    """Even if it has another revision: somebody did the same."""
    shown = seen(flags)
    off = msgspec.structs.replace(flags[0].spec, enabled=False)
    flag_update(flags[0], document=off, base_revision=1, actor=ACTOR)
    flag_set_archived(flags[1], True, actor=ACTOR)
    entries = flags_change(environment, shown, turning_off(), actor=ACTOR)
    assert [entry.object_id for entry in entries] == ["c"]
    numbers = FlagRevision.objects.filter(flag__in=flags).values_list("flag__key", "number")
    assert dict(numbers.order_by("number")) == {"a": 2, "b": 2, "c": 2}


def test_unreadable_flag__can_be_turned_off_archived_and_tagged(
    flags: list[Flag], environment: Environment
) -> None:
    Flag.objects.filter(pk=flags[0].pk).update(
        document={**flags[0].document, "rules": [{"id": "r", "segment": 7}]}
    )
    for change in CHANGES.values():
        shown = seen([the(flag) for flag in flags])
        flags_change(environment, shown, change(), actor=ACTOR)
    assert state(flags)[0] == (False, True, ["shop"])
