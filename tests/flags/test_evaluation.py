"""The golden cases of flag evaluation: cases/*.json, one file each, for authors of clients as well.

A case holds a flag (salt, archived, document), the segments by key, a player (id, attributes and
built-in fields as `facts`) and the decision expected.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flags.document import check_document, decode_document
from flags.evaluation import compile_flag, evaluate
from segments.matching import Subject, compile_rule
from segments.rules import parse

PATHS = sorted((Path(__file__).parent / "cases").glob("*.json"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def decide(case: dict[str, Any]) -> dict[str, Any]:
    document = decode_document(case["flag"]["document"])
    check_document(document)
    flag = compile_flag(
        key="flag",
        salt=case["flag"]["salt"],
        revision=1,
        document=document,
        archived=case["flag"]["archived"],
        segments={key: compile_rule(parse(rule)) for key, rule in case.get("segments", {}).items()},
    )
    player = case["player"]
    decision = evaluate(
        flag, player["id"], Subject(player["attributes"], player.get("facts", {}), NOW)
    )
    return {
        "value": decision.variant.value,
        "variant_key": decision.variant.key,
        "reason": decision.reason,
        "segment_id": decision.segment_id,
        "rule_index": decision.rule_index,
    }


def test_cases__are_there() -> None:
    assert len(PATHS) >= 25


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_decision__is_the_golden_one(path: Path) -> None:
    case = json.loads(path.read_text())
    assert decide(case) == case["expected"]
