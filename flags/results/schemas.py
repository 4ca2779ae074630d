"""The reply of the results of an experiment."""

from datetime import date
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from flags.results.outcome import ResultVerdict
from ilara_admin.api.enums import DocumentedEnum
from ilara_admin.api.json_schema import Moment
from segments.keys import KEY_PATTERN

ExperimentKey = Annotated[
    str,
    Meta(pattern=KEY_PATTERN, description="The key of an experiment.", examples=["bigger-button"]),
]


class ResultsQuery(Struct):
    by_day: Annotated[
        Literal["true", "false"],
        Meta(description="`true` adds the `days` of each metric to the reply."),
    ] = "false"


class ResultDimension(DocumentedEnum):
    STAGE = "stage", "The lifecycle stage at the exposure."
    PAYER = "payer", "Whether the player had paid: `yes` or `no`."
    COUNTRY = "country", "The attribute `country`."
    PLATFORM = "platform", "The attribute `platform`."


class ResultRole(DocumentedEnum):
    PRIMARY = "primary", "The metric that decides."
    GUARD = "guard", "Must not become worse than its tolerance."
    SECONDARY = "secondary", "Shown beside the others."


class ResultKind(DocumentedEnum):
    EXPERIMENT = "experiment", "Compares the variants of a rule."
    ROLLOUT = "rollout", "A guarded rollout: watches a percentage."


class ResultState(DocumentedEnum):
    DRAFT = "draft", "Not started."
    RUNNING = "running", "Exposures are recorded."
    STOPPED = "stopped", "Ended without a decision."
    DECIDED = "decided", "Ended with a decision."


class ResultDirection(DocumentedEnum):
    UP = "up", "Higher is better."
    DOWN = "down", "Lower is better."


class ResultDecision(DocumentedEnum):
    SHIP = "ship", "`decided_variant` was given to all players that match the rule."
    STOP = "stop", "No variant was shipped."


class RatioPlace(Struct):
    dimension: ResultDimension
    group: str
    players: dict[str, int]
    p_value: float


class SampleRatio(Struct):
    p_value: Annotated[
        float | None, Meta(description="Null if there are too few players to check.")
    ]
    trusted: Annotated[
        bool,
        Meta(description="False below a p-value of 0.001: do not trust the results."),
    ]
    places: Annotated[
        list[RatioPlace],
        Meta(description="Groups of players in which the numbers are out of proportion."),
    ]


class LeftOut(Struct):
    overridden: Annotated[int, Meta(description="Players whose variant an override decided.")]
    two_variants: Annotated[int, Meta(description="Players who saw two variants.")]
    outside_population: Annotated[int, Meta(description="Players who are not in the population.")]


class VariantFigures(Struct):
    """Of the control, `lift` and its limits are null."""

    variant: str
    players: Annotated[int, Meta(description="Those who have a value of the metric.")]
    mean: float
    lift: Annotated[
        float | None, Meta(description="The change relative to the control: 0.05 is 5 %.")
    ]
    low: Annotated[float | None, Meta(description="The lower limit of its always-valid interval.")]
    high: Annotated[
        float | None, Meta(description="The upper limit. Null with a `low` if there is none.")
    ]


class VariantResult(VariantFigures):
    """Of the control, `lift`, its limits and `verdict` are null."""

    p_value: Annotated[
        float | None,
        Meta(
            description="Always valid, as the interval, and adjusted for the number of variants: "
            "compare it with 0.05."
        ),
    ]
    adjusted: Annotated[
        bool,
        Meta(description="Whether values in the 14 days before the exposure are used (CUPED)."),
    ]
    verdict: ResultVerdict | None


class DayResult(Struct):
    """The results as of the end of a day, with all players since the start of the phase."""

    day: Annotated[date, Meta(description="In UTC. The newest is as of `computed_at`.")]
    variants: Annotated[list[VariantFigures], Meta(description="The control first.")]


class MetricResult(Struct):
    metric: str
    name: str
    role: ResultRole
    kind: str
    unit: Annotated[str, Meta(description="`%` for shares, whose means are from 0 to 1.")]
    direction: Annotated[ResultDirection, Meta(description="Which way is good.")]
    tolerance: Annotated[
        float | None, Meta(description="Of a guard: the worst change that is tolerable.")
    ]
    window_days: Annotated[
        int | None, Meta(description="Days after the exposure that count; null: all.")
    ]
    level: Annotated[
        float,
        Meta(
            description="Of each interval: 0.95 with one variant beside the control. With more it "
            "is 1 - 0.05 / their number (Bonferroni), so that of all experiments without a "
            "difference at most 5 % ever call one by the metric. That of a guard is always 0.95: "
            "a false alarm is the safer error.",
            examples=[0.95],
        ),
    ]
    variants: Annotated[list[VariantResult], Meta(description="The control first.")]
    days: (
        Annotated[
            list[DayResult],
            Meta(description="With `?by_day=true`: those of the phase with results, oldest first."),
        ]
        | UnsetType
    ) = UNSET


class ExperimentResults(Struct):
    experiment: str
    name: str
    flag_key: str
    kind: ResultKind
    state: ResultState
    control: str
    phase: Annotated[
        int, Meta(description="Counted from 1. A change of the split begins a new one.")
    ]
    phase_at: Annotated[Moment | None, Meta(description="When the phase began.")]
    ended_at: Moment | None
    decision: Annotated[
        ResultDecision | None, Meta(description="Null unless the state is `decided`.")
    ]
    decided_variant: str
    computed_at: Annotated[
        Moment | None, Meta(description="As of when the results are. Null if there are none yet.")
    ]
    players: Annotated[dict[str, int], Meta(description="Players who count, by variant.")]
    left_out: LeftOut
    sample_ratio: SampleRatio
    metrics: Annotated[
        list[MetricResult], Meta(description="The primary metric, then guards, then others.")
    ]
