from typing import Any

import pytest

from flags.engine.document import (
    OWN_METADATA,
    DocumentError,
    Rule,
    boolean_document,
    check_document,
    decode_document,
    encode_document,
)

BOOLEAN = encode_document(boolean_document(enabled=True, rules=(Rule(id="r", variant="enabled"),)))
STRING: dict[str, Any] = {
    "value_type": "string",
    "variants": [{"key": "a", "value": "A"}, {"key": "b", "value": "B"}],
    "default": "a",
    "off": "a",
}


def with_metadata(**metadata: Any) -> dict[str, Any]:
    return {**STRING, "metadata": metadata}


def problem(data: dict[str, Any]) -> tuple[str, str]:
    """The path and the message of the error."""
    with pytest.raises(DocumentError) as caught:
        check_document(decode_document(data))
    return caught.value.path, caught.value.message


GROUP = {"key": "economy", "salt": "s", "start": 0, "end": 10_000}


def with_rule(**rule: Any) -> dict[str, Any]:
    return {**STRING, "rules": [{"id": "r", **rule}]}


def split(*parts: tuple[str, int, int]) -> dict[str, Any]:
    slices = [{"variant": key, "start": start, "end": end} for key, start, end in parts]
    return with_rule(split=slices)


DAY = "2026-03-01T00:00:00Z"
STEP = {"at": DAY, "rollout": 50_000}
RAMP = {"from": 0, "to": 100_000, "start": DAY, "end": "2026-03-02T00:00:00Z"}


def scheduled(**rule: Any) -> dict[str, Any]:
    return with_rule(variant="a", **rule)


def needing(*prerequisites: tuple[str, list[str]]) -> dict[str, Any]:
    needed = [{"flag": key, "variants": variants} for key, variants in prerequisites]
    return {**STRING, "prerequisites": needed}


@pytest.mark.parametrize(
    "data",
    [
        BOOLEAN,
        STRING,
        with_rule(variant="b", rollout=0),
        scheduled(steps=[STEP], start=DAY),
        scheduled(ramp=RAMP, end=DAY),
        needing(("other", ["enabled"]), ("third", ["a", "b"])),
    ],
)
def test_valid_document__round_trips(data: dict[str, Any]) -> None:
    document = decode_document(data)
    check_document(document)
    assert decode_document(encode_document(document)) == document


def test_canonical_form__omits_defaults_of_rules_and_variants() -> None:
    assert BOOLEAN == {
        "value_type": "boolean",
        "variants": [{"key": "enabled", "value": True}, {"key": "disabled", "value": False}],
        "default": "disabled",
        "off": "disabled",
        "enabled": True,
        "rules": [{"id": "r", "variant": "enabled"}],
        "prerequisites": [],
    }


def test_canonical_form__is_the_same_for_equal_documents() -> None:
    whole = with_rule(variant="a", rollout=100_000, start="2026-03-01T02:00:00+02:00")
    assert encode_document(decode_document(whole))["rules"] == [
        {"id": "r", "variant": "a", "start": "2026-03-01T00:00:00Z"}
    ]


@pytest.mark.parametrize(
    ("value_type", "value", "fits"),
    [
        ("string", "x", True),
        ("string", 1, False),
        ("number", 1, True),
        ("number", 1.5, True),
        ("number", True, False),
        ("number", "1", False),
        ("json", {"a": 1}, True),
        ("json", [], True),
        ("json", "x", False),
        ("json", None, True),
        ("string", None, True),
        ("number", None, True),
    ],
)
def test_value__must_be_of_the_type(value_type: str, value: Any, fits: bool) -> None:
    data = {**STRING, "value_type": value_type, "variants": [{"key": "a", "value": value}]}
    if fits:
        check_document(decode_document(data))
    else:
        assert problem(data) == ("variants[0].value", f"The value must be a {value_type}.")


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "\0", "\ud800", {"a": [float("nan")]}, {"\0": 1}, ["\udfff"]],
)
def test_value_that_cannot_be_stored__is_refused(value: Any) -> None:
    kinds = {float: "number", str: "string"}
    kind = kinds.get(type(value), "json")
    data = {**STRING, "value_type": kind, "variants": [{"key": "a", "value": value}]}
    path, message = problem(data)
    assert path == "variants[0].value"
    assert message.startswith("The value must not hold NUL")


