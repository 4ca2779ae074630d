"""Configuration as code: strict reading, reproducible writing, plans."""

import json
from typing import Any

import pytest

from ilara_admin.config.document import Config, ConfigEntry, ConfigError, read, write
from ilara_admin.config.plan import Plan, PlanAction, make_plan
from ilara_admin.core.json_equality import json_equal
from segments.language.references import MAX_CHAIN


def level(value: Any = 40, operator: str = ">=") -> dict[str, Any]:
    return {"field": "level", "operator": operator, "value": value}


def among(*keys: str) -> dict[str, Any]:
    return {"field": "segment", "operator": "in", "value": list(keys)}


def segment(*conditions: Any, **more: Any) -> ConfigEntry:
    return {"rule": {"operator": "AND", "conditions": list(conditions or [level()])}, **more}


def flag(**more: Any) -> ConfigEntry:
    variants = [{"key": "enabled", "value": True}, {"key": "disabled", "value": False}]
    return {
        "value_type": "boolean", "variants": variants, "default": "disabled", "off": "disabled",
        **more,
    }  # fmt: skip


def document(**kinds: Any) -> bytes:
    return json.dumps({"version": 1, **kinds}).encode()


def taken(**kinds: Any) -> Config:
    return read(document(**kinds))


def faults(data: bytes) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(data)
    return [str(fault) for fault in raised.value.faults]


# --- Reading --------------------------------------------------------------------------------------


def test_missing_fields__get_defaults() -> None:
    config = taken(segments={"whales": segment()}, flags={"shop": flag()})
    assert config.entries("segments")["whales"] == segment(name="whales", description="")
    shop = config.entries("flags")["shop"]
    assert (shop["name"], shop["archived"], shop["enabled"], shop["rules"]) == (
        "shop", False, False, []
    )  # fmt: skip


def test_missing_section__is_absent_and_not_empty() -> None:
    assert dict(taken(segments={}).kinds) == {"segments": {}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Not valid JSON: Expecting value, line 1, column 1."),
        (b'{"version": 1,}', "Not valid JSON"),
        (b"\xff", "Not valid UTF-8."),
        (b"[" * 100_000, "The document is nested too deeply."),
        (b'{"version": NaN}', "Not valid JSON: NaN is not allowed."),
        (b"[]", "The document must be an object with version, segments and flags."),
        (b"{}", "version: Must be 1, the only supported version."),
        (b'{"version": 2}', "version: Must be 1, the only supported version."),
        (b'{"version": true}', "version: Must be 1, the only supported version."),
        (b'{"version": 1, "Segments": {}}', "Segments: Unknown. Use version, segments, flags."),
        (b'{"version": 1, "segments": []}', "segments: Must be an object of entries by key."),
        (b'{"version": 1, "version": 1}', "version: Duplicate key in the same object."),
        (
            b'{"version": 1, "segments": {"a": {}, "a": {}}}',
            'segments["a"]: Duplicate key in the same object.',
        ),
    ],
)  # fmt: skip
def test_invalid_document__is_refused_with_the_path(data: bytes, message: str) -> None:
    assert faults(data)[0].startswith(message)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], ": Must be an object with description, name, rule."),
        ({}, ".rule: Required."),
        ({"rule": []}, ".rule: Expected `object`, got `array`."),
        (segment(level("x")), ".rule.conditions[0].value: Give a number."),
        (segment(level(), level(operator="~")), ".rule.conditions[1].operator: Unknown operator."),
        (segment(name=3), ".name: Expected `str`, got `int`."),
        (segment(name="x" * 201), ".name: Expected `str` of length <= 200."),
        (segment(description="\0"), ".description: Must not contain NUL or lone surrogates."),
        (segment(Rule=1), ".Rule: Unknown. Use description, name, rule."),
    ],
)
def test_invalid_segment__is_refused_with_the_path(entry: Any, message: str) -> None:
    (fault,) = faults(document(segments={"whales": entry}))
    assert fault.startswith(f'segments["whales"]{message}')


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (flag(Enabled=True), ".Enabled: Unknown."),
        (flag(enabled=1), ".enabled: Expected `bool`, got `int`"),
        (flag(archived="no"), ".archived: Expected `bool`, got `str`."),
        (flag(expected_end="soon"), ".expected_end: Must be a date like 2026-12-31, or empty."),
        (flag(tags="shop"), ".tags: Expected `array`, got `str`."),
        (flag(tags=["a", "b,c"]), ".tags[1]: A tag has no commas"),
        (flag(links=[{"label": "x", "url": "javascript:x"}]), ".links[0].url: Give an address"),
        (flag(links=[{"label": "x"}]), ".links[0]: Must be an object with label and url."),
        (flag(default="on"), ".default: There is no variant 'on'."),
        (flag(rules=[{"id": "r", "variant": "enabled", "rolout": 1}]), ".rules[0]: Object"),
        (
            flag(rules=[{"id": "r", "variant": "enabled", "conditions": {"operator": "AND"}}]),
            ".rules[0].conditions.conditions: Add at least one condition.",
        ),
    ],
)  # fmt: skip
def test_invalid_flag__is_refused_with_the_path(entry: Any, message: str) -> None:
    (fault,) = faults(document(flags={"shop": entry}))
    assert fault.startswith(f'flags["shop"]{message}')


