"""Request and response bodies of the Feature Flags API."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from flags.engine.evaluation import CompiledFlag, Decision, Reason
from flags.engine.receipt import Receipt
from ilara_admin.api.json_schema import JSON_OBJECT, PlayerId, SentMoment
from segments.keys import KEY_PATTERN

FlagKey = Annotated[
    str, Meta(pattern=KEY_PATTERN, description="The key of a flag.", examples=["new_tutorial"])
]


VALUE = (
    "Of the flag's type: boolean, string, number or JSON. If any number of a flag has a fraction, "
    "all have one (5.0), so that every player gets the same type."
)
NO_VALUE = " Null if the variant has no value: use the default in your code."


class FlagQuery(Struct):
    explain: Annotated[
        Literal["true", "false"],
        Meta(
            description="`true` adds the receipt to the reply. Requires a secret key; without its "
            "scope `personal`, personal values are masked."
        ),
    ] = "false"
    at: (
        Annotated[
            SentMoment,
            Meta(
                description="Evaluates the flags and schedules of that time, past or future, for "
                "the current player data. Requires a secret key.",
            ),
        ]
        | None
    ) = None


class FlagEvaluate(Struct):
    player_id: PlayerId
    context: (
        Annotated[
            dict[str, Any],
            Meta(
                description="Overrides attributes of the player for this request.",
                extra_json_schema=JSON_OBJECT,
            ),
        ]
        | None
    ) = None


class FlagEvaluation(Struct):
    flag_key: str
    value: Annotated[Any, Meta(description=VALUE + NO_VALUE)]
    variant_key: str
    reason: Reason
    segment_id: Annotated[
        str | None, Meta(description="Null unless the reason is `segment_match`.")
    ]
    receipt: (
        Annotated[Receipt, Meta(description="With `?explain=true`: the result of each rule.")]
        | UnsetType
    ) = UNSET


class FlagEvaluations(Struct):
    player_id: PlayerId
    flags: Annotated[
        dict[str, FlagEvaluation],
        Meta(description="The evaluation of each flag that is not archived, by key."),
    ]


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
