"""The flag document, as stored in a revision and as imported and exported.

    {"value_type": "boolean", "enabled": true,
     "variants": [{"key": "enabled", "value": true}, {"key": "disabled", "value": false}],
     "rules": [{"id": "r1", "segment": "beta-testers", "variant": "enabled", "rollout": 100000}],
     "default": "disabled", "off": "disabled", "metadata": {"team": "growth"}}

Percentages are integers in thousandths of a percent, so 100000 is everyone. A split stores the
slices of the bucket range 0..99999 of each variant instead of weights, so that re-weighting moves
the fewest players. Times are stored in RFC 3339 and read as core/times.py does. Imports no Django.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from math import isfinite
from typing import Annotated, Any

import msgspec

from ilara_admin.core.path_error import PathError
from ilara_admin.core.structs import converter
from ilara_admin.core.times import EXAMPLE, read_time
from segments.language.parser import NOT_IN_TEXT, RuleError, parse

EVERYBODY = 100_000
MAX_STEPS = 50
MAX_METADATA = 20
MAX_METADATA_TEXT = 500
MAX_METADATA_NUMBER = 2**53  # exact in every language
METADATA_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")
METADATA_KEY_FORM = (
    "Use 1 to 64 letters, digits and _ . : / - in a key; begin with a letter or digit."
)
# What OFREP says of the evaluation itself, in the same object.
OWN_METADATA = ("version", "reason", "ruleId", "segmentId", "prerequisite", "bucket")
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)

type MetadataValue = bool | str | int | float
type Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class ValueType(StrEnum):
    BOOLEAN = "boolean"
    STRING = "string"
    NUMBER = "number"
    JSON = "json"


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A `value` of None is no value: games use the default in their code. A boolean flag always has
    values."""

    key: str
    value: Any
    name: str = ""


class Slice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The buckets `start <= b < end` belong to `variant`."""

    variant: str
    start: int
    end: int


class ScheduleStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From `at` on, the percentage of the rule is `rollout`."""

    at: Moment
    rollout: int


class Ramp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The percentage of the rule changes linearly from `from` to `to` between `start` and `end`."""

    from_: int = msgspec.field(name="from")
    to: int
    start: Moment
    end: Moment


class RuleGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule matches only players whose bucket of the experiment group `key` is in
    `start <= b < end`; bucketing.in_group computes it with the group's `salt`."""

    key: str
    salt: str
    start: int
    end: int


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Serves `variant` or `split` (exactly one is set) to `rollout` of the players that match both
    `segment` and `conditions`, a rule as segments/language/parser.py reads it.

    `rollout` applies until the first of `steps`; with a `ramp` it is left out. Before `start` and
    from `end` on the rule matches no players. An experiment in a group sets `group`.
    """

    id: str
    name: str = ""
    segment: str | None = None
    conditions: dict[str, Any] | None = None
    variant: str | None = None
    split: tuple[Slice, ...] | None = None
    rollout: int = EVERYBODY
    steps: tuple[ScheduleStep, ...] = ()
    ramp: Ramp | None = None
    start: Moment | None = None
    end: Moment | None = None
    group: RuleGroup | None = None


class Prerequisite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The other flag must serve the player one of these variants, or this flag counts as off."""

    flag: str
    variants: tuple[str, ...]


class FlagDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`metadata` is for games: OFREP hands it out with each evaluation."""

    value_type: ValueType
    variants: tuple[Variant, ...]
    default: str
    off: str
    enabled: bool = False
    rules: tuple[Rule, ...] = ()
    prerequisites: tuple[Prerequisite, ...] = ()
    metadata: dict[str, MetadataValue] = {}

    def variant(self, key: str) -> Variant:
        return next(variant for variant in self.variants if variant.key == key)

    def with_group(self, rule_id: str, group: RuleGroup | None) -> "FlagDocument":
        """The document with one rule limited to buckets of a group, or no longer limited."""
        rules = tuple(
            msgspec.structs.replace(rule, group=group) if rule.id == rule_id else rule
            for rule in self.rules
        )
        return msgspec.structs.replace(self, rules=rules)

    def without_groups(self) -> "FlagDocument":
        """The document for a flag that no experiment measures."""
        rules = tuple(msgspec.structs.replace(rule, group=None) for rule in self.rules)
        return msgspec.structs.replace(self, rules=rules)

    def with_rollout(self, rule_id: str, rollout: int) -> "FlagDocument":
        """The document with a fixed percentage for one rule; removes its steps and ramp."""
        rules = tuple(
            msgspec.structs.replace(rule, rollout=rollout, steps=(), ramp=None)
            if rule.id == rule_id
            else rule
            for rule in self.rules
        )
        return msgspec.structs.replace(self, rules=rules)


BOOLEAN_VARIANTS = (Variant(key="enabled", value=True), Variant(key="disabled", value=False))


class DocumentError(PathError):
    """A flag document that cannot be served."""


_to_document, _to_prerequisite = converter(FlagDocument), converter(Prerequisite)


def decode_document(data: Any) -> FlagDocument:
    """Read a document from plain JSON data. Raises DocumentError if its shape is wrong."""
    try:
        document: FlagDocument = _to_document(_with_times(data, "rules"))
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        if "datetime" in message:
            message = f"This must be a time like {EXAMPLE}."
        raise DocumentError(path.rstrip("`"), message) from None
    return document


def _with_times(data: Any, *inside: str) -> Any:
    """The data with the times of rules read, also those that msgspec would not accept."""
    if isinstance(data, list):
        return [_with_times(item, "steps", "ramp") for item in data]
    if not isinstance(data, dict):
        return data
    read = {name: _with_times(data[name], "steps", "ramp") for name in inside if name in data}
    for name in ("start", "end", "at"):
        if isinstance(data.get(name), str):
            read[name] = read_time(data[name]) or data[name]
    return data | read


def encode_document(document: FlagDocument) -> dict[str, Any]:
    """The document as plain JSON data in canonical form: times in UTC, defaults of rules and empty
    metadata left out."""
    canonical = msgspec.structs.replace(document, rules=tuple(map(_in_utc, document.rules)))
    # The round trip turns tuples into lists, as the database returns them.
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(canonical))
    if not data["metadata"]:
        del data["metadata"]
    for rule in data["rules"]:
        # msgspec compares defaults by identity, not by equality.
        if rule.get("rollout") == EVERYBODY:
            del rule["rollout"]
    return data


def _in_utc(rule: Rule) -> Rule:
    def utc(moment: datetime) -> datetime:
        return moment.astimezone(UTC)

    replace = msgspec.structs.replace
    ramp = rule.ramp and replace(rule.ramp, start=utc(rule.ramp.start), end=utc(rule.ramp.end))
    return replace(
        rule,
        steps=tuple(replace(step, at=utc(step.at)) for step in rule.steps),
        ramp=ramp,
        start=rule.start and utc(rule.start),
        end=rule.end and utc(rule.end),
    )


def boolean_document(*, enabled: bool = False, rules: tuple[Rule, ...] = ()) -> FlagDocument:
    """A boolean flag, with the two variants that each boolean flag has."""
    return FlagDocument(
        value_type=ValueType.BOOLEAN,
        variants=BOOLEAN_VARIANTS,
        default="disabled",
        off="disabled",
        enabled=enabled,
        rules=rules,
    )


def _storable(value: Any) -> bool:
    """Whether PostgreSQL can store this JSON value: Python accepts more."""
    match value:
        case str():
            return NOT_IN_TEXT.search(value) is None
        case float():
            return isfinite(value)
        case dict():
            return all(_storable(key) and _storable(item) for key, item in value.items())
        case list():
            return all(_storable(item) for item in value)
    return True


def _value_fits(value_type: ValueType, value: Any) -> bool:
    if value is None:
        return value_type is not ValueType.BOOLEAN
    match value_type:
        case ValueType.BOOLEAN:
            return isinstance(value, bool)
        case ValueType.STRING:
            return isinstance(value, str)
        case ValueType.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ValueType.JSON:
            return isinstance(value, dict | list)


def _check_split(path: str, split: tuple[Slice, ...], keys: set[str]) -> None:
    position = 0
    for part in sorted(split, key=lambda part: part.start):
        if part.variant not in keys:
            raise DocumentError(path, f"There is no variant {part.variant!r}.")
        if part.start != position or part.end <= part.start:
            raise DocumentError(path, "The slices must cover 0 to 100000 without gap or overlap.")
        position = part.end
    if position != EVERYBODY:
        raise DocumentError(path, "The weights must add up to 100 %.")


def _check_percentage(path: str, rollout: int) -> None:
    if not 0 <= rollout <= EVERYBODY:
        raise DocumentError(path, "The percentage must lie between 0 and 100.")


def _check_period(path: str, start: datetime | None, end: datetime | None) -> None:
    for name, moment in (("start", start), ("end", end)):
        if moment is not None and not EARLIEST <= moment < LATEST:
            raise DocumentError(f"{path}.{name}", "The time must lie between 1970 and 2099.")
    if start is not None and end is not None and end <= start:
        raise DocumentError(f"{path}.end", "The end must come after the start.")


def _check_schedule(path: str, rule: Rule) -> None:
    _check_period(path, rule.start, rule.end)
    if rule.steps and rule.ramp:
        raise DocumentError(path, "Use steps or a ramp, not both.")
    if len(rule.steps) > MAX_STEPS:
        raise DocumentError(f"{path}.steps", f"A schedule has {MAX_STEPS} steps at most.")
    for index, step in enumerate(rule.steps):
        _check_percentage(f"{path}.steps[{index}].rollout", step.rollout)
        if not EARLIEST <= step.at < LATEST:
            raise DocumentError(f"{path}.steps[{index}].at", "It must lie between 1970 and 2099.")
    if any(later.at <= step.at for step, later in pairwise(rule.steps)):
        raise DocumentError(f"{path}.steps", "Each step must come after the one before.")
    if rule.ramp:
        _check_percentage(f"{path}.ramp.from", rule.ramp.from_)
        _check_percentage(f"{path}.ramp.to", rule.ramp.to)
        _check_period(f"{path}.ramp", rule.ramp.start, rule.ramp.end)
        if rule.rollout != EVERYBODY:
            raise DocumentError(f"{path}.rollout", "Leave the percentage out if there is a ramp.")


def _check_group(path: str, group: RuleGroup) -> None:
    if not 0 <= group.start < group.end <= EVERYBODY:
        raise DocumentError(path, "The range must lie between 0 and 100000 and not be empty.")
    if not group.key or not group.salt:
        raise DocumentError(path, "Give the key and the salt of the group.")


def check_metadata(metadata: Mapping[str, MetadataValue]) -> None:
    """Raise DocumentError for metadata that OFREP cannot hand out."""
    if len(metadata) > MAX_METADATA:
        raise DocumentError("metadata", f"A flag has {MAX_METADATA} pairs of metadata at most.")
    for key, value in metadata.items():
        path = f"metadata.{key}"
        if not METADATA_KEY.fullmatch(key):
            raise DocumentError(path, METADATA_KEY_FORM)
        if key in OWN_METADATA:
            raise DocumentError(
                path, "OFREP uses this key for the evaluation itself. Choose another."
            )
        if not _storable(value):
            raise DocumentError(path, "It must not hold NUL, lone surrogates, NaN or Infinity.")
        if isinstance(value, str):
            if len(value) > MAX_METADATA_TEXT:
                raise DocumentError(
                    path, f"A text of metadata has {MAX_METADATA_TEXT} characters at most."
                )
        elif abs(value) > MAX_METADATA_NUMBER:
            raise DocumentError(path, "A number of metadata lies between -2^53 and 2^53.")


def check_document(document: FlagDocument) -> None:
    """Raise DocumentError if a value or a reference inside the document is invalid."""
    keys = [variant.key for variant in document.variants]
    if len(set(keys)) != len(keys):
        raise DocumentError("variants", "Two variants have the same key.")
    if not keys:
        raise DocumentError("variants", "A flag needs at least one variant.")
    if document.value_type is ValueType.BOOLEAN and set(keys) != {"enabled", "disabled"}:
        raise DocumentError("variants", "A boolean flag has the variants enabled and disabled.")
    for index, variant in enumerate(document.variants):
        path = f"variants[{index}]"
        if not 1 <= len(variant.key) <= 128:
            raise DocumentError(f"{path}.key", "A variant's key has 1 to 128 characters.")
        if not _value_fits(document.value_type, variant.value):
            raise DocumentError(f"{path}.value", f"The value must be a {document.value_type}.")
        if not _storable(variant.value):
            raise DocumentError(
                f"{path}.value", "The value must not hold NUL, lone surrogates, NaN or Infinity."
            )
    for field in ("default", "off"):
        if getattr(document, field) not in keys:
            raise DocumentError(field, f"There is no variant {getattr(document, field)!r}.")
    rule_ids = [rule.id for rule in document.rules]
    if len(set(rule_ids)) != len(rule_ids):
        raise DocumentError("rules", "Two rules have the same id.")
    for index, rule in enumerate(document.rules):
        path = f"rules[{index}]"
        _check_percentage(f"{path}.rollout", rule.rollout)
        _check_schedule(path, rule)
        if rule.group is not None:
            _check_group(f"{path}.group", rule.group)
        if (rule.variant is None) == (rule.split is None):
            raise DocumentError(path, "A rule serves one variant or a split, not both or neither.")
        if rule.variant is not None and rule.variant not in keys:
            raise DocumentError(f"{path}.variant", f"There is no variant {rule.variant!r}.")
        if rule.split is not None:
            _check_split(f"{path}.split", rule.split, set(keys))
    needed = [item.flag for item in document.prerequisites]
    if len(set(needed)) != len(needed):
        raise DocumentError(
            "prerequisites", "Two prerequisites name the same flag. Combine their variants."
        )
    for index, item in enumerate(document.prerequisites):
        if not item.variants:
            raise DocumentError(f"prerequisites[{index}].variants", "Name at least one variant.")
    check_metadata(document.metadata)


def check_rules(document: FlagDocument) -> None:
    """Raise DocumentError for conditions that cannot be read."""
    for index, rule in enumerate(document.rules):
        if rule.conditions is not None:
            try:
                parse(rule.conditions)
            except RuleError as error:
                at = error.below(f"rules[{index}].conditions")
                raise DocumentError(at.path, at.message) from None


def read_document(data: Any) -> FlagDocument:
    """Read and check a stored document. Raises DocumentError."""
    document = decode_document(data)
    check_document(document)
    check_rules(document)
    return document


def variant_keys(data: Any) -> set[str]:
    """The variant keys of a stored document, as far as it can be read."""
    return {item["key"] for item in _items(data, "variants") if isinstance(item.get("key"), str)}


def prerequisites_in(data: Any) -> list[Prerequisite]:
    """The prerequisites of a stored document, as far as it can be read."""
    found = []
    for item in _items(data, "prerequisites"):
        with suppress(msgspec.ValidationError):
            found.append(_to_prerequisite(item))
    return found


def _items(data: Any, name: str) -> list[dict[str, Any]]:
    items = data.get(name) if isinstance(data, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