@pytest.mark.parametrize(
    ("data", "path", "text"),
    [
        ({**STRING, "variants": []}, "variants", "at least one"),
        ({**STRING, "variants": STRING["variants"] * 2}, "variants", "same key"),
        ({**BOOLEAN, "variants": BOOLEAN["variants"][:1]}, "variants", "enabled and disabled"),
        ({**STRING, "variants": [{"key": "", "value": "x"}]}, "variants[0].key", "1 to 128"),
        ({**STRING, "default": "c"}, "default", "no variant 'c'"),
        ({**STRING, "off": "c"}, "off", "no variant 'c'"),
        ({**STRING, "rules": [{"id": "r", "variant": "a"}] * 2}, "rules", "same id"),
        (with_rule(variant="a", rollout=100_001), "rules[0].rollout", "between 0 and 100"),
        (with_rule(variant="a", rollout=-1), "rules[0].rollout", "between 0 and 100"),
        (with_rule(), "rules[0]", "not both or neither"),
        (with_rule(variant="c"), "rules[0].variant", "no variant 'c'"),
        (split(), "rules[0].split", "add up to 100 %"),
        (split(("a", 0, 99_999)), "rules[0].split", "add up to 100 %"),
        (split(("a", 0, 50_000), ("b", 50_001, 100_000)), "rules[0].split", "without gap"),
        (split(("a", 0, 50_000), ("b", 49_999, 100_000)), "rules[0].split", "without gap"),
        (split(("a", 1, 100_000)), "rules[0].split", "without gap"),
        (split(("a", 0, 0), ("a", 0, 100_000)), "rules[0].split", "without gap"),
        (split(("c", 0, 100_000)), "rules[0].split", "no variant 'c'"),
        (scheduled(start=DAY, end=DAY), "rules[0].end", "after the start"),
        (scheduled(start="1969-12-31T00:00:00Z"), "rules[0].start", "between 1970"),
        (scheduled(end="2100-01-01T00:00:00Z"), "rules[0].end", "between 1970"),
        (scheduled(steps=[STEP, STEP]), "rules[0].steps", "after the one before"),
        (scheduled(steps=[{**STEP, "rollout": -1}]), "rules[0].steps[0].rollout", "between 0"),
        (scheduled(steps=[{**STEP, "at": "0001-01-01T00:00:00Z"}]), "rules[0].steps[0].at", "1970"),
        (scheduled(steps=[STEP], ramp=RAMP), "rules[0]", "not both"),
        (scheduled(ramp=RAMP, rollout=5), "rules[0].rollout", "Leave the percentage out"),
        (scheduled(ramp={**RAMP, "to": 100_001}), "rules[0].ramp.to", "between 0"),
        (scheduled(ramp={**RAMP, "from": -1}), "rules[0].ramp.from", "between 0"),
        (scheduled(ramp={**RAMP, "end": DAY}), "rules[0].ramp.end", "after the start"),
        (with_rule(variant="a", group={**GROUP, "end": 0}), "rules[0].group", "not be empty"),
        (with_rule(variant="a", group={**GROUP, "end": 100_001}), "rules[0].group", "100000"),
        (with_rule(variant="a", group={**GROUP, "salt": ""}), "rules[0].group", "the salt"),
        (needing(("a", ["x"]), ("a", ["y"])), "prerequisites", "same flag"),
        (needing(("a", [])), "prerequisites[0].variants", "at least one"),
        (with_metadata(**{f"k{n}": n for n in range(21)}), "metadata", "20 pairs"),
        (with_metadata(**{"": 1}), "metadata.", "1 to 64 letters"),
        (with_metadata(**{"a" * 65: 1}), f"metadata.{'a' * 65}", "1 to 64 letters"),
        (with_metadata(**{"a b": 1}), "metadata.a b", "1 to 64 letters"),
        *((with_metadata(**{name: 1}), f"metadata.{name}", "OFREP uses") for name in OWN_METADATA),
        (with_metadata(a="x" * 501), "metadata.a", "500 characters"),
        (with_metadata(a="\0"), "metadata.a", "NUL"),
        (with_metadata(a=float("nan")), "metadata.a", "NaN"),
        (with_metadata(a=2**53 + 1), "metadata.a", "2^53"),
    ],
)
def test_invalid_document__is_refused_with_the_path(
    data: dict[str, Any], path: str, text: str
) -> None:
    where, message = problem(data)
    assert where == path
    assert text in message


def test_boolean_flag__always_has_values() -> None:
    data = {**BOOLEAN, "variants": [{"key": "enabled", "value": None}, BOOLEAN["variants"][1]]}
    assert problem(data) == ("variants[0].value", "The value must be a boolean.")


def test_metadata__is_stored_only_if_there_is_any() -> None:
    metadata = {"team": "growth", "build": 12, "ratio": 0.5, "beta": True}
    assert encode_document(decode_document(with_metadata(**metadata)))["metadata"] == metadata
    assert "metadata" not in encode_document(decode_document(with_metadata()))


def test_variant_with_a_split__is_refused() -> None:
    data = split(("a", 0, 100_000))
    data["rules"][0]["variant"] = "a"
    assert problem(data)[0] == "rules[0]"


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({**STRING, "value_type": "text"}, "value_type"),
        (with_metadata(a=None), "metadata[...]"),
        (with_metadata(a=[1]), "metadata[...]"),
        ({**STRING, "surprise": 1}, ""),
        ({**STRING, "variants": [{"key": 1, "value": "x"}]}, "variants[0].key"),
        (with_rule(variant="a", rollout=1.5), "rules[0].rollout"),
        (with_rule(variant="a", percentage=5), "rules[0]"),
        (scheduled(start="2026-03-01T00:00:00 PST"), "rules[0].start"),
        (scheduled(ramp={"from": 0, "to": 1}), "rules[0].ramp"),
        ({}, ""),
    ],
)
def test_wrong_shape__is_refused_with_the_path(data: dict[str, Any], path: str) -> None:
    assert problem(data)[0] == path


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T00:00:00.0000000Z",
        "2026-03-01 01:00:00 +0100 CET",
        "2026-03-01T01:00+01:00[Europe/Berlin]",
        "20260301T000000Z",
        "2026-03-01T00:00:00",
        "2026-03-01",
    ],
)
def test_time_of_any_runtime__is_stored_in_utc(text: str) -> None:
    ramp = {**RAMP, "start": text}
    for rule in ({"start": text}, {"end": text}, {"steps": [{**STEP, "at": text}]}, {"ramp": ramp}):
        found = encode_document(decode_document(scheduled(**rule)))["rules"][0]
        assert DAY in repr(found)


@pytest.mark.parametrize("value", ["soon", "2026-02-30T00:00:00Z", 1767225600])
def test_text_that_is_no_time__is_refused(value: Any) -> None:
    path, message = problem(scheduled(steps=[{**STEP, "at": value}]))
    assert path == "rules[0].steps[0].at"
    assert message == "This must be a time like 2026-01-31T12:00:00Z."
