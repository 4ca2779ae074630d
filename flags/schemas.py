"""What the Feature Flags API takes and gives."""

from typing import Any

from msgspec import Struct

from flags.evaluation import CompiledFlag, Decision, Reason
from flags.receipt import Receipt
from ilara_admin.payload import PlayerId


class FlagEvaluate(Struct):
    """`context` overrides attributes of the player for this call only."""

    player_id: PlayerId
    context: dict[str, Any] | None = None


class FlagEvaluation(Struct):
    flag_key: str
    value: Any
    variant_key: str
    reason: Reason
    segment_id: str | None


def evaluation(flag: CompiledFlag, decision: Decision) -> FlagEvaluation:
    return FlagEvaluation(
        flag_key=flag.key,
        value=decision.variant.value,
        variant_key=decision.variant.key,
        reason=decision.reason,
        segment_id=decision.segment_id,
    )


class ExplainedEvaluation(FlagEvaluation):
    receipt: Receipt


def explained(flag: CompiledFlag, decision: Decision, receipt: Receipt) -> ExplainedEvaluation:
    return ExplainedEvaluation(
        flag_key=flag.key,
        value=decision.variant.value,
        variant_key=decision.variant.key,
        reason=decision.reason,
        segment_id=decision.segment_id,
        receipt=receipt,
    )
