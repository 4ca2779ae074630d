"""Writes exports of the list of players, a chunk of players at a time; see players/exports.py."""

import csv
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from procrastinate.exceptions import AlreadyEnqueued

from ilara_admin import tasks
from ilara_admin.pages.player_columns import (
    PlayerColumn,
    View,
    csv_header,
    csv_row,
    read_columns,
    rows_of,
)
from players.exports import (
    DEAD,
    MAX_ROWS,
    MAX_RUNNING,
    chunk_add,
    export_finish,
    exports_forget,
    exports_of,
    lock_for_chunk,
)
from players.models import PlayerExport
from players.record import PlayerRow
from segments.language.parser import RuleError, parse
from segments.player_search import ORDERS, Search, walk
from segments.sizes import rule_query, total_lately

BYTE_ORDER_MARK = "\ufeff"  # a spreadsheet needs it to read UTF-8


def export_start(export: PlayerExport) -> str:
    """Store an export and queue its job. Returns why not, as a sentence, or ""."""
    exports_forget()
    running = exports_of(export.user, export.environment).filter(done=False)
    if running.count() >= MAX_RUNNING:
        return f"{MAX_RUNNING} of your exports are still running. Wait until one is done."
    export.total = len(export.ids) if export.ids else total_lately(export.environment_id)
    with transaction.atomic():
        export.save(force_insert=True)
        _queue(export)
    return ""


def keep_going(export: PlayerExport) -> None:
    """Queue the job again if it failed or its worker was killed."""
    late = PlayerExport.objects.filter(
        pk=export.pk, done=False, touched_at__lt=timezone.now() - DEAD
    )
    if late.update(touched_at=Now()):
        _queue(export)


def _queue(export: PlayerExport) -> None:
    name = f"players.export.{export.pk}"
    # One at a time leaves a slot of the worker to other jobs.
    queue = tasks.export_players.configure(queueing_lock=name, lock="players.export", priority=-1)
    with suppress(AlreadyEnqueued), transaction.atomic():
        queue.defer(export_id=export.pk)


def export_run(export_id: int, check: Callable[[], None]) -> None:
    """Write the chunks that are left. `check` runs before each and may raise."""
    check()
    while _next_chunk(export_id):
        check()


@transaction.atomic
def _next_chunk(export_id: int) -> bool:
    """Write one chunk and store the position. Returns whether there is more."""
    found = PlayerExport.objects.filter(pk=export_id).values_list("environment", flat=True).first()
    if found is None:
        return False
    lock_for_chunk(found)
    # Two runs take turns: each continues where the other one was.
    exports = PlayerExport.objects.select_for_update(of=("self",))
    export = exports.select_related("user", "environment__project").filter(
        pk=export_id, done=False
    ).first()  # fmt: skip
    if export is None:
        return False
    try:
        ids, end, looked = _ids(export)
    except RuleError as error:
        export_finish(export, f"The filters cannot be read: {error.message}")
        return False
    room = MAX_ROWS - export.rows
    columns = read_columns(",".join(export.columns))
    players = rows_of(ids[:room], columns)
    if players or not export.chunks:
        chunk_add(export, _csv(export, columns, players), [player.id for player in players])
        export.chunks += 1
    export.rows += len(players)
    export.looked += looked
    export.position = end
    export.touched_at = timezone.now()
    export.save(update_fields=["chunks", "rows", "looked", "position", "touched_at"])
    if end is None or len(ids) >= room:
        problem = "" if end is None and len(ids) <= room else f"It ends after {MAX_ROWS:,} rows."
        export_finish(export, problem)
        return False
    return True


def _ids(export: PlayerExport) -> tuple[Sequence[UUID], list[str] | None, int]:
    """The next players, the position after them, None at the end, and how many were looked at."""
    if export.ids is not None:
        return [UUID(each) for each in export.ids], None, len(export.ids)
    query = None
    if export.rule is not None:
        query = rule_query(export.environment, parse(export.rule), export.created_at)
    position = None if export.position is None else tuple(export.position)
    chunk = next(walk(Search(export.environment_id, query, ORDERS["id"]), position))
    end = None if chunk.end is None else list(chunk.end)
    return [place.id for place in chunk.places], end, chunk.size


def _csv(
    export: PlayerExport, columns: Sequence[PlayerColumn], players: Sequence[PlayerRow]
) -> str:
    view = View.of(export.environment, export.created_at, masked=export.masked)
    file = io.StringIO()
    writer: Any = csv.writer(file)
    if not export.chunks:
        file.write(BYTE_ORDER_MARK)
        writer.writerow(csv_header(columns, view.currency))
    writer.writerows(csv_row(player, columns, view) for player in players)
    return file.getvalue()
