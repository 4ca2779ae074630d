"""The replies of OFREP, OpenFeature's remote evaluation protocol."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from flags.engine.document import EVERYBODY
from flags.engine.evaluation import CompiledFlag, Decision, Reason
from ilara_admin.api.enums import DocumentedEnum

type MetadataValue = bool | str | int | float


class OfrepReason(DocumentedEnum):
    """The reasons that OpenFeature SDKs know."""

    DISABLED = "DISABLED", "The flag is off or archived, or a prerequisite failed."
    TARGETING_MATCH = "TARGETING_MATCH", "A rule without a percentage decided, or an override."
    SPLIT = "SPLIT", "A rule decided by percentage or split, that is, by the player's bucket."
    DEFAULT = "DEFAULT", "The flag has rules, and none of them matched."
    STATIC = "STATIC", "The flag has no rules, so all players get the same."


class OfrepEvaluation(Struct):
    """`metadata` has the flag's revision as `version` and the reason of /v1; where they apply, also
    the rule, the segment, the prerequisite and the player's bucket."""

    key: str
    reason: OfrepReason
    variant: str
    value: Any
    metadata: dict[str, MetadataValue]


class OfrepEvaluations(Struct):
    flags: list[OfrepEvaluation]


def success(
    flag: CompiledFlag, decision: Decision, fields: Mapping[str, MetadataValue] | None = None
) -> OfrepEvaluation:
    """The OFREP evaluation of a decision. `fields` are added to the metadata."""
    metadata: dict[str, MetadataValue] = {"version": flag.revision, "reason": decision.reason.value}
    if decision.rule_index is not None:
        metadata["ruleId"] = flag.document.rules[decision.rule_index].id
    if decision.segment_id is not None:
        metadata["segmentId"] = decision.segment_id
    if decision.prerequisite is not None:
        metadata["prerequisite"] = decision.prerequisite
    return OfrepEvaluation(
        key=flag.key,
        reason=ofrep_reason(flag, decision),
        variant=decision.variant.key,
        value=decision.variant.value,
        metadata={**metadata, **(fields or {})},
    )


def ofrep_reason(flag: CompiledFlag, decision: Decision) -> OfrepReason:
    """The OpenFeature reason of a decision. It has none for a failed prerequisite, so that is
    DISABLED, too; the metadata has the reason of /v1."""
    match decision.reason:
        case Reason.DISABLED | Reason.PREREQUISITE_FAILED:
            return OfrepReason.DISABLED
        case Reason.OVERRIDE:
            return OfrepReason.TARGETING_MATCH
        case Reason.DEFAULT:
            return OfrepReason.DEFAULT if flag.rules else OfrepReason.STATIC
    by_bucket = is_by_bucket(flag, decision)
    return OfrepReason.SPLIT if by_bucket else OfrepReason.TARGETING_MATCH


def is_by_bucket(flag: CompiledFlag, decision: Decision) -> bool:
    """Whether the rule that decided has a percentage or a split."""
    if decision.rule_index is None:
        return False
    rule = flag.document.rules[decision.rule_index]
    return bool(rule.split or rule.steps or rule.ramp) or rule.rollout < EVERYBODY
