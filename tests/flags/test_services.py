"""Writes to flags: every change is a revision, an audit entry and a new version."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from flags.document import Rule, boolean_document, decode_document
from flags.models import Flag, FlagRevision, flags_by_segment
from flags.services import (
    RevisionConflict,
    flag_create,
    flag_restore,
    flag_set_archived,
    flag_set_enabled,
    flag_update,
)
from ilara_admin.models import AuditEntry, Environment
from segments.models import Segment
from tests.factories import ACTOR, make_environment

ON = boolean_document(enabled=True, rules=(Rule(id="all", variant="enabled"),))


@pytest.fixture
def flag(environment: Environment) -> Flag:
    return flag_create(environment=environment, key="new-shop", document=ON, actor=ACTOR)


def last_entry() -> AuditEntry:
    return AuditEntry.objects.order_by("-id")[0]


def trace(environment: Environment) -> tuple[int, int, int]:
    """What every change must move by one: version, revisions, audit entries."""
    version = Environment.objects.get(pk=environment.pk).config_version
    return version, FlagRevision.objects.count(), AuditEntry.objects.count()


def numbers(flag: Flag) -> list[int]:
    return list(flag.revisions.order_by("number").values_list("number", flat=True))


def test_new_flag__is_revision_1(environment: Environment) -> None:
    before = trace(environment)
    flag = flag_create(
        environment=environment, key="new-shop", document=ON, actor=ACTOR, reason="spring"
    )
    assert trace(environment) == tuple(number + 1 for number in before)
    assert (flag.name, flag.revision, numbers(flag)) == ("new-shop", 1, [1])
    assert flag.revisions.get().reason == "spring"
    assert (last_entry().action, last_entry().after) == ("flag.created", flag.document)
    assert Flag.objects.get(pk=flag.pk).spec == ON


@pytest.mark.parametrize("key", ["", "-a", ".a", "a b", "a/b", "é", "x" * 129, "a\n"])
def test_key_of_another_form__is_refused(key: str, environment: Environment) -> None:
    with pytest.raises(ValidationError, match="letters, digits"):
        flag_create(environment=environment, key=key, document=ON, actor=ACTOR)


@pytest.mark.parametrize("key", ["a", "0", "A.b_c-d", "x" * 128])
def test_key_of_the_right_form__is_taken(key: str, environment: Environment) -> None:
    assert flag_create(environment=environment, key=key, document=ON, actor=ACTOR).key == key


def test_key_that_is_taken__is_refused_in_its_environment_only(flag: Flag) -> None:
    with pytest.raises(ValidationError, match="already a flag"):
        flag_create(environment=flag.environment, key=flag.key, document=ON, actor=ACTOR)
    flag_create(environment=make_environment(), key=flag.key, document=ON, actor=ACTOR)


def test_flags_with_equal_keys__have_salts_of_their_own(flag: Flag) -> None:
    other = flag_create(environment=make_environment(), key=flag.key, document=ON, actor=ACTOR)
    assert flag.salt != other.salt


def broken(**rule: Any) -> Any:
    return boolean_document(rules=(Rule(id="r", **rule),))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (broken(variant="blue"), r"rules\[0\]\.variant: There is no variant"),
        (broken(variant="enabled", segment="nobody"), "There is no segment nobody"),
        (broken(variant="enabled", conditions={}), r"rules\[0\]\.conditions\.operator: Use AND"),
    ],
)
def test_faulty_document__is_refused_and_leaves_no_trace(
    document: Any, words: str, flag: Flag
) -> None:
    before = trace(flag.environment)
    with pytest.raises(ValidationError, match=words):
        flag_update(flag, document=document, base_revision=1, actor=ACTOR)
    with pytest.raises(ValidationError, match=words):
        flag_create(environment=flag.environment, key="other", document=document, actor=ACTOR)
    assert trace(flag.environment) == before


def test_segment_of_another_environment__is_none_here(flag: Flag) -> None:
    Segment.objects.filter(environment=flag.environment).delete()
    make_environment()
    document = broken(variant="enabled", segment="beta-testers")
    with pytest.raises(ValidationError, match="There is no segment"):
        flag_update(flag, document=document, base_revision=1, actor=ACTOR)


def test_saved_flag__is_the_next_revision(flag: Flag) -> None:
    before = trace(flag.environment)
    half = boolean_document(
        enabled=True, rules=(Rule(id="all", variant="enabled", rollout=50_000),)
    )
    saved = flag_update(flag, document=half, base_revision=1, actor=ACTOR, reason="slowly")
    assert trace(flag.environment) == tuple(number + 1 for number in before)
    assert (saved.revision, numbers(saved), saved.salt) == (2, [1, 2], flag.salt)
    assert [revision.document["rules"] for revision in flag.revisions.order_by("number")] == [
        [{"id": "all", "variant": "enabled"}],
        [{"id": "all", "variant": "enabled", "rollout": 50_000}],
    ]
    entry = last_entry()
    assert (entry.action, entry.reason) == ("flag.updated", "slowly")
    assert entry.before == {"rules": [{"id": "all", "variant": "enabled"}]}
    assert entry.after == {"rules": [{"id": "all", "variant": "enabled", "rollout": 50_000}]}


def test_save_without_a_change__leaves_no_trace(flag: Flag) -> None:
    before = trace(flag.environment)
    saved = flag_update(flag, document=decode_document(flag.document), base_revision=1, actor=ACTOR)
    flag_set_enabled(flag, True, actor=ACTOR)
    assert (saved.revision, trace(flag.environment)) == (1, before)


def test_renamed_flag__keeps_key_and_salt(flag: Flag) -> None:
    saved = flag_update(
        flag, document=ON, base_revision=1, actor=ACTOR, name="Shop", description="Sells"
    )
    assert (saved.key, saved.salt) == (flag.key, flag.salt)
    assert last_entry().after == {"name": "Shop", "description": "Sells"}


def test_save_over_a_newer_revision__is_a_conflict(flag: Flag) -> None:
    flag_set_enabled(flag, False, actor=ACTOR)
    before = trace(flag.environment)
    with pytest.raises(RevisionConflict, match="at revision 2 by now"):
        flag_update(flag, document=ON, base_revision=1, actor=ACTOR)
    assert trace(flag.environment) == before


def test_switch__never_loses_to_an_open_editor(flag: Flag) -> None:
    stale = Flag.objects.get(pk=flag.pk)
    half = boolean_document(enabled=True, rules=(Rule(id="all", variant="enabled", rollout=1),))
    flag_update(flag, document=half, base_revision=1, actor=ACTOR)
    switched = flag_set_enabled(stale, False, actor=ACTOR, reason="crashes")
    assert switched.revision == 3
    assert (switched.spec.enabled, switched.spec.rules) == (False, half.rules)
    entry = last_entry()
    assert (entry.action, entry.before, entry.after) == (
        "flag.disabled",
        {"enabled": True},
        {"enabled": False},
    )


def test_restored_revision__is_a_new_one(flag: Flag) -> None:
    flag_set_enabled(flag, False, actor=ACTOR)
    restored = flag_restore(flag, 1, base_revision=2, actor=ACTOR)
    assert (restored.revision, restored.spec) == (3, ON)
    assert numbers(flag) == [1, 2, 3]
    assert flag.revisions.get(number=3).reason == "Restored revision 1"
    assert last_entry().action == "flag.restored"


def test_restore_over_a_newer_revision__is_a_conflict(flag: Flag) -> None:
    flag_set_enabled(flag, False, actor=ACTOR)
    with pytest.raises(RevisionConflict):
        flag_restore(flag, 1, base_revision=1, actor=ACTOR)


def test_archived_flag__can_come_back(flag: Flag) -> None:
    archived = flag_set_archived(flag, True, actor=ACTOR, reason="done")
    assert archived.archived_at is not None
    assert (last_entry().action, last_entry().reason) == ("flag.archived", "done")
    before = trace(flag.environment)
    flag_set_archived(flag, True, actor=ACTOR)
    assert trace(flag.environment) == before
    assert flag_set_archived(flag, False, actor=ACTOR).archived_at is None
    assert last_entry().action == "flag.unarchived"


def test_flags_that_name_a_segment__are_found_even_archived(flag: Flag) -> None:
    environment = flag.environment
    assert flags_by_segment(environment) == {"beta-testers": ["new_tutorial"]}
    using = broken(variant="enabled", segment="beta-testers")
    flag_update(flag, document=using, base_revision=1, actor=ACTOR)
    flag_set_archived(flag, True, actor=ACTOR)
    assert flags_by_segment(environment) == {"beta-testers": ["new-shop", "new_tutorial"]}
    assert list(Flag.objects.of(environment).naming("beta-testers").archived(True)) == [flag]
