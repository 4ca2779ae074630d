"""What the Feature Flags API takes and gives."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from flags.evaluation import CompiledFlag, Decision, Reason
from flags.receipt import Receipt
from ilara_admin.json_schema import JSON_OBJECT, PlayerId, SentMoment
from segments.keys import KEY_PATTERN

FlagKey = Annotated[
    str, Meta(pattern=KEY_PATTERN, description="The key of a flag.", examples=["new_tutorial"])
]


class FlagQuery(Struct):
    explain: Annotated[
        Literal["true", "false"],
        Meta(description="`true` adds the receipt to the answer. Needs a secret key."),
    ] = "false"
    at: (
        Annotated[
            SentMoment,
            Meta(
                description="Asks with the flags and schedules of that time, past or to come, and "
                "the player of now. Needs a secret key.",
            ),
        ]
        | None
    ) = None


class FlagEvaluate(Struct):
    """`context` overrides attributes of the player for this call only."""

    player_id: PlayerId
    context: Annotated[dict[str, Any], Meta(extra_json_schema=JSON_OBJECT)] | None = None


class FlagEvaluation(Struct):
    """`segment_id` is null unless the reason is `segment_match`; `receipt` is there when it was
    asked for."""

    flag_key: str
    value: Any
    variant_key: str
    reason: Reason
    segment_id: str | None
    receipt: Receipt | UnsetType = UNSET


class FlagEvaluations(Struct):
    """`flags` has one evaluation for each flag that is not archived, by its key."""

    player_id: PlayerId
    flags: dict[str, FlagEvaluation]


def evaluation(
    flag: CompiledFlag, decision: Decision, receipt: Receipt | UnsetType = UNSET
) -> FlagEvaluation:
    return FlagEvaluation(
        flag_key=flag.key,
        value=decision.variant.value,
        variant_key=decision.variant.key,
        reason=decision.reason,
        segment_id=decision.segment_id,
        receipt=receipt,
    )
