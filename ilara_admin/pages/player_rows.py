"""The rows of the list of players as markup. Django's templates would take most of the time of the
page."""

from collections.abc import Iterator, Sequence
from html import escape

from ilara_admin.pages.player_columns import PlayerColumn, View, text_of, value_of
from ilara_admin.templatetags import ilara
from ilara_admin.web.access import environment_url
from ilara_admin.web.htmx import HtmxHttpRequest
from players.record import PlayerRow

MAX_TEXT = 60
NARROW_CELLS = 2  # after the id; the others are hidden in narrow windows


def player_rows(
    request: HtmxHttpRequest,
    players: Sequence[PlayerRow],
    columns: Sequence[PlayerColumn],
    view: View,
) -> str:
    """A row for each of these players, whose `attributes` are those that rows_of reads.
    `?selected=` selects them."""
    checked = " checked" if "selected" in request.GET else ""
    return "".join(
        f'<tr><td data-col="check"><input type="checkbox" name="player" value="{player.id}"'
        f' aria-label="Select {escape(player.external_id)}"{checked}></td>'
        f'<td><a class="mono" href="{_url(request, player)}">{escape(player.external_id)}</a></td>'
        f"{''.join(_cells(player, columns, view))}</tr>\n"
        for player in players
    )


def _url(request: HtmxHttpRequest, player: PlayerRow) -> str:
    return escape(environment_url(request, "player_detail", player.id))


def _cells(player: PlayerRow, columns: Sequence[PlayerColumn], view: View) -> Iterator[str]:
    for number, column in enumerate(columns):
        kind = ' class="num"' if column.is_number else ""
        minor = ' data-col="minor"' if number >= NARROW_CELLS else ""
        yield f"<td{kind}{minor}>{cell_markup(player, column, view)}</td>"


def cell_markup(player: PlayerRow, column: PlayerColumn, view: View) -> str:
    """The value of a cell, or a dash."""
    value = value_of(player, column, view)
    match column.kind:
        case "stage":
            return ilara.pure("players/_stage.html", stage=value)
        case "time":
            return ilara.reltime(value)
        case "number":
            return ilara.number(value)
        case "money" if player.purchase_count:
            return escape(ilara.amount_text(value, view.currency))
        case "attribute" | "email" | "device" if text := text_of(value):
            return f"<bdi>{escape(ilara.truncatechars(text, MAX_TEXT))}</bdi>"
    return f'<span class="muted">{ilara.ABSENT}</span>'
