"""The guarded acts in a change of a flag."""

from typing import Any

import pytest

from flags.engine.acts import flag_acts

ON, RULE = {"enabled": True}, {"id": "r1", "segment": "beta", "variant": "on"}
OTHER = {"id": "r2", "variant": "on"}
HALF = {"variant": "on", "start": 0, "end": 50_000}
REST = {"variant": "off", "start": 50_000, "end": 100_000}


def rules(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"rules": list(rules)}


def split(share: int) -> dict[str, Any]:
    parts = [{**HALF, "end": share}, {**REST, "start": share}]
    return rules({"id": "r1", "split": parts})


STEP = {"at": "2027-01-01T00:00:00Z", "rollout": 100_000}
RAMP = {"from": 0, "to": 100_000, "start": STEP["at"], "end": "2027-01-02T00:00:00Z"}


@pytest.mark.parametrize(
    ("before", "after", "acts"),
    [
        ({"enabled": False}, ON, {"turn_on"}),
        (ON, {"enabled": False}, set()),
        ({**ON, **rules()}, {"enabled": False, **rules(RULE)}, {"rules"}),
        (rules(RULE), rules({**RULE, "rollout": 5}), {"percentage"}),
        (rules({**RULE, "rollout": 5}), rules(RULE), {"percentage"}),
        (rules(RULE), rules({**RULE, "steps": [STEP]}), {"percentage"}),
        (rules(RULE), rules({**RULE, "ramp": RAMP}), {"percentage"}),
        (rules(RULE), rules({**RULE, "start": STEP["at"]}), {"rules"}),
        (rules(RULE), rules({**RULE, "name": "Beta"}), set()),
        (rules(RULE), rules({**RULE, "segment": "all"}), {"rules"}),
        (rules(RULE), rules({**RULE, "segment": "all", "rollout": 5}), {"rules", "percentage"}),
        (rules(RULE, OTHER), rules(OTHER, RULE), {"rules"}),
        (rules(RULE), rules(RULE, OTHER), {"rules"}),
        (rules(RULE, OTHER), rules({**RULE, "rollout": 1}), {"rules", "percentage"}),
        (rules(), {"rules": "unreadable"}, {"rules"}),
        (split(50_000), split(60_000), {"percentage"}),
        (split(50_000), rules({"id": "r1", "variant": "on"}), {"rules", "percentage"}),
        ({"default": "a"}, {"default": "b"}, {"rules"}),
        ({"off": "a"}, {"off": "b"}, {"rules"}),
        ({"prerequisites": []}, {"prerequisites": [{"flag": "x", "variants": ["on"]}]}, {"rules"}),
        ({"metadata": {"a": 1}}, {}, {"rules"}),
        ({"variants": [{"key": "a", "value": 1}]}, {"variants": [{"key": "a", "value": True}]},
         {"rules"}),
        ({"variants": [{"key": "a", "value": 1}]},
         {"variants": [{"key": "a", "value": 1, "name": "A"}]}, set()),
        ({"tags": [], "description": ""}, {"tags": ["x"], "description": "x"}, set()),
        ({"document": "broken"}, {"enabled": False}, {"rules"}),
        ({"overrides": [1]}, {"overrides": []}, {"rules"}),
    ],
)  # fmt: skip
def test_update(before: dict[str, Any], after: dict[str, Any], acts: set[str]) -> None:
    for action in ("flag.updated", "flag.restored", "flag.disabled", "flag.enabled"):
        assert flag_acts(action, before, after, None) == acts


@pytest.mark.parametrize(
    ("action", "after", "whole", "acts"),
    [
        ("flag.created", {"enabled": False}, None, set()),
        ("flag.created", {"enabled": False, **rules(RULE)}, None, {"rules"}),
        ("flag.created", ON, None, {"turn_on", "rules"}),
        ("flag.created", {}, None, {"turn_on", "rules"}),
        ("flag.archived", {"archived": True, "_archived_at": "x"}, ON, set()),
        ("flag.unarchived", {"archived": False, "_archived_at": None}, ON, {"turn_on"}),
        ("flag.unarchived", {"archived": False}, {"enabled": False}, set()),
        ("flag.unarchived", {"archived": False}, None, {"turn_on"}),
        ("flag.archive_scheduled", {"archives_at": "x"}, ON, set()),
        ("flag.deleted", None, None, set()),
        ("flag.overridden", {"player": "p", "variant": "on"}, ON, set()),
        ("flag.something_new", {"a": 1}, ON, {"rules"}),
    ],
)
def test_other_actions(
    action: str, after: dict[str, Any] | None, whole: dict[str, Any] | None, acts: set[str]
) -> None:
    assert flag_acts(action, None, after, whole) == acts
