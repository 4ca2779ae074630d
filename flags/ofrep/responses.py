"""What OFREP, OpenFeature's remote evaluation protocol, says of a decision."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from flags.engine.document import EVERYBODY
from flags.engine.evaluation import CompiledFlag, Decision, Reason
from ilara_admin.api.enums import DocumentedEnum

type MetadataValue = bool | str | int | float


class OfrepReason(DocumentedEnum):
    """The reasons of OpenFeature, of which its SDKs know no others."""

    DISABLED = "DISABLED", "The flag is off or archived, or another one that it needs says no."
    TARGETING_MATCH = "TARGETING_MATCH", "A rule decided for everybody it is about, or staff did."
    SPLIT = "SPLIT", "A rule decided by a percentage or a split: the bucket of the player."
    DEFAULT = "DEFAULT", "The flag has rules, and none of them matched."
    STATIC = "STATIC", "The flag has no rules: everybody gets the same."


class OfrepEvaluation(Struct):
    """`metadata` holds the flag's revision as `version` and the reason of /v1; where they matter,
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
    """`fields` go into the metadata, beside the revision and our own reason."""
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
    """The decision in OpenFeature's words. Clients know no others, so a flag that waits for another
    one is disabled, too; the metadata tell the two apart."""
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
    """Whether a percentage or a split took part in the rule that decided."""
    if decision.rule_index is None:
        return False
    rule = flag.document.rules[decision.rule_index]
    return bool(rule.split or rule.steps or rule.ramp) or rule.rollout < EVERYBODY
