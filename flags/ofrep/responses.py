"""The replies of OFREP, OpenFeature's remote evaluation protocol."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from flags.engine.document import EVERYBODY, MetadataValue
from flags.engine.evaluation import CompiledFlag, Decision, Reason
from flags.schemas import VALUE
from ilara_admin.api.enums import DocumentedEnum
from ilara_admin.api.json_schema import ref

NO_VALUE = " Left out if the variant has no value: the SDK then uses the default in your code."


class OfrepReason(DocumentedEnum):
    """The reasons that OpenFeature SDKs know."""

    DISABLED = "DISABLED", "The flag is off or archived, or a prerequisite failed."
    TARGETING_MATCH = "TARGETING_MATCH", "A rule without a percentage decided, or an override."
    SPLIT = "SPLIT", "A rule decided by percentage or split, that is, by the player's bucket."
    DEFAULT = (
        "DEFAULT",
        "The flag has rules, and none of them matched. OpenFeature defines this reason and its "
        "providers accept it, although OFREP 0.3.0 does not list it.",
    )
    STATIC = "STATIC", "The flag has no rules, so all players get the same."


class OfrepErrorCode(DocumentedEnum):
    """The error codes of OpenFeature that occur here."""

    PARSE_ERROR = "PARSE_ERROR", "The body cannot be read as a JSON object, or is empty."
    INVALID_CONTEXT = "INVALID_CONTEXT", "The context or its targetingKey is not valid."
    TARGETING_KEY_MISSING = (
        "TARGETING_KEY_MISSING",
        "The flag differs between players and the context has no targetingKey.",
    )
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND", "There is no flag with this key."


class OfrepFailure(Struct, omit_defaults=True):
    """An error as OFREP defines it. `errorCode` is set for 400 and 404, `key` when it is about one
    flag."""

    errorDetails: str
    errorCode: OfrepErrorCode | None = None
    key: str | None = None


class OfrepEvaluation(Struct, kw_only=True):
    """`metadata` has the flag's own pairs, its revision as `version` and the reason of /v1; where
    they apply, also the rule, the segment, the prerequisite and the player's bucket. `experiment`
    is the key of the running experiment that compares the player, so that a studio's own analysis
    can join; of several, the keys with commas between."""

    key: str
    reason: OfrepReason
    variant: str
    value: Annotated[Any, Meta(description=VALUE + NO_VALUE)] | UnsetType = UNSET
    metadata: dict[str, MetadataValue]


class OfrepEvaluations(Struct):
    """A flag that needs a targetingKey which is missing has a failure."""

    # msgspec has no union of structs without tags.
    flags: Annotated[
        list[Any],
        Meta(extra_json_schema={"items": {"anyOf": [ref(OfrepEvaluation), ref(OfrepFailure)]}}),
    ]


def success(
    flag: CompiledFlag, decision: Decision, fields: Mapping[str, MetadataValue] | None = None
) -> OfrepEvaluation:
    """The OFREP evaluation of a decision. `fields` are added to the metadata."""
    metadata: dict[str, MetadataValue] = {
        **flag.document.metadata,
        "version": flag.revision,
        "reason": decision.reason.value,
    }
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
        value=UNSET if decision.variant.value is None else decision.variant.value,
        metadata={**metadata, **(fields or {})},
    )


def with_bucket(success: bytes, bucket: int) -> bytes:
    """An encoded OfrepEvaluation with the bucket added to the metadata, its last field."""
    return success[:-2] + b',"bucket":%d}}' % bucket


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
    return bool(rule.split or rule.steps or rule.ramp or rule.group) or rule.rollout < EVERYBODY
