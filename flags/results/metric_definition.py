"""The definition of a metric: what applies to its kind, its errors, and the metric in words.

A definition is a mapping with the keys DEFINITION, which are columns of flags.models.Metric. The
property is a path as rules write it, see segments/language/paths.py.
Imports no Django.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ilara_admin.core import diff
from ilara_admin.core.diff import Change
from segments.language.parser import NOT_IN_TEXT, RuleError, parse_where
from segments.language.sentences import describe

type Definition = Mapping[str, Any]

DEFINITION = ("kind", "event", "property", "conditions", "window_days", "percentile")
# What each kind may have besides itself. A retention needs its day, an event its name, and a sum or
# a mean its property; the rest is optional.
_OF_EVENT = ("event", "conditions", "window_days")
APPLIES: Mapping[str, tuple[str, ...]] = {
    "count": (*_OF_EVENT, "percentile"),
    "share": _OF_EVENT,
    "sum": (*_OF_EVENT, "property", "percentile"),
    "mean": (*_OF_EVENT, "property", "percentile"),
    "revenue": ("window_days", "percentile"),
    "payers": ("window_days",),
    "sessions": ("window_days", "percentile"),
    "retention": ("window_days",),
}
SHARES = ("share", "payers", "retention")  # values of a player are 0 or 1
MAX_WINDOW = 365  # days
LEAST_PERCENTILE = 50
NOTHING: Definition = {
    "event": "", "property": "", "conditions": None, "window_days": None, "percentile": None,
}  # fmt: skip
DIRECTIONS = {"up": "higher is better", "down": "lower is better"}


def only_applying(definition: Definition) -> dict[str, Any]:
    """The definition without what its kind does not have."""
    applies = ("kind", *APPLIES.get(definition["kind"], ()))
    return {name: definition[name] if name in applies else NOTHING[name] for name in DEFINITION}


def problems(definition: Definition) -> dict[str, str]:
    """What is wrong with a definition and the fix, by the name of the field."""
    kind = definition["kind"]
    if kind not in APPLIES:
        return {"kind": f"Use one of: {', '.join(APPLIES)}."}
    found = {
        name: f"A metric of the kind {kind} has no {name}. Leave it out."
        for name in NOTHING
        if name not in APPLIES[kind] and definition[name] not in ("", None)
    }
    checks = {
        "event": _event_problem(definition["event"]),
        "property": _property_problem(definition["property"]),
        "conditions": _conditions_problem(definition["conditions"]),
        "window_days": _window_problem(kind, definition["window_days"]),
        "percentile": _percentile_problem(definition["percentile"]),
    }
    return found | {name: text for name, text in checks.items() if text and name in APPLIES[kind]}


def _event_problem(event: object) -> str:
    fits = isinstance(event, str) and 1 <= len(event) <= 128 and not NOT_IN_TEXT.search(event)
    return "" if fits else "Name the event with 1 to 128 characters, such as level_complete."


def _property_problem(name: object) -> str:
    if not name:
        return "Name a property of the event, such as score."
    try:
        parse_where({"operator": "AND", "conditions": [{"field": name, "operator": "is_set"}]})
    except RuleError as error:
        return error.message
    return ""


def _conditions_problem(conditions: object) -> str:
    if conditions is None:
        return ""
    try:
        parse_where(conditions)
    except RuleError as error:
        return str(error)
    return ""


def _window_problem(kind: str, days: object) -> str:
    if days is None and kind != "retention":
        return ""
    if isinstance(days, int) and not isinstance(days, bool) and 1 <= days <= MAX_WINDOW:
        return ""
    return f"Give a number of days from 1 to {MAX_WINDOW}."


def _percentile_problem(percentile: object) -> str:
    if percentile is None:
        return ""
    # NaN is in no range, True is below it.
    if isinstance(percentile, int | float) and LEAST_PERCENTILE <= percentile < 100:
        return ""
    return f"Give a percentile from {LEAST_PERCENTILE} to below 100, such as 99."


# --- Words ----------------------------------------------------------------------------------------


def sentence(definition: Definition) -> str:
    """`Sum of “price” of “purchase” events whose item_id is “gems”, per player, within 7 days of
    exposure, values above the 99th percentile capped`."""
    kind, days = definition["kind"], definition["window_days"]
    if kind == "retention":
        return f"Share of players who were active on day {days} after exposure"
    parts = [_measured(definition)]
    if kind not in SHARES:
        parts.append("per player with any" if kind == "mean" else "per player")
    span = "1 day" if days == 1 else f"{days} days"
    parts.append(f"within {span} of exposure" if days else "since exposure")
    if (percentile := definition["percentile"]) is not None:
        parts.append(f"values above the {ordinal(percentile)} percentile capped")
    return ", ".join(parts)


def _measured(definition: Definition) -> str:
    event, name = f"“{definition['event']}”", f"“{definition['property']}”"
    match definition["kind"]:
        case "count":
            return f"Number of {event} events{_whose(definition['conditions'])}"
        case "share":
            article = "an" if definition["event"][:1].lower() in "aeiou" else "a"
            whose = _whose(definition["conditions"])
            return f"Share of players with {article} {event} event{whose}"
        case "sum" | "mean" as kind:
            what = f"{kind.capitalize()} of {name} of {event} events"
            return f"{what}{_whose(definition['conditions'])}"
        case "revenue":
            return "Revenue without refunds"
        case "payers":
            return "Share of players with a purchase that was not refunded"
    return "Number of sessions"


def _whose(conditions: Any) -> str:
    if conditions is None:
        return ""
    try:
        return f" whose {describe(parse_where(conditions))}"
    except RuleError as error:
        return f" whose conditions are not valid ({error})"


def ordinal(number: float) -> str:
    """99 as `99th`, 99.9 as `99.9th`, 91 as `91st`."""
    text = f"{number:.12g}"
    ends = {"1": "st", "2": "nd", "3": "rd"}
    is_plain = "." in text or text[-2:-1] == "1"
    return text + ("th" if is_plain else ends.get(text[-1], "th"))


def unit_of(kind: str, unit: str, currency: str) -> str:
    """The unit of a metric's values: percent of a share, the currency of revenue, else as typed."""
    if kind in SHARES:
        return "%"
    return currency if kind == "revenue" else unit


def field_differences(
    before: Mapping[str, Any], after: Mapping[str, Any], at: datetime
) -> list[Change]:
    """The differences between fields of a metric as the audit log stores them, in the words of its
    page."""
    found = []
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if name == "definition":
            found.append(
                Change("Measures", *(sentence(side) if side else "" for side in (old, new)))
            )
        elif name == "direction":
            found.append(
                Change("Direction", *(DIRECTIONS.get(str(side), "") for side in (old, new)))
            )
        elif name == "archived":
            found.append(Change("Lists", *(_lists(side) for side in (old, new))))
        else:
            found += [
                Change(name.capitalize(), each.before, each.after)
                for each in diff.differences({name: old}, {name: new}, at=at)
            ]
    return found


def _lists(archived: bool | None) -> str:
    return "" if archived is None else "archived" if archived else "in use"
