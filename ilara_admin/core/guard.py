"""Which changes of an environment need a reason, its name typed, or a second person. No Django.

Every change ends in `audit_record`, which asks this module; so a page, an undo, a copy, an import
and a job are all covered. Each app registers how its entries are read.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from ilara_admin.core.json_equality import identical

type AuditSide = Mapping[str, Any] | None


class Act(StrEnum):
    """What a change does to players or to the environment."""

    TURN_ON = "turn_on"
    PERCENTAGE = "percentage"
    RULES = "rules"
    SEGMENT_RULES = "segment_rules"
    LISTS = "lists"
    KEYS = "keys"
    SETTINGS = "settings"


# "live is guarded: turning flags on needs …"
ACT_WORDS: Mapping[Act, str] = {
    Act.TURN_ON: "turning flags on",
    Act.PERCENTAGE: "percentages",
    Act.RULES: "rules and variants of flags",
    Act.SEGMENT_RULES: "rules of segments",
    Act.LISTS: "lists of segments",
    Act.KEYS: "API keys",
    Act.SETTINGS: "settings",
}
NO_ACTS: frozenset[Act] = frozenset()


# --- The acts in a change -------------------------------------------------------------------------

# Takes an action, the fields before and after, and the whole object after the change, if known.
type ReadActs = Callable[[str, AuditSide, AuditSide, AuditSide], frozenset[Act]]
_readers: dict[str, ReadActs] = {}


def register_acts(object_type: str, read: ReadActs) -> None:
    """`read` returns the acts in an entry about objects of this type. Entries about other types
    have none."""
    _readers[object_type] = read


def is_guarded(object_type: str) -> bool:
    """Whether changes of objects of this type may have acts."""
    return object_type in _readers


def acts_of(
    action: str, before: AuditSide, after: AuditSide, whole: AuditSide = None
) -> frozenset[Act]:
    """The acts in a change. Without `whole`, what is not known counts as guarded."""
    read = _readers.get(action.partition(".")[0])
    return read(action, before, after, whole) if read else NO_ACTS


# --- The content of a change ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChangeItem:
    """A change that an audit entry would record.

    `whole` is the state of the object after the change, as far as it decides what players get. A
    new row has no id yet: then `object_id` is "". `environment` is None for what belongs to the
    whole project.
    """

    environment: int | None
    action: str
    object_id: str
    object_name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    whole: dict[str, Any] | None = None

    @property
    def object_type(self) -> str:
        return self.action.partition(".")[0]

    @property
    def target(self) -> tuple[int | None, str, str]:
        return self.environment, self.object_type, self.object_id or self.object_name

    @property
    def acts(self) -> frozenset[Act]:
        return acts_of(self.action, self.before, self.after, self.whole)

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ChangeItem.__slots__}

    def changes_the_same(self, other: "ChangeItem") -> bool:
        """Whether both have the same content. Names that are only shown may differ."""
        return all(
            identical(getattr(self, name), getattr(other, name))
            for name in ChangeItem.__slots__
            if name != "object_name"
        )


def plain(value: Any) -> Any:
    """The value as it is read from a JSON column."""
    return json.loads(json.dumps(value))


def whole_before(item: ChangeItem) -> dict[str, Any] | None:
    """The state of the object before the change, None if there was none or it is not known."""
    if item.whole is None or item.before is None:
        return None
    kept = {name: value for name, value in item.whole.items() if name not in (item.after or {})}
    known = item.whole.keys() | _removed(item)
    return {**kept, **{name: value for name, value in item.before.items() if name in known}}


def _removed(item: ChangeItem) -> set[str]:
    return set(item.before or {}) - set(item.after or {})


def fingerprint(environment: int, items: Iterable[ChangeItem]) -> str:
    """SHA-256, as 64 hexadecimal digits, of what changes and what it changes."""
    content = [environment, *(item.as_json() for item in items)]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class NotApprovedError(Exception):
    """The change about to be made is not the approved one. `approved` is None if it is one more."""

    def __init__(self, made: ChangeItem, approved: ChangeItem | None) -> None:
        super().__init__(f"{made.object_name}: this is not what was approved.")
        self.made, self.approved = made, approved


@dataclass(slots=True)
class ApprovedChange:
    """The items of an approved request, in the order in which they must be made."""

    request_id: int
    items: Sequence[ChangeItem]
    done: int = 0

    def take(self, made: ChangeItem) -> None:
        """Raise NotApprovedError unless `made` is the next item."""
        approved = self.items[self.done] if self.done < len(self.items) else None
        if approved is None or not approved.changes_the_same(made):
            raise NotApprovedError(made, approved)
        self.done += 1


# --- What is needed -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Freeze:
    """From `starts_at` until `ends_at` an environment takes no changes."""

    starts_at: datetime
    ends_at: datetime
    reason: str = ""

    def covers(self, now: datetime) -> bool:
        return self.starts_at <= now < self.ends_at


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """The acts that need a reason, one of `names` typed, or a second person."""

    reason: frozenset[Act] = NO_ACTS
    name: frozenset[Act] = NO_ACTS
    approval: frozenset[Act] = NO_ACTS
    names: frozenset[str] = frozenset()
    freezes: tuple[Freeze, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """What an audit entry says of the guard: that the change went around it, or the request."""

    break_glass: bool = False
    request_id: int | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """What is still needed for `acts`. False if nothing is."""

    acts: frozenset[Act] = NO_ACTS
    reason: bool = False
    name: bool = False
    approval: bool = False
    freeze: Freeze | None = None

    def __bool__(self) -> bool:
        return self.reason or self.name or self.approval or self.freeze is not None

    def __or__(self, other: "Missing") -> "Missing":
        return Missing(
            self.acts | other.acts,
            self.reason or other.reason,
            self.name or other.name,
            self.approval or other.approval,
            self.freeze or other.freeze,
        )


@dataclass(frozen=True, slots=True)
class Collected:
    """A change that a request would make, and what it would need."""

    item: ChangeItem
    missing: Missing


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the actor of a change has confirmed.

    `reason` and `name` were typed; a reason of None is that of the audit entry. With `settled` the
    change needs nothing: a rollout's guard made it, or it was confirmed when it began. `approved`
    allows exactly the changes of a request. With `collecting` nothing is refused: all changes are
    gathered there, and the caller rolls them back.
    """

    reason: str | None = None
    name: str = ""
    break_glass: bool = False
    settled: Mark | None = None
    approved: ApprovedChange | None = None
    collecting: list[Collected] | None = field(default=None, compare=False)


