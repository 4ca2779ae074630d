"""Rows that staff add, remove and move inside a form, by ordinary submit buttons.

A button named `row` carries the act: `add`, or `remove-2`, `up-2`, `down-2`. Such a post saves
nothing: the page is drawn again with the rows as they are then, typed values and all.
"""

from typing import Any

from django.http import QueryDict

MAX_ROWS = 100


def typed_rows(data: QueryDict, prefix: str) -> list[dict[str, Any]]:
    """What was typed into each row of the formset, by field name."""
    try:
        total = min(int(data.get(f"{prefix}-TOTAL_FORMS", "0")), MAX_ROWS)
    except ValueError:
        total = 0
    rows: list[dict[str, Any]] = []
    for index in range(total):
        start = f"{prefix}-{index}-"
        rows.append(
            {name.removeprefix(start): data[name] for name in data if name.startswith(start)}
        )
    return rows


def moved_rows(data: QueryDict, prefix: str) -> list[dict[str, Any]] | None:
    """The rows after the act of the button, or None when another button was pressed."""
    act, _, place = data.get("row", "").partition("-")
    if not act:
        return None
    rows = typed_rows(data, prefix)
    index = int(place) if place.isdecimal() else -1
    if act == "add" and len(rows) < MAX_ROWS:
        rows.append({})
    elif 0 <= index < len(rows):
        if act == "remove":
            del rows[index]
        elif act == "up" and index > 0:
            rows[index - 1 : index + 1] = rows[index], rows[index - 1]
        elif act == "down" and index < len(rows) - 1:
            rows[index : index + 2] = rows[index + 1], rows[index]
    return rows
