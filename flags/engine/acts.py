"""The guarded acts in a change of a flag, from its audit entry. Imports no Django."""

from collections.abc import Mapping, Sequence
from typing import Any

from ilara_admin.core.guard import NO_ACTS, Act, AuditSide
from ilara_admin.core.json_equality import identical

# What a single player gets is not guarded, and a flag can be deleted on its first day only.
FREE = frozenset({"flag.deleted", "flag.overridden", "flag.override_removed"})
# What only staff see, and when the flag will be archived.
DETAILS = frozenset(
    {"name", "description", "owner", "expected_end", "tags", "links", "_archived_at", "archives_at"}
)
PERCENTAGE = frozenset({"rollout", "steps", "ramp"})
RULES = frozenset({Act.RULES})


def flag_acts(action: str, before: AuditSide, after: AuditSide, whole: AuditSide) -> frozenset[Act]:
    """The acts in a change. A flag that is off counts as one that is on: what is set now is served
    once it is turned on. Turning off and archiving are no acts."""
    if action in FREE:
        return NO_ACTS
    old, new = before or {}, after or {}
    if action == "flag.created":
        return _created(new)
    found: set[Act] = set()
    for name in (old.keys() | new.keys()) - DETAILS:
        found |= _changed(name, old.get(name), new.get(name), whole)
    return frozenset(found)


def _created(document: Mapping[str, Any]) -> frozenset[Act]:
    """A new flag that is off and has no rules does nothing."""
    if document.get("enabled") is not False:
        return RULES | {Act.TURN_ON}
    return RULES if document.get("rules") or document.get("prerequisites") else NO_ACTS


def _changed(name: str, old: Any, new: Any, whole: AuditSide) -> frozenset[Act]:
    match name:
        case "enabled":
            return NO_ACTS if new is False else frozenset({Act.TURN_ON})
        case "archived":
            # An unarchived flag serves again if it is on.
            is_off = new is True or (whole is not None and whole.get("enabled") is False)
            return NO_ACTS if is_off else frozenset({Act.TURN_ON})
        case "rules":
            return _rules(old, new)
        case "variants":
            return NO_ACTS if identical(_unnamed(old), _unnamed(new)) else RULES
    return RULES


def _rules(old: Any, new: Any) -> frozenset[Act]:
    """Percentages if the same rules in the same order differ only in these."""
    old_rules, new_rules = _unnamed(old or []), _unnamed(new or [])
    if not _readable(old_rules) or not _readable(new_rules):
        return RULES
    found: set[Act] = set()
    if not identical(
        [_audience(rule) for rule in old_rules], [_audience(rule) for rule in new_rules]
    ):
        found.add(Act.RULES)
    shares = [{rule.get("id"): _shares(rule) for rule in side} for side in (old_rules, new_rules)]
    both = shares[0].keys() & shares[1].keys()
    if any(not identical(shares[0][each], shares[1][each]) for each in both):
        found.add(Act.PERCENTAGE)
    return frozenset(found)


def _readable(rules: Any) -> bool:
    return isinstance(rules, list) and all(
        isinstance(rule, dict) and isinstance(rule.get("id"), str) for rule in rules
    )


def _unnamed(items: Any) -> Any:
    """Rules or variants without their names, which only staff see."""
    if not isinstance(items, list):
        return items
    return [
        {name: part for name, part in each.items() if name != "name"}
        if isinstance(each, dict)
        else each
        for each in items
    ]


def _audience(rule: Mapping[str, Any]) -> dict[str, Any]:
    """The rule without its percentages: the split as the variants in it."""
    found = {name: part for name, part in rule.items() if name not in PERCENTAGE}
    if isinstance(rule.get("split"), list):
        found["split"] = sorted(set(map(_variant, rule["split"])))
    return found


def _variant(part: Any) -> str:
    return str(part.get("variant")) if isinstance(part, dict) else str(part)


def _shares(rule: Mapping[str, Any]) -> Sequence[Any]:
    return [rule.get(name) for name in (*sorted(PERCENTAGE), "split")]
