"""Which flags depend on another one, and whether they can still be on."""

from typing import Any

import msgspec
import pytest

from flags.engine.dependents import dependents_of, never_holds, with_draft
from flags.engine.document import FlagDocument, Prerequisite, Rule, boolean_document
from flags.engine.evaluation import CompiledFlag, compile_flag

EVERYONE = Rule(id="r", variant="enabled")


def needing(*names: str, variant: str = "enabled", enabled: bool = True) -> FlagDocument:
    document = boolean_document(enabled=enabled, rules=(EVERYONE,))
    items = tuple(Prerequisite(name, (variant,)) for name in names)
    return msgspec.structs.replace(document, prerequisites=items)


def compiled(archived: str = "", **documents: FlagDocument) -> dict[str, CompiledFlag]:
    flags: dict[str, CompiledFlag] = {}
    for key, document in documents.items():
        flags[key] = one(key, document, flags, archived == key)
    return flags


def one(
    key: str, document: FlagDocument, others: dict[str, CompiledFlag], archived: bool = False
) -> CompiledFlag:
    empty: dict[str, Any] = {"segments": {}, "segment_rules": {}}
    return compile_flag(
        key=key, salt=key, revision=1, document=document, archived=archived, others=others, **empty
    )


def found(key: str, flags: dict[str, CompiledFlag]) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.flag.key, each.path) for each in dependents_of(key, flags)]


def test_dependents__are_direct_or_through_others() -> None:
    flags = compiled(
        a=needing(),
        b=needing("a"),
        c=needing("b"),
        d=needing("c", "a"),
        e=needing(),
        f=needing("e"),
    )
    assert found("a", flags) == [("b", ()), ("d", ()), ("c", ("b",))]
    assert found("c", flags) == [("d", ())]
    assert found("f", flags) == []
    assert found("gone", compiled(b=needing("gone"))) == [("b", ())]


def test_archived_flag__depends_on_nothing() -> None:
    flags = compiled(archived="b", a=needing(), b=needing("a"), c=needing("b"))
    assert found("a", flags) == []


def test_cycle__ends() -> None:
    flags = compiled(a=needing("b"), b=needing("a"), c=needing("c"))
    assert found("a", flags) == [("b", ())]
    assert found("c", flags) == []
    assert never_holds(flags["a"], flags)


@pytest.mark.parametrize(
    ("enabled", "variant", "lost"),
    [(False, "enabled", True), (False, "disabled", False), (True, "enabled", False)],
)
def test_turning_off__decides_what_flags_through_others_can_serve(
    enabled: bool, variant: str, lost: bool
) -> None:
    flags = compiled(a=needing(), b=needing("a", variant=variant), c=needing("b"))
    after = with_draft(one("a", needing(enabled=enabled), flags), flags)
    assert [never_holds(after[key], after) for key in ("b", "c")] == [lost, lost]
    assert after["c"].others["a"] is after["a"]
    assert not any(never_holds(flag, flags) for flag in flags.values())


def test_archiving_and_missing_flags__never_hold() -> None:
    flags = compiled(a=needing(), b=needing("a"))
    after = with_draft(one("a", needing(), flags, archived=True), flags)
    assert never_holds(after["b"], after)
    alone = compiled(b=needing("gone"))
    assert never_holds(alone["b"], alone)
