"""A rule while it is being edited: a tree of parts with the texts of their controls. No Django.

A part is named by its position, and its controls after it: `rule-1-0-operator` is the operator of
the first part inside the second part of the rule `rule`. What the controls cannot express (groups
nested deeper than LEVELS, text that ends in a space) is a part with one control that holds JSON.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ilara_admin.core.json_equality import identical
from segments.language.operators import OPERATORS, ValueKind
from segments.language.parser import FIELDS, MAX_CONDITIONS

type PartKind = Literal["group", "field", "segment", "event", "property", "where", "json"]
# The kind of a whole rule: over players, or over the properties of an event.
type RootKind = Literal["group", "where"]

LEVELS = 3  # of groups, counting the rule itself
FOLDED = "folded"  # the kind posted for a rule that is not being edited; its control holds JSON
NEVER = "never"
# Initial controls of a new part. The first name is the control to focus.
NEW: Mapping[PartKind, Mapping[str, str]] = {
    "group": {"operator": "OR"},
    "field": {"field": "", "operator": "=="},
    "segment": {"operator": "in"},
    "event": {"event": "", "operator": ">=", "value": "1", "number": "7", "unit": "d"},
    "property": {"field": "", "operator": "=="},
    "json": {"json": ""},
}
# An item of a typed list: quoted text may contain commas.
_ITEM = re.compile(r'\s*("(?:[^"\\]|\\.)*"(?=\s*(?:,|$))|[^,]+)')
_WITHIN = re.compile(r"(0|[1-9][0-9]{0,4})([mhdw])")
# Operators with these operands take text, so 40 is not parsed as a number.
_AS_TYPED = ("text", "pattern", "duration", "moment", "version")


@dataclass(slots=True)
class Draft:
    """`typed` maps control names to texts, and `segments` to a list of keys. `parts` are the parts
    of a group, or the property conditions of an event or of a rule over events."""

    kind: PartKind
    typed: dict[str, Any]
    parts: list["Draft"] = field(default_factory=list)


def new_part(kind: PartKind) -> Draft:
    inside = [new_part("field")] if kind == "group" else []
    return Draft(kind, dict(NEW[kind]), inside)


def new_rule(root: RootKind = "group") -> Draft:
    """A rule with a first condition; one over events without any."""
    return Draft(root, {"operator": "AND"}, [new_part("field")] if root == "group" else [])


# --- What was posted ----------------------------------------------------------------------------


def read_draft(posted: Mapping[str, Sequence[str]], name: str, root: RootKind = "group") -> Draft:
    """Read the rule `name` from the posted controls."""
    controls: dict[str, dict[str, Sequence[str]]] = {}
    for key, values in posted.items():
        part, _, control = key.rpartition("-")
        controls.setdefault(part, {})[control] = values
    return _read(controls, name, 1, root)


def _read(
    controls: Mapping[str, Mapping[str, Sequence[str]]], name: str, level: int, root: RootKind
) -> Draft:
    typed: dict[str, Any] = {
        control: list(filter(None, values)) if control == "segments" else values[-1]
        for control, values in controls.get(name, {}).items()
        if values
    }
    kind = typed.pop("kind", "")
    if level == 1:
        kind = "json" if kind in ("json", FOLDED) else root
    elif root == "where":
        kind = "property"
    elif kind not in NEW:
        kind = "field"
    draft = Draft(kind, typed)
    # The properties of an event are one level below the parts of the deepest group.
    if kind in ("group", "event", "where") and level <= LEVELS + 1:
        while (inner := f"{name}-{len(draft.parts)}") in controls:
            draft.parts.append(_read(controls, inner, level + 1, root))
    return draft


def act(draft: Draft, name: str, action: str) -> str:
    """Apply a button's action: `remove rule-1-0`, or `event rule-1` to add an event to that part.

    Returns the name of the control or button to focus. An invalid action changes nothing.
    """
    verb, _, place = action.partition(" ")
    path = _path(place, name)
    if path is None:
        return ""
    if verb == "remove" and path:
        holder = _part_at(draft, path[:-1])
        if holder and path[-1] < len(holder.parts):
            del holder.parts[path[-1]]
            return _next_focus("-".join([name, *map(str, path[:-1])]), path[-1], len(holder.parts))
        return ""
    part = _part_at(draft, path)
    if part is None or not _may_hold(part, verb, len(path) + 1):
        return ""
    part.parts.append(new_part(verb))  # type: ignore[arg-type]  # _may_hold knows the kinds
    return f"{place}-{len(part.parts) - 1}-{next(iter(NEW[verb]))}"  # type: ignore[index]


def _path(place: str, name: str) -> list[int] | None:
    """The indexes that lead from the rule to the named part, or None for another rule."""
    if place != name and not place.startswith(f"{name}-"):
        return None
    steps = place.removeprefix(name).split("-")[1:]
    return [int(step) for step in steps] if all(map(_is_index, steps)) else None


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4


def _part_at(draft: Draft, path: list[int]) -> Draft | None:
    for index in path:
        if index >= len(draft.parts):
            return None
        draft = draft.parts[index]
    return draft


def _may_hold(part: Draft, verb: str, level: int) -> bool:
    if len(part.parts) >= MAX_CONDITIONS:
        return False
    if part.kind in ("event", "where"):
        return verb == "property"
    return part.kind == "group" and (
        verb in ("field", "segment", "event") or (verb == "group" and level < LEVELS)
    )


def _next_focus(name: str, index: int, left: int) -> str:
    """What to focus after a removal: the next part, else the last one, else the add button."""
    return f"{name}-{min(index, left - 1)}-remove" if left else f"{name}-add"


# --- Documents ----------------------------------------------------------------------------------


def draft_of(document: Any, level: int = 1, root: RootKind = "group") -> Draft:
    """The draft of a valid rule document, or of a part of one."""
    draft = _where_to_draft(document) if root == "where" else _to_draft(document, level)
    if draft is not None and identical(_to_document(draft), document):
        return draft
    return json_draft(document)


def json_draft(document: Any) -> Draft:
    return Draft("json", {"json": json.dumps(document, indent=2, ensure_ascii=False)})


def _to_draft(document: Any, level: int) -> Draft | None:
    if "conditions" in document:
        if level > LEVELS:
            return None
        parts = [draft_of(part, level + 1) for part in document["conditions"]]
        return Draft("group", {"operator": document["operator"]}, parts)
    if "event" in document:
        return _event_to_draft(document)
    if document["field"] == "segment":
        return Draft("segment", {"operator": document["operator"], "segments": document["value"]})
    return _condition_to_draft("field", document)


def _where_to_draft(document: Any) -> Draft | None:
    if any("conditions" in item for item in document["conditions"]):
        return None
    parts = [_condition_to_draft("property", item) for item in document["conditions"]]
    return Draft("where", {"operator": document["operator"]}, parts)


def _condition_to_draft(kind: PartKind, document: Any) -> Draft:
    name, operator = document["field"], document["operator"]
    value = document.get("value")
    if OPERATORS[operator].takes == "nothing":
        text = ""
    elif OPERATORS[operator].takes in _AS_TYPED:
        text = value
    else:
        text = as_typed(value, kind_of(kind, name))
    return Draft(kind, {"field": name, "operator": operator, "value": text})


def _event_to_draft(document: Any) -> Draft | None:
    within = _WITHIN.fullmatch(document["within"])
    where = document.get("where") or {"operator": "AND", "conditions": []}
    if within is None or any("conditions" in item for item in where["conditions"]):
        return None
    never = document["operator"] == "<=" and document["value"] == 0
    typed = {
        "event": document["event"],
        "operator": NEVER if never else document["operator"],
        "value": "" if never else str(document["value"]),
        "number": within[1],
        "unit": within[2],
    }
    parts = [_condition_to_draft("property", item) for item in where["conditions"]]
    return Draft("event", typed, parts)


def _to_document(draft: Draft) -> Any:
    """The document that posting the draft would give, or None if a text input cannot hold it."""
    if draft.kind == "json":
        return json.loads(draft.typed["json"])
    texts = [text for text in draft.typed.values() if isinstance(text, str)]
    if any(text != text.strip() or "\n" in text or "\r" in text for text in texts):
        return None
    return document_of(draft.kind, draft.typed, [_to_document(part) for part in draft.parts])


def document_of(kind: PartKind, typed: Mapping[str, Any], parts: Sequence[Any]) -> dict[str, Any]:
    """The document of a part, from its controls and the documents of its parts."""
    operator = typed["operator"]
    if kind in ("group", "where"):
        return {"operator": operator, "conditions": list(parts)}
    if kind == "segment":
        keys = list(dict.fromkeys(typed["segments"]))
        return {"field": "segment", "operator": operator, "value": keys}
    if kind == "event":
        never = operator == NEVER
        document = {
            "event": typed["event"],
            "operator": "<=" if never else operator,
            "value": 0 if never else int(typed["value"]),
            "within": f"{int(typed['number'])}{typed['unit']}",
        }
        return document | ({"where": document_of("group", ALL, parts)} if parts else {})
    document = {"field": typed["field"], "operator": operator}
    if OPERATORS[operator].takes != "nothing":
        field_kind = kind_of(kind, typed["field"])
        document["value"] = parse_typed(operator, typed["value"], field_kind)
    return document


ALL = {"operator": "AND"}


# --- Values -------------------------------------------------------------------------------------


def kind_of(part: str, name: str) -> ValueKind:
    """The value kind of a condition's field. Event properties are untyped."""
    return FIELDS.get(name, ValueKind.ANY) if part == "field" else ValueKind.ANY


def parse_typed(operator: str, text: str, kind: ValueKind = ValueKind.ANY) -> Any:
    """Parse a typed value. `40` is a number, `true` a boolean and `"40"` text, except in text
    fields. List items are separated by commas."""
    takes = OPERATORS[operator].takes
    if takes == "list":
        return [_scalar(item.strip(), kind) for item in _ITEM.findall(text) if item.strip()]
    return text if takes in _AS_TYPED else _scalar(text, kind)


def _scalar(text: str, kind: ValueKind) -> Any:
    known = (str,) if kind in (ValueKind.TEXT, ValueKind.SEGMENT) else (str, bool, int, float)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, known) else text


def as_typed(value: Any, kind: ValueKind = ValueKind.ANY) -> str:
    """The inverse of parse_typed."""
    if isinstance(value, list):
        return ", ".join(as_typed(item, kind) for item in value)
    plain = isinstance(value, str) and value == value.strip() and value.isprintable()
    if plain and value and not set(value) & set(',"') and _scalar(value, kind) == value:
        return str(value)
    return json.dumps(value, ensure_ascii=False)
