"""Changes of segments in the words of their page."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ilara_admin.core.diff import Change
from segments.change_words import field_differences

LEVEL = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]}
SAME = {"operator": "OR", "conditions": LEVEL["conditions"]}
AT = datetime(2026, 11, 28, tzinfo=UTC)
IMPORT = {"list": "included", "change": "import", "file": "a.csv", "added": 1200, "bad lines": 1}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"name": "a"}, {"name": "b"}, [("Name", "a", "b")]),
        ({"description": ""}, {"description": "x"}, [("Description", "“”", "x")]),
        ({}, {"key": "a", "rule": LEVEL},
         [("Key", "", "a"), ("Rule", "", "level is more than 1")]),
        ({}, {"list": "excluded", "change": "add", "added": 2, "ids": ["a", "b"]},
         [("Exclude list", "", "2 ids added: a, b")]),
        ({}, IMPORT,
         [("Include list", "", "1,200 ids added, from a.csv; 1 invalid line skipped")]),
        (IMPORT, {}, [("Include list", "1,200 ids added, from a.csv; 1 invalid line skipped", "")]),
        ({}, {"list": "included", "change": "clear", "removed": 3},
         [("Include list", "", "cleared: 3 ids removed")]),
        ({}, {"list": "included", "change": "replace", "file": "b.csv", "stopped": "No space."},
         [("Include list", "", "replaced: no ids changed, from b.csv; stopped: No space.")]),
        ({}, {"list": "included", "rows": 1}, [("Include list", "", "1 id exported")]),
    ],
)  # fmt: skip
def test_change__is_in_words(before: Any, after: Any, found: list[tuple[str, str, str]]) -> None:
    assert field_differences(before, after, AT) == [Change(*each) for each in found]


def test_rule_that_reads_the_same__is_still_a_change() -> None:
    assert field_differences({"rule": LEVEL}, {"rule": SAME}, AT)[0].label == "Rule"


def test_rule_that_cannot_be_read__is_named() -> None:
    (change,) = field_differences({"rule": LEVEL}, {"rule": {}}, AT)
    assert change.after.startswith("not a valid rule (")
