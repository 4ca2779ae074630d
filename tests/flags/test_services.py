"""Writes to flags: every change is a revision, an audit entry and a new version."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest
from django.core.exceptions import ValidationError

from flags.engine.document import Prerequisite, Rule, boolean_document, decode_document
from flags.engine.evaluation import EvaluationContext, compile_flag, evaluate
from flags.models import Flag, FlagOverride, FlagRevision, flags_by_segment
from flags.overrides import override_set
from flags.services import (
    flag_clone,
    flag_create,
    flag_create_everywhere,
    flag_reorder,
    flag_restore,
    flag_set_archived,
    flag_set_enabled,
    flag_update,
)
from ilara_admin.core.changes import Conflict
from ilara_admin.models import AuditEntry, Environment
from players.erasure import player_delete
from segments.language.compiler import Subject
from segments.models import Segment
from tests.factories import ACTOR, make_environment, make_player

ON = boolean_document(enabled=True, rules=(Rule(id="all", variant="enabled"),))


@pytest.fixture
def flag(environment: Environment) -> Flag:
    return flag_create(environment=environment, key="new-shop", document=ON, actor=ACTOR)


def last_entry() -> AuditEntry:
    return AuditEntry.objects.order_by("-id")[0]


def trace(environment: Environment) -> tuple[int, int, int]:
    """Version, revisions and audit entries: each change increments all three."""
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
def test_invalid_key__is_refused(key: str, environment: Environment) -> None:
    with pytest.raises(ValidationError, match="letters, digits"):
        flag_create(environment=environment, key=key, document=ON, actor=ACTOR)


@pytest.mark.parametrize("key", ["a", "0", "A.b_c-d", "x" * 128])
def test_valid_key__is_accepted(key: str, environment: Environment) -> None:
    assert flag_create(environment=environment, key=key, document=ON, actor=ACTOR).key == key


def test_existing_key__is_refused_in_its_environment_only(flag: Flag) -> None:
    with pytest.raises(ValidationError, match="already a flag"):
        flag_create(environment=flag.environment, key=flag.key, document=ON, actor=ACTOR)
    flag_create(environment=make_environment(), key=flag.key, document=ON, actor=ACTOR)


def test_flags_with_equal_keys__have_different_salts(flag: Flag) -> None:
    other = flag_create(environment=make_environment(), key=flag.key, document=ON, actor=ACTOR)
    assert flag.salt != other.salt


def broken(**rule: Any) -> Any:
    return boolean_document(rules=(Rule(id="r", **rule),))


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (broken(variant="blue"), r"rules\[0\]\.variant: There is no variant"),
        (broken(variant="enabled", segment="nobody"), "There is no segment nobody"),
        (broken(variant="enabled", conditions={}), r"rules\[0\]\.conditions\.operator: Use AND"),
    ],
)
def test_invalid_document__is_refused_and_changes_nothing(
    document: Any, text: str, flag: Flag
) -> None:
    before = trace(flag.environment)
    with pytest.raises(ValidationError, match=text):
        flag_update(flag, document=document, base_revision=1, actor=ACTOR)
    with pytest.raises(ValidationError, match=text):
        flag_create(environment=flag.environment, key="other", document=document, actor=ACTOR)
    assert trace(flag.environment) == before


def test_segment_of_another_environment__is_unknown(flag: Flag) -> None:
    Segment.objects.filter(environment=flag.environment).delete()
    make_environment()
    document = broken(variant="enabled", segment="beta-testers")
    with pytest.raises(ValidationError, match="There is no segment"):
        flag_update(flag, document=document, base_revision=1, actor=ACTOR)


def test_saved_flag__has_the_next_revision(flag: Flag) -> None:
    before = trace(flag.environment)
    half = boolean_document(
        enabled=True, rules=(Rule(id="all", variant="enabled", rollout=50_000),)
    )
    saved, _ = flag_update(flag, document=half, base_revision=1, actor=ACTOR, reason="slowly")
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


def test_save_without_a_change__writes_nothing(flag: Flag) -> None:
    before = trace(flag.environment)
    saved, _ = flag_update(
        flag, document=decode_document(flag.document), base_revision=1, actor=ACTOR
    )
    flag_set_enabled(flag, True, actor=ACTOR)
    assert (saved.revision, trace(flag.environment)) == (1, before)


def test_renamed_flag__keeps_key_and_salt(flag: Flag) -> None:
    saved, _ = flag_update(
        flag,
        document=ON,
        base_revision=1,
        actor=ACTOR,
        details={"name": "Shop", "description": "Sells", "expected_end": "2026-12-31"},
    )
    assert (saved.key, saved.salt) == (flag.key, flag.salt)
    assert last_entry().after == {
        "name": "Shop",
        "description": "Sells",
        "expected_end": "2026-12-31",
    }
    restored, _ = flag_restore(saved, 1, base_revision=2, actor=ACTOR)
    assert (restored.details, restored.salt) == (flag.details, flag.salt)


def test_invalid_end_date__is_refused(flag: Flag) -> None:
    with pytest.raises(ValidationError, match="Give a date"):
        flag_update(
            flag, document=ON, base_revision=1, actor=ACTOR, details={"expected_end": "soon"}
        )


def test_save_over_a_newer_revision__is_a_conflict(flag: Flag) -> None:
    flag_set_enabled(flag, False, actor=ACTOR)
    before = trace(flag.environment)
    with pytest.raises(Conflict):
        flag_update(flag, document=ON, base_revision=1, actor=ACTOR)
    assert trace(flag.environment) == before


def test_switch__never_conflicts(flag: Flag) -> None:
    stale = Flag.objects.get(pk=flag.pk)
    half = boolean_document(enabled=True, rules=(Rule(id="all", variant="enabled", rollout=1),))
    flag_update(flag, document=half, base_revision=1, actor=ACTOR)
    switched, _ = flag_set_enabled(stale, False, actor=ACTOR, reason="crashes")
    assert switched.revision == 3
    assert (switched.spec.enabled, switched.spec.rules) == (False, half.rules)
    entry = last_entry()
    assert (entry.action, entry.before, entry.after) == (
        "flag.disabled",
        {"enabled": True},
        {"enabled": False},
    )


def test_restored_revision__is_a_new_revision(flag: Flag) -> None:
    flag_set_enabled(flag, False, actor=ACTOR)
    restored, _ = flag_restore(flag, 1, base_revision=2, actor=ACTOR)
    assert (restored.revision, restored.spec) == (3, ON)
    assert numbers(flag) == [1, 2, 3]
    assert flag.revisions.get(number=3).reason == "Restored revision 1"
    assert last_entry().action == "flag.restored"


def test_restore_over_a_newer_revision__is_a_conflict(flag: Flag) -> None:
    flag_set_enabled(flag, False, actor=ACTOR)
    with pytest.raises(Conflict):
        flag_restore(flag, 1, base_revision=1, actor=ACTOR)


def test_archived_flag__can_be_unarchived(flag: Flag) -> None:
    before = trace(flag.environment)
    archived, _ = flag_set_archived(flag, True, actor=ACTOR, reason="done")
    assert trace(flag.environment) == tuple(number + 1 for number in before)
    assert archived.archived_at is not None
    assert (last_entry().action, last_entry().reason) == ("flag.archived", "done")
    before = trace(flag.environment)
    flag_set_archived(flag, True, actor=ACTOR)
    assert trace(flag.environment) == before
    assert flag_set_archived(flag, False, actor=ACTOR)[0].archived_at is None
    assert last_entry().action == "flag.unarchived"
    assert [revision.archived for revision in flag.revisions.all()] == [False, True, False]


# --- Several at once ------------------------------------------------------------------------------


def test_flag_created_everywhere__is_off_in_every_environment(environment: Environment) -> None:
    project = environment.project
    flags = flag_create_everywhere(project, key="shop", document=ON, actor=ACTOR, owner="Ana")
    assert [flag.environment.slug for flag in flags] == ["live", "test"]
    assert [(flag.spec.enabled, flag.owner) for flag in flags] == [(False, "Ana")] * 2
    flag_create_everywhere(project, key="only", document=ON, actor=ACTOR, slugs=["test"])
    assert Flag.objects.get(key="only").environment.slug == "test"


def test_existing_key_in_one_environment__creates_no_flag(environment: Environment) -> None:
    test = environment.project.environments.get(slug="test")
    flag_create(environment=test, key="shop", document=ON, actor=ACTOR)
    with pytest.raises(ValidationError, match="already a flag"):
        flag_create_everywhere(environment.project, key="shop", document=ON, actor=ACTOR)
    assert not Flag.objects.of(environment).filter(key="shop").exists()


HALF = boolean_document(enabled=True, rules=(Rule(id="all", variant="enabled", rollout=50_000),))
PLAYERS = [str(uuid5(UUID(int=0), str(number))) for number in range(200)]


def inside(flag: Flag) -> set[str]:
    """The players included once the flag is on."""
    document = msgspec.structs.replace(flag.spec, enabled=True)
    ready = compile_flag(
        key=flag.key,
        salt=flag.salt,
        revision=1,
        document=document,
        archived=False,
        segments={},
        segment_rules={},
        others={},
    )
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return {
        player
        for player in PLAYERS
        if evaluate(ready, EvaluationContext(player, Subject({}, {}, now), {}, now)).rule_index == 0
    }


def test_clone__selects_players_independently_unless_the_salt_is_copied(
    environment: Environment,
) -> None:
    flag = flag_create(environment=environment, key="one", document=HALF, actor=ACTOR, owner="Ana")
    other = flag_clone(flag, key="two", actor=ACTOR)
    same = flag_clone(flag, key="three", actor=ACTOR, same_players=True)
    assert [(each.spec.enabled, each.owner) for each in (other, same)] == [(False, "Ana")] * 2
    assert other.revisions.get().reason == "Cloned from one"
    assert inside(same) == inside(flag)
    assert 0.3 < len(inside(other) & inside(flag)) / len(inside(flag)) < 0.7


def test_renamed_flag__keeps_its_players(environment: Environment) -> None:
    flag = flag_create(environment=environment, key="one", document=HALF, actor=ACTOR)
    saved, _ = flag_update(
        flag, document=flag.spec, base_revision=1, actor=ACTOR, details={"name": "Other"}
    )
    assert inside(saved) == inside(flag)


def test_reordered_rules__are_otherwise_unchanged(flag: Flag) -> None:
    two = boolean_document(
        enabled=True,
        rules=(Rule(id="a", variant="enabled", rollout=5), Rule(id="b", variant="disabled")),
    )
    flag, _ = flag_update(flag, document=two, base_revision=1, actor=ACTOR)
    saved, _ = flag_reorder(flag, ["b", "a"], base_revision=2, actor=ACTOR)
    assert saved.spec.rules == two.rules[::-1]
    for order in (["a"], ["a", "b", "c"], ["a", "a", "b"]):
        with pytest.raises(ValidationError, match="every rule"):
            flag_reorder(saved, order, base_revision=3, actor=ACTOR)
    with pytest.raises(Conflict):
        flag_reorder(saved, ["a", "b"], base_revision=2, actor=ACTOR)


# --- Prerequisites --------------------------------------------------------------------------------


def needing(*needed: str, variant: str = "enabled") -> Any:
    prerequisites = tuple(Prerequisite(key, (variant,)) for key in needed)
    return msgspec.structs.replace(ON, prerequisites=prerequisites)


def test_prerequisite__must_exist(flag: Flag) -> None:
    for document, text in (
        (needing("gone"), r"prerequisites\[0\]: There is no flag gone"),
        (needing("new_tutorial", variant="blue"), "new_tutorial has no variant blue"),
    ):
        with pytest.raises(ValidationError, match=text):
            flag_update(flag, document=document, base_revision=1, actor=ACTOR)


def test_cycle__is_refused_with_its_path(flag: Flag) -> None:
    environment = flag.environment
    with pytest.raises(ValidationError, match="cycle: new-shop → new-shop"):
        flag_update(flag, document=needing("new-shop"), base_revision=1, actor=ACTOR)
    b = flag_create(environment=environment, key="b", document=needing("new-shop"), actor=ACTOR)
    flag_create(environment=environment, key="c", document=needing("b"), actor=ACTOR)
    with pytest.raises(ValidationError, match="cycle: new-shop → c → b → new-shop"):
        flag_update(flag, document=needing("c"), base_revision=1, actor=ACTOR)
    flag_update(b, document=ON, base_revision=1, actor=ACTOR)
    assert flag_update(flag, document=needing("c"), base_revision=1, actor=ACTOR)[0].revision == 2


def test_chain__is_limited(flag: Flag) -> None:
    needed = flag.key
    for number in range(15):
        key = f"n-{number}"
        flag_create(environment=flag.environment, key=key, document=needing(needed), actor=ACTOR)
        needed = key
    with pytest.raises(ValidationError, match="16 flags at most"):
        flag_create(environment=flag.environment, key="last", document=needing(needed), actor=ACTOR)


def test_variant_that_another_flag_requires__cannot_be_removed(environment: Environment) -> None:
    colours = decode_document(
        {
            "value_type": "string",
            "variants": [{"key": "red", "value": "r"}, {"key": "blue", "value": "b"}],
            "default": "red",
            "off": "red",
        }
    )
    flag = flag_create(environment=environment, key="colour", document=colours, actor=ACTOR)
    flag_create(
        environment=environment, key="b", document=needing("colour", variant="blue"), actor=ACTOR
    )
    without = msgspec.structs.replace(colours, variants=colours.variants[:1])
    with pytest.raises(ValidationError, match="The flag b requires blue of this flag"):
        flag_update(flag, document=without, base_revision=1, actor=ACTOR)


def test_flags_that_use_a_segment__include_archived_ones(flag: Flag) -> None:
    environment = flag.environment
    assert flags_by_segment(environment, ["beta-testers"]) == {"beta-testers": ["new_tutorial"]}
    using = broken(variant="enabled", segment="beta-testers")
    flag_update(flag, document=using, base_revision=1, actor=ACTOR)
    flag_set_archived(flag, True, actor=ACTOR)
    assert flags_by_segment(environment, ["beta-testers"]) == {
        "beta-testers": ["new-shop", "new_tutorial"]
    }
    assert list(Flag.objects.of(environment).naming("beta-testers").archived(True)) == [flag]


def test_override_of_an_erased_player__is_refused(environment: Environment) -> None:
    """The id may have become an alias, and its rows have already moved."""
    flag = Flag.objects.filter(environment=environment)[0]
    player = make_player(environment)
    player_delete(player, actor=ACTOR)
    with pytest.raises(ValidationError, match="was erased"):
        override_set(flag, player, flag.spec.variants[0].key, actor=ACTOR)
    assert not FlagOverride.objects.exists()
