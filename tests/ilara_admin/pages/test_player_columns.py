"""The columns of the list of players, in addresses, cells and CSV."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from ilara_admin.pages.player_columns import (
    MAX_COLUMNS,
    View,
    columns_text,
    csv_header,
    csv_row,
    read_columns,
)
from ilara_admin.pages.player_rows import cell_markup
from ilara_admin.templatetags.ilara import ABSENT
from players.lifecycle import Thresholds
from players.record import PlayerRow

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
PLAYER = PlayerRow(
    id=UUID(int=7), external_id="=cmd", device_id="device-1", email="bob@example.com",
    attributes={".nick": "@bob", ".level": 7, ".bag": {"a": [1]}, ".vip": True},
    session_count=3, active_days=2, purchase_count=1, total_revenue=Decimal("4.50"),
    first_seen_at=NOW - timedelta(days=60), last_seen_at=NOW - timedelta(days=8),
    last_active_on=NOW.date(), active_since=NOW - timedelta(days=60), returned_at=None,
    gap_before_return=None,
)  # fmt: skip
OPEN = View(Thresholds(), NOW, False, frozenset({"nick"}), "EUR")
MASKED = replace(OPEN, masked=True)
NAMES = "stage,seen,revenue,email,device,.nick,.level,.bag,.vip,.none"


@pytest.mark.parametrize("keys", [["seen"], [".level", "stage"], [".a,b", ".x%y&z", ".stats.wins"]])
def test_columns__are_read_as_they_were_written(keys: list[str]) -> None:
    assert [column.key for column in read_columns(columns_text(keys))] == keys


def test_what_an_address_cannot_mean__is_left_out() -> None:
    assert read_columns(",nonsense,.,.a..b,seen, seen") == read_columns("seen")
    assert len(read_columns(",".join(f".a{number}" for number in range(99)))) == MAX_COLUMNS


def test_default_columns__are_not_in_the_address() -> None:
    assert columns_text(["stage", "seen", "sessions", "revenue"]) == ""


def test_csv__has_plain_values_that_no_spreadsheet_runs() -> None:
    columns = read_columns(NAMES)
    row = dict(zip(csv_header(columns, "EUR"), csv_row(PLAYER, columns, OPEN), strict=True))
    assert row == {
        "player_id": str(PLAYER.id), "external_id": "'=cmd", "stage": "At risk",
        "seen": "2026-05-12T12:00:00Z", "revenue_eur": "4.50", "email": "bob@example.com",
        "device": "device-1", "nick": "'@bob", "level": "7", "bag": '{"a": [1]}', "vip": "true",
        "none": "",
    }  # fmt: skip


def test_personal_data__is_masked_in_cells_and_csv() -> None:
    columns = read_columns(NAMES)
    texts = [cell_markup(PLAYER, column, MASKED) for column in columns]
    for shown in (texts, csv_row(PLAYER, columns, MASKED)):
        text = " ".join(shown)
        assert "b***@example.com" in text
        assert "devi***" in text
        assert "bob" not in text
        assert "device-1" not in text
        assert "@***" in text


HOSTILE = "<script>\"'&</script>"


def test_cells__hold_the_texts_of_players_as_text() -> None:
    columns = read_columns("email,device,.nick,.long")
    player = PLAYER._replace(
        email=f"{HOSTILE}@example.com", device_id=HOSTILE,
        attributes={".nick": HOSTILE, ".long": HOSTILE * 10},
    )  # fmt: skip
    for view in (OPEN, MASKED):
        for column in columns:
            markup = cell_markup(player, column, view)
            inner = markup.removeprefix("<bdi>").removesuffix("</bdi>")
            assert len(inner) == len(markup) - len("<bdi></bdi>")
            assert not set("<>\"'") & set(inner)


def test_value_that_is_empty__is_a_dash() -> None:
    payer = PLAYER._replace(attributes={".nick": ""})
    [nick, revenue] = read_columns(".nick,revenue")
    assert ABSENT in cell_markup(payer, nick, OPEN)
    assert cell_markup(payer, revenue, OPEN) == "4.50"
    assert ABSENT in cell_markup(payer._replace(purchase_count=0), revenue, OPEN)