def missing(
    policy: GuardPolicy, acts: frozenset[Act], confirmation: Confirmation, now: datetime
) -> Missing:
    """What is still needed for a change with these acts."""
    if confirmation.settled is not None or not acts:
        return Missing()
    has_reason = bool((confirmation.reason or "").strip())
    approved = confirmation.approved is not None
    freeze = next((each for each in policy.freezes if each.covers(now)), None)
    needed = Missing(
        acts if freeze else acts & (policy.reason | policy.name | policy.approval),
        reason=not approved and bool(acts & policy.reason) and not has_reason,
        name=not approved and bool(acts & policy.name) and confirmation.name not in policy.names,
        approval=not approved and bool(acts & policy.approval),
        freeze=freeze,
    )
    if needed and confirmation.break_glass:
        return Missing(needed.acts, reason=not has_reason)
    return needed


def breaks_glass(
    policy: GuardPolicy, acts: frozenset[Act], confirmation: Confirmation, now: datetime
) -> bool:
    """Whether the change goes around something that the guard would need."""
    if not confirmation.break_glass:
        return False
    without = Confirmation(confirmation.reason, confirmation.name, approved=confirmation.approved)
    return bool(missing(policy, acts, without, now))


class GuardRequired(Exception):  # no fault: the view asks for what is missing
    """A change needs more than was confirmed. Nothing was changed. `environment` is its slug."""

    def __init__(self, environment: str, lacking: Missing) -> None:
        super().__init__(sentence(environment, lacking))
        self.environment, self.missing = environment, lacking


def words_of(acts: Iterable[Act]) -> str:
    """`turning flags on, percentages`, in the order of Act."""
    wanted = set(acts)
    return ", ".join(ACT_WORDS[act] for act in Act if act in wanted)


def sentence(environment: str, lacking: Missing) -> str:
    """What is missing, as sentences."""
    if lacking.freeze:
        until = f"{lacking.freeze.ends_at:%Y-%m-%d %H:%M %Z}".strip()
        why = f": {lacking.freeze.reason}" if lacking.freeze.reason else ""
        return f"{environment} is frozen until {until}{why}. Only admins can break glass."
    needs = [
        text
        for text, is_needed in (
            ("a reason", lacking.reason),
            (f"the name {environment} typed", lacking.name),
            ("a second person", lacking.approval),
        )
        if is_needed
    ]
    return f"{environment} is guarded: {words_of(lacking.acts)} need {' and '.join(needs)}."
