"""The columns of the list of players: which there are, and the values of a page of players.

The address names them, separated by commas: a built-in column by its key, an attribute with a
leading dot by its name as rules write it. Commas in names are percent-encoded.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

from django.db import connection

from ilara_admin.core.spreadsheet import cell
from ilara_admin.core.text import trim
from ilara_admin.models import Environment
from players.labels import STAGES, Badge
from players.lifecycle import Thresholds
from players.personal import mask_device, mask_email, mask_value
from players.record import PlayerRow, player_of, stage_of
from segments.language.parser import attribute_path

MAX_COLUMNS = 20
MAX_NAME = 128  # characters of the name of an attribute


@dataclass(frozen=True, slots=True)
class PlayerColumn:
    """`kind` is stage, time, number, money, email, device, attribute or id. An attribute has the
    `path` to its value. `sort` is the order that its header sorts by, "" if no index has it."""

    key: str
    label: str
    kind: str
    path: tuple[str, ...] = ()
    sort: str = ""

    @property
    def is_number(self) -> bool:
        return self.kind in ("number", "money")


EXTERNAL_ID = PlayerColumn("external_id", "External id", "id", sort="id")
BUILT_IN = {
    column.key: column
    for column in (
        PlayerColumn("stage", "Stage", "stage"),
        PlayerColumn("seen", "Last seen", "time", sort="seen"),
        PlayerColumn("first", "First seen", "time", sort="first"),
        PlayerColumn("sessions", "Sessions", "number"),
        PlayerColumn("days", "Active days", "number"),
        PlayerColumn("purchases", "Purchases", "number"),
        PlayerColumn("revenue", "Revenue", "money"),
        PlayerColumn("email", "E-mail", "email"),
        PlayerColumn("device", "Device id", "device"),
    )
}
FIELDS = {
    "external_id": "external_id", "seen": "last_seen_at", "first": "first_seen_at",
    "sessions": "session_count", "days": "active_days", "purchases": "purchase_count",
    "revenue": "total_revenue", "email": "email", "device": "device_id",
}  # fmt: skip
DEFAULT = ("stage", "seen", "sessions", "revenue")


def attribute_column(name: str) -> PlayerColumn:
    return PlayerColumn(f".{name}", name, "attribute", tuple(attribute_path(name)))


COUNTRY = attribute_column("country")


def read_columns(text: str) -> list[PlayerColumn]:
    """The columns that an address names; what it cannot mean is left out. The external id is
    always first, and not named."""
    found: dict[str, PlayerColumn] = {}
    for part in text.split(","):
        key = unquote(trim(part))
        if key in BUILT_IN:
            found[key] = BUILT_IN[key]
        elif key.startswith(".") and not attribute_problem(key[1:]):
            found[key] = attribute_column(key[1:])
    return list(found.values())[:MAX_COLUMNS]


def attribute_problem(name: str) -> str:
    """What is wrong with the name of an attribute, as a sentence, or ""."""
    if not 1 <= len(name) <= MAX_NAME or not all(attribute_path(name)):
        return f"The name of an attribute has 1 to {MAX_NAME} characters and no empty part."
    if "\0" in name or any("\ud800" <= each <= "\udfff" for each in name):
        return "The name of an attribute contains a character that cannot be stored."
    return ""


def columns_text(keys: Iterable[str]) -> str:
    """The inverse of read_columns; "" for the default columns."""
    keys = list(keys)
    return "" if tuple(keys) == DEFAULT else ",".join(quote(key, safe=".") for key in keys)


# --- Values -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class View:
    """How values are shown. `masked` hides personal data, to which the attributes `personal`
    belong."""

    thresholds: Thresholds
    now: datetime
    masked: bool
    personal: Collection[str]
    currency: str

    @classmethod
    def of(cls, environment: Environment, now: datetime, *, masked: bool) -> "View":
        thresholds = Thresholds(
            environment.new_days, environment.at_risk_days, environment.churned_days
        )
        return cls(
            thresholds, now, masked, frozenset(environment.personal_attributes),
            environment.currency,
        )  # fmt: skip


def rows_of(ids: Sequence[UUID], columns: Sequence[PlayerColumn]) -> list[PlayerRow]:
    """The players, in the order of the ids. Their `attributes` are by the key of a column, and only
    those of columns are read: a player may have 64 KiB of them. Erased players are left out."""
    params: list[str] = []
    pairs: list[str] = []
    for column in columns:
        if column.path:
            pairs.append("%s::text, p.attributes" + " -> %s::text" * len(column.path))
            params += [column.key, *column.path]
    chosen = f"jsonb_build_object({', '.join(pairs)})::text"
    names = [chosen if name == "attributes" else f"p.{name}" for name in PlayerRow._fields]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(names)} FROM player p WHERE p.id = ANY(%s)", [*params, list(ids)]
        )
        found = {row[0]: player_of(row) for row in cursor.fetchall()}
    return [found[each] for each in ids if each in found]


def value_of(player: PlayerRow, column: PlayerColumn, view: View) -> Any:
    """A stage as its badge, a time, a number, or a JSON value; None if there is none."""
    match column.kind:
        case "stage":
            return STAGES[stage_of(player, view.thresholds, view.now)]
        case "attribute":
            value = player.attributes.get(column.key)
            return mask_value(value) if view.masked and column.path[0] in view.personal else value
        case "email" if view.masked:
            return mask_email(player.email)
        case "device" if view.masked:
            return mask_device(player.device_id)
    return getattr(player, FIELDS[column.key])


def text_of(value: Any) -> str:
    """A JSON value on one line; "" for none."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# --- CSV ------------------------------------------------------------------------------------------


def csv_header(columns: Sequence[PlayerColumn], currency: str) -> list[str]:
    labels = {"revenue": f"revenue_{currency.lower()}"}
    return [
        "player_id",
        "external_id",
        *(
            cell(column.label) if column.path else labels.get(column.key, column.key)
            for column in columns
        ),
    ]


def csv_row(player: PlayerRow, columns: Sequence[PlayerColumn], view: View) -> list[str]:
    """The player's id and external id, and the values of the columns. Times as in the API."""
    return [
        str(player.id),
        cell(player.external_id),
        *(cell(_csv_text(value_of(player, column, view))) for column in columns),
    ]


def _csv_text(value: Any) -> str:
    match value:
        case Badge():
            return value.label
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        case None | str() | bool() | int() | float() | Mapping() | list():
            return text_of(value)
    return str(value)
