"""Rows inside a form that staff add, remove and move with submit buttons.

The value of the button `row` is the action: `add`, or `remove-2`, `up-2`, `down-2`. Such a post
saves nothing: the form is rendered again with the changed rows and all typed values.
"""

from typing import Any

from django.http import QueryDict

MAX_ROWS = 100


def typed_rows(data: QueryDict, prefix: str, most: int = MAX_ROWS) -> list[dict[str, Any]]:
    """The posted values of each row of the formset, by field name, for up to `most` rows."""
    try:
        total = min(int(data.get(f"{prefix}-TOTAL_FORMS", "0")), most)
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
    """The rows after the button's action, or None if another button was pressed."""
    rows = typed_rows(data, prefix)
    order = moved_order(data, len(rows))
    return None if order is None else [{} if old is None else rows[old] for old in order]


def moved_order(data: QueryDict, count: int) -> list[int | None] | None:
    """The old places of the rows after the button's action, None for an added row. None if another
    button was pressed."""
    action, _, place = data.get("row", "").partition("-")
    if not action:
        return None
    rows: list[int | None] = list(range(count))
    index = int(place) if place.isdecimal() else -1
    if action == "add" and len(rows) < MAX_ROWS:
        rows.append(None)
    elif 0 <= index < len(rows):
        if action == "remove":
            del rows[index]
        elif action == "up" and index > 0:
            rows[index - 1 : index + 1] = rows[index], rows[index - 1]
        elif action == "down" and index < len(rows) - 1:
            rows[index : index + 2] = rows[index + 1], rows[index]
    return rows
