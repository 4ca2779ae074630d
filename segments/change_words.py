"""Changes of segments as the audit log stores them, in words. Imports no Django."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ilara_admin.core import diff
from ilara_admin.core.diff import Change
from segments.language.parser import RuleError, parse
from segments.language.sentences import describe

# The fields of a change of a list; see segments/lists/services.py.
LIST_FIELDS = (
    "list", "rows", "change", "file", "added", "removed", "bad lines", "ids", "stopped",
)  # fmt: skip
WHOLE_LIST = {"replace": "replaced: ", "clear": "cleared: ", "undo": "undone: "}


def field_differences(
    before: Mapping[str, Any], after: Mapping[str, Any], at: datetime
) -> list[Change]:
    """The differences between some fields of a segment, a change of a list as one sentence."""
    found = []
    if "list" in before or "list" in after:
        which = {**before, **after}["list"]
        label = "Exclude list" if which == "excluded" else "Include list"
        found.append(Change(label, list_sentence(before), list_sentence(after)))
        before, after = (
            {name: side[name] for name in side if name not in LIST_FIELDS}
            for side in (before, after)
        )
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if name == "rule":
            texts = _rule(old), _rule(new)
            # The same sentence may stand for two notations.
            if texts[0] != texts[1]:
                found.append(Change("Rule", *texts))
                continue
        for change in diff.differences({name: old}, {name: new}, at=at):
            label = change.label[:1].upper() + change.label[1:]
            found.append(Change(label, change.before, change.after))
    return found


def _rule(rule: Any) -> str:
    if rule is None:
        return ""
    try:
        return describe(parse(rule))
    except RuleError as error:
        return f"not a valid rule ({error})"


def list_sentence(fields: Mapping[str, Any]) -> str:
    """`replaced: 1,200 ids added, 3 ids removed, from ids.csv; 2 invalid lines skipped`; "" without
    a change."""
    if "list" not in fields:
        return ""
    if "rows" in fields:
        return f"{_ids(fields['rows'])} exported"
    counts = [f"{_ids(fields[name])} {name}" for name in ("added", "removed") if fields.get(name)]
    text = WHOLE_LIST.get(fields.get("change", ""), "") + (", ".join(counts) or "no ids changed")
    if ids := fields.get("ids"):
        text += f": {', '.join(ids)}"
    if file := fields.get("file"):
        text += f", from {file}"
    if bad := fields.get("bad lines"):
        text += f"; {bad:,} invalid line{'' if bad == 1 else 's'} skipped"
    if stopped := fields.get("stopped"):
        text += f"; stopped: {stopped}"
    return text


def _ids(count: int) -> str:
    return f"{count:,} id{'' if count == 1 else 's'}"
