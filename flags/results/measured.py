"""What an experiment measures of a flag: a rule, as stored. Imports no Django."""

from collections.abc import Mapping
from typing import Any

from flags.engine.bucketing import weights_of
from flags.engine.document import EVERYBODY, FlagDocument, Rule
from flags.engine.schedule import ceiling
from ilara_admin.core.json_equality import identical


def rule_of(document: FlagDocument, rule_id: str) -> Rule | None:
    return next((rule for rule in document.rules if rule.id == rule_id), None)


def arms_of(rule: Rule, control: str) -> tuple[str, ...]:
    """The variants that are compared, with the control first."""
    served = weights_of(rule.split) if rule.split else {rule.variant or "": EVERYBODY}
    others = [variant for variant, weight in served.items() if weight and variant != control]
    return (control, *others)


def measures_alike(one: Any, other: Any, rule_id: str) -> bool:
    """Whether the rule serves the same values to the same players in two stored documents, so that
    their results can be added. Names do not count."""
    return identical(_measured(one, rule_id), _measured(other, rule_id))


def has_rule(document: Any, rule_id: str) -> bool:
    """Whether a stored document, which may be unreadable, has the rule."""
    return _measured(document, rule_id) is not None


def _measured(document: Any, rule_id: str) -> dict[str, Any] | None:
    """The rule without its name, and the values of the variants that are compared. Without a split
    those are all, with the default: players outside the percentage may get any."""
    rule = next((each for each in _items(document, "rules") if each.get("id") == rule_id), None)
    if rule is None:
        return None
    served = {part.get("variant") for part in _items(rule, "split")}
    values = {
        str(each.get("key")): each.get("value")
        for each in _items(document, "variants")
        if not served or each.get("key") in served
    }
    default = None if served else document.get("default")
    kept = {key: rule[key] for key in rule if key != "name"}
    return {"rule": kept, "values": values, "default": default}


def rules_until(document: Any, rule_id: str) -> list[Mapping[str, Any]]:
    """The rules of a stored document up to this one, which decide who comes to it."""
    found = []
    for rule in _items(document, "rules"):
        found.append(rule)
        if rule.get("id") == rule_id:
            break
    return found


def reached_alike(one: Any, other: Any, rule_id: str) -> bool:
    """Whether the same players come to the rule in two stored documents, if the segments and flags
    that they name are the same. Names of rules do not count."""
    return identical(_above(one, rule_id), _above(other, rule_id))


def _above(document: Any, rule_id: str) -> dict[str, Any]:
    rules = [
        {key: rule[key] for key in rule if key != "name"}
        for rule in rules_until(document, rule_id)
        if rule.get("id") != rule_id
    ]
    return {"rules": rules, "prerequisites": _items(document, "prerequisites")}


def _items(document: Any, name: str) -> list[Mapping[str, Any]]:
    items = document.get(name) if isinstance(document, dict) else None
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []


def why_not_measured(
    document: FlagDocument, rule_id: str, control: str, *, is_rollout: bool
) -> dict[str, str]:
    """Why the rule cannot be measured, as a sentence by field; empty if it can."""
    rule = rule_of(document, rule_id)
    if rule is None:
        return {"rule_id": "The flag has no such rule. Choose another."}
    if rule.split is not None:
        weights = {key: weight for key, weight in weights_of(rule.split).items() if weight}
        if len(weights) < 2:
            return {"rule_id": "The split has one variant. Give a second one a weight."}
        if control not in weights:
            return {"control": f"Choose a variant of the split: {', '.join(weights)}."}
        return {}
    if not is_rollout and (rule.steps or rule.ramp):
        return {
            "rule_id": "The percentage changes by a schedule. Set a fixed one, or measure the "
            "schedule as a guarded rollout."
        }
    scheduled = bool(rule.steps or rule.ramp)
    if not scheduled and not 0 < rule.rollout < EVERYBODY:
        return {
            "rule_id": "All players that match the rule get the same. Give the rule a split, or a "
            "percentage between 0 and 100."
        }
    if scheduled and not ceiling(rule):
        return {"rule_id": "The schedule never reaches a player."}
    if control == rule.variant:
        return {"control": "Choose another variant than the rule serves, for comparison."}
    if control not in {variant.key for variant in document.variants}:
        return {"control": "Choose the variant that players outside the percentage get."}
    return {}