def test_all_faults__are_reported_together() -> None:
    wrong = {"a": {"rule": [], "name": 1, "x": 1}, "b": segment(level("x")), "no key": segment()}
    found = faults(document(segments=wrong, flags={"f": flag(off="?")}))
    assert [fault.partition(": ")[0] for fault in found] == [
        'segments["a"].x', 'segments["a"].rule', 'segments["a"].name',
        'segments["b"].rule.conditions[0].value', 'segments["no key"]', 'flags["f"].off',
    ]  # fmt: skip


# --- Writing --------------------------------------------------------------------------------------


def test_written_document__has_one_layout() -> None:
    assert write(taken(segments={"b": segment(name="é"), "a": segment()})) == (
        """{
  "segments": {
    "a": {
      "description": "",
      "name": "a",
      "rule": {
        "conditions": [
          {
            "field": "level",
            "operator": ">=",
            "value": 40
          }
        ],
        "operator": "AND"
      }
    },
    "b": {
      "description": "",
      "name": "é",
      "rule": {
        "conditions": [
          {
            "field": "level",
            "operator": ">=",
            "value": 40
          }
        ],
        "operator": "AND"
      }
    }
  },
  "version": 1
}
"""
    )


def test_written_document__is_read_and_written_the_same() -> None:
    schedule = {"id": "r", "variant": "enabled", "steps": [{"at": "2026-01-02T03:04:05+02:00",
                "rollout": 5}]}  # fmt: skip
    text = write(taken(segments={"a": segment(level(0.1))}, flags={"f": flag(rules=[schedule])}))
    assert write(read(text.encode())) == text
    assert write(read(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())) == text


# --- Plans ----------------------------------------------------------------------------------------

NOTHING = Config({"segments": {}, "flags": {}})


def steps(plan: Plan) -> list[tuple[str, str]]:
    return [(str(step.action), step.key) for step in plan.steps]


def refused(current: Config, wanted: Config, *, prune: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        make_plan(current, wanted, prune=prune)
    return [str(fault) for fault in raised.value.faults]


def test_same_configuration__has_no_steps() -> None:
    config = taken(segments={"a": segment()}, flags={"f": flag()})
    plan = make_plan(config, config, prune=True)
    assert (plan.steps, plan.unchanged, plan.left) == ([], 2, 0)


def test_change__lists_the_differences() -> None:
    current = taken(segments={"a": segment(name="A"), "b": segment(level(1))})
    wanted = taken(segments={"a": segment(level(50), name="B"), "b": segment(level(True, "=="))})
    plan = make_plan(current, wanted, prune=False)
    assert [step.lines for step in plan.steps] == [
        ["name: “A” → “B”", "rule: level is at least 40 → level is at least 50"],
        ["rule: level is at least 1 → level is true"],
    ]


def test_value_equal_only_in_python__is_a_change() -> None:
    one, true = (taken(segments={"a": segment(level(value, "=="))}) for value in (1, True))
    assert steps(make_plan(one, true, prune=False)) == [("change", "a")]
    assert json_equal([1, {"a": 2}], [1.0, {"a": 2}])
    assert not json_equal([1, {"a": 0}], [1, {"a": False}])


def test_rule_with_the_same_description__is_marked() -> None:
    current = taken(segments={"a": segment(level())})
    rule = {"operator": "OR", "conditions": [level()]}
    (step,) = make_plan(current, taken(segments={"a": {"rule": rule}}), prune=False).steps
    assert step.lines == ["different notation, same meaning"]


def test_changed_flag__is_described_as_on_its_page() -> None:
    current = taken(flags={"f": flag()})
    rule = {"id": "r", "variant": "enabled", "rollout": 25_000}
    wanted = taken(flags={"f": flag(enabled=True, rules=[rule], owner="Ada", archived=True)})
    (step,) = make_plan(current, wanted, prune=False).steps
    assert step.lines == [
        "Owner: none → Ada", "Archived: no → yes", "State: off → on",
        "Rule 1: none → 25 % of players get enabled",
    ]  # fmt: skip


def test_no_value_and_metadata__are_written_read_and_described() -> None:
    text = [{"key": "a", "value": "x"}, {"key": "b", "value": None}]
    values = {"value_type": "string", "variants": text, "default": "a", "off": "b"}
    config = taken(flags={"f": {**values, "metadata": {"team": "growth", "build": 1}}})
    assert read(write(config).encode()) == config
    changed = [{"key": "a", "value": None}, text[1]]
    wanted = taken(flags={"f": {**values, "variants": changed, "metadata": {"build": True}}})
    (step,) = make_plan(config, wanted, prune=False).steps
    assert step.lines == [
        'Variant a: "x" → no value', "Metadata build: 1 → true", 'Metadata team: "growth" → none',
    ]  # fmt: skip
    bare = taken(flags={"f": values})
    assert "metadata" not in write(bare)
    (step,) = make_plan(config, bare, prune=False).steps
    assert step.lines == ["Metadata build: 1 → none", 'Metadata team: "growth" → none']


def test_new_segments__come_after_their_references() -> None:
    wanted = taken(segments={"a": segment(among("c")), "b": segment(), "c": segment(among("b"))})
    assert steps(make_plan(NOTHING, wanted, prune=False)) == [
        ("create", "b"), ("create", "c"), ("create", "a"),
    ]  # fmt: skip


def test_reversed_reference__is_removed_before_it_is_added() -> None:
    current = taken(segments={"a": segment(among("b")), "b": segment()})
    wanted = taken(segments={"a": segment(), "b": segment(among("a"))})
    assert steps(make_plan(current, wanted, prune=False)) == [("change", "a"), ("change", "b")]


def test_entry_not_in_the_document__stays_unless_pruned() -> None:
    current = taken(segments={"a": segment(), "b": segment(among("a")), "c": segment()})
    wanted = taken(segments={"c": segment()})
    plan = make_plan(current, wanted, prune=False)
    assert (plan.steps, plan.unchanged, plan.left) == ([], 1, 2)
    # The segment with the reference is removed first.
    pruned = make_plan(current, wanted, prune=True)
    assert steps(pruned) == [("remove", "b"), ("remove", "a")]


def test_absent_section__is_not_pruned() -> None:
    current = taken(segments={"a": segment()}, flags={"f": flag()})
    plan = make_plan(current, taken(flags={}), prune=True)
    assert [(step.action, step.kind) for step in plan.steps] == [(PlanAction.REMOVE, "flags")]


def test_archived_flag__counts_as_removed() -> None:
    current = taken(flags={"f": flag(archived=True)})
    assert not make_plan(current, taken(flags={}), prune=True).steps


def test_flags__come_after_their_segments_and_prerequisites() -> None:
    needs = [{"flag": "b", "variants": ["enabled"]}]
    wanted = taken(
        flags={"a": flag(prerequisites=needs), "b": flag(rules=[
            {"id": "r", "segment": "s", "variant": "enabled"}])},
        segments={"s": segment()},
    )  # fmt: skip
    assert [key for _, key in steps(make_plan(NOTHING, wanted, prune=False))] == ["s", "b", "a"]


def test_missing_segment__is_refused_with_the_path() -> None:
    wanted = taken(
        segments={"a": segment(level(), among("no"))},
        flags={"f": flag(rules=[{"id": "r", "segment": "no", "variant": "enabled"}])},
    )
    missing = "There is no segment “no” in this environment."
    assert refused(NOTHING, wanted) == [
        f'segments["a"].rule.conditions[1].value: {missing}',
        f'flags["f"].rules[0].segment: {missing}',
    ]
    assert make_plan(taken(segments={"no": segment()}), wanted, prune=False).steps


def test_cycle__is_refused_with_its_path() -> None:
    wanted = taken(segments={"a": segment(among("b")), "b": segment(level(), among("a"))})
    message = "A segment must not refer to itself"
    assert refused(NOTHING, wanted) == [
        f'segments["a"].rule.conditions[0].value: {message}: a → b → a.',
        f'segments["b"].rule.conditions[1].value: {message}: b → a → b.',
    ]


def test_cycle_through_existing_segments__is_refused() -> None:
    current = taken(segments={"a": segment(), "b": segment(among("a"))})
    (fault,) = refused(current, taken(segments={"a": segment(among("b"))}))
    assert fault.endswith("a → b → a.")


def test_long_chain__is_refused() -> None:
    def chain(length: int) -> Config:
        named = {f"s{number:04}": segment(among(f"s{number + 1:04}")) for number in range(length)}
        return taken(segments={**named, f"s{length:04}": segment()})

    assert len(make_plan(NOTHING, chain(MAX_CHAIN - 1), prune=False).steps) == MAX_CHAIN
    assert "may form a chain" in refused(NOTHING, chain(MAX_CHAIN))[0]
    assert "may form a chain" in refused(NOTHING, chain(60))[0]


def test_invalid_prerequisite__is_refused() -> None:
    def needing(other: str, variant: str = "enabled") -> ConfigEntry:
        return flag(prerequisites=[{"flag": other, "variants": [variant]}])

    wanted = taken(flags={"a": needing("no"), "b": needing("c"), "c": needing("b"),
                          "d": needing("e", "red"), "e": flag()})  # fmt: skip
    cycle = "The prerequisites form a cycle"
    assert refused(NOTHING, wanted) == [
        'flags["a"].prerequisites[0]: There is no flag “no” in this environment.',
        f'flags["b"].prerequisites: {cycle}: b → c → b.',
        f'flags["c"].prerequisites: {cycle}: c → b → c.',
        'flags["d"].prerequisites[0]: The flag “e” has no variant “red”.',
    ]


def test_pruned_segment_used_by_a_flag__is_refused() -> None:
    rule = {"id": "r", "segment": "s", "variant": "enabled"}
    current = taken(segments={"s": segment()}, flags={"f": flag(rules=[rule])})
    assert refused(current, taken(segments={}), prune=True) == [
        'flags["f"].rules[0].segment: The segment “s” would be removed but is used here.'
    ]
    assert steps(make_plan(current, taken(segments={}, flags={"f": flag()}), prune=True)) == [
        ("change", "f"), ("remove", "s"),
    ]  # fmt: skip
