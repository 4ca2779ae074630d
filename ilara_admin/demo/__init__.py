"""The sample game of `serve --demo`: players, ledgers, a month of events, flags mid-rollout; may
import everything.

It is filled in one transaction, so it is there whole or not at all, and filling it again adds
nothing. The same seed at the same moment draws the same game.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction

from events import partitions, rollups
from ilara_admin.api.bodies import digest_of
from ilara_admin.core.audit import Actor
from ilara_admin.core.progress import Progress, no_progress
from ilara_admin.demo.config import config_fill
from ilara_admin.demo.game import EVENT_DAYS, FIRST_NUMBER, player_draw
from ilara_admin.demo.records import SamplePlayer, Tracked
from ilara_admin.demo.support import support_fill
from ilara_admin.management.bar import ProgressBar
from ilara_admin.models import Environment, Project
from players.churn_training import TooFewError, churn_refit
from players.event_log import PURCHASE_EVENT, SESSION_EVENT
from players.models import Player, player_id_for

SIZE = 5_000
TEST_SIZE = 12
SEED = 20_260
JSON = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Filled:
    """What was added; nothing, if the sample game was there before."""

    project: str
    players: int = 0
    sessions: int = 0
    purchases: int = 0
    events: int = 0

    def __str__(self) -> str:
        if not self.players:
            return f"The sample game is already in {self.project}; nothing was added."
        return (
            f"The sample game is in {self.project}: {self.players:,} players, "
            f"{self.sessions:,} sessions, {self.purchases:,} purchases, {self.events:,} events."
        )


def demo_fill(
    project: Project,
    actor: Actor,
    progress: Progress | None = None,
    *,
    size: int = SIZE,
    now: datetime | None = None,
    seed: int = SEED,
) -> Filled:
    """Fill `live` with a sample game of `size` players, and `test` with a handful.

    Without a `progress` of the caller's, a bar is drawn on stderr.
    """
    progress = progress or ProgressBar()
    now = now or datetime.now(UTC)
    live = project.environments.get(slug="live")
    test = project.environments.filter(slug="test").first()
    first_day = (now - timedelta(days=EVENT_DAYS)).date()
    partitions.ensure(first_day, EVENT_DAYS + partitions.DAYS_AHEAD)
    with transaction.atomic():
        # Two fills at once take turns. Players may register meanwhile: this lock lets them.
        Environment.objects.select_for_update(no_key=True).get(pk=live.pk)
        if _has_sample(live, size):
            return Filled(project.slug)
        filled = _players_fill(live, _draw(size, now, seed, progress), progress)
        if test and not _has_sample(test, TEST_SIZE):
            _players_fill(test, _draw(TEST_SIZE, now, seed, no_progress), no_progress)
        progress("Flags and segments", 0, 1)
        config_fill(live, actor, now)
        support_fill(live)
        with connection.cursor() as cursor:  # or the first pages are planned blindly
            cursor.execute("ANALYZE player, player_session, purchase, event")
        progress("Flags and segments", 1, 1)
    progress("Counts", 0, 1)
    rollups.fold()  # or the first pages would show none until the worker has come to them
    progress("Counts", 1, 1)
    with suppress(TooFewError):
        churn_refit(live, now.date(), progress)
    return filled


def _has_sample(environment: Environment, size: int) -> bool:
    ids = [
        player_id_for(environment.namespace, f"player_{number}")
        for number in range(FIRST_NUMBER, FIRST_NUMBER + size)
    ]
    return Player.objects.filter(pk__in=ids).exists()


def _draw(size: int, now: datetime, seed: int, progress: Progress) -> list[SamplePlayer]:
    players = []
    for number in range(size):
        progress("Players", number, size)
        players.append(player_draw(number, size, now, seed))
    progress("Players", size, size)
    return players


def _players_fill(
    environment: Environment, players: Sequence[SamplePlayer], progress: Progress
) -> Filled:
    """Copy the players, their ledgers and their events, the events in the order of arrival."""
    ids = [player_id_for(environment.namespace, player.external_id) for player in players]
    owned = list(zip(ids, players, strict=True))
    events = sorted(
        ((at, id, event) for id, player in owned for at, event in _log(player, environment)),
        key=lambda row: row[0],
    )
    _copy("player", PLAYER_COLUMNS, (_player_row(environment, *pair) for pair in owned))
    sessions = _copy(
        "player_session",
        "player_id digest session_id started_at duration_seconds received_at",
        (
            (id, digest_of(session.session_id), session.session_id, session.started_at,
             session.duration_seconds, session.ended_at)
            for id, player in owned for session in player.sessions
        ),
    )  # fmt: skip
    purchases = _copy(
        "purchase",
        "player_id digest transaction_id amount currency counted verified product_id received_at",
        (
            (id, digest_of(sale.transaction_id), sale.transaction_id, sale.amount,
             environment.currency, True, sale.verified, sale.product_id, sale.at)
            for id, player in owned for sale in player.sales
        ),
    )  # fmt: skip
    _copy(
        "event",
        "player_id received_at environment_id event_id name session_id properties occurred_at",
        _counted(
            (
                (id, at, environment.pk, event.event_id, event.name, event.session_id,
                 JSON.encode(event.properties).decode(), event.at)
                for at, id, event in events
            ),
            len(events),
            progress,
        ),
    )  # fmt: skip
    return Filled(environment.project.slug, len(players), sessions, purchases, len(events))


PLAYER_COLUMNS = (
    "id environment_id external_id device_id email attributes session_count purchase_count "
    "total_revenue first_seen_at last_seen_at last_active_on active_since active_days activity "
    "returned_at gap_before_return"
)


def _log(player: SamplePlayer, environment: Environment) -> Iterable[tuple[datetime, Tracked]]:
    """The player's events and, as far back as these go, the entries of their ledgers, each with
    when it arrived."""
    yield from ((event.at, event) for event in player.events)
    if not player.events:
        return
    since = player.events[0].at
    for session in player.sessions:
        if session.ended_at > since:
            facts = {"duration_seconds": session.duration_seconds}
            yield (
                session.ended_at,
                Tracked(
                    session.session_id, SESSION_EVENT, session.session_id, facts, session.started_at
                ),
            )
    for sale in player.sales:
        if sale.at > since:
            yield sale.at, Tracked(
                sale.transaction_id, PURCHASE_EVENT, None,
                {
                    "amount": sale.amount, "currency": environment.currency, "counted": True,
                    "transaction_id": sale.transaction_id, "product_id": sale.product_id,
                    "verified": sale.verified,
                },
                sale.at,
            )  # fmt: skip


def _player_row(environment: Environment, id: Any, player: SamplePlayer) -> tuple[Any, ...]:
    seen = player.seen(
        timedelta(days=environment.at_risk_days), timedelta(days=environment.churned_days)
    )
    return (
        id, environment.pk, player.external_id, player.device_id, player.email,
        msgspec.json.encode(player.attributes).decode(), len(player.sessions), len(player.sales),
        player.revenue, seen.first_seen_at, seen.last_seen_at, seen.last_active_on,
        seen.active_since, seen.active_days, seen.activity, seen.returned_at,
        seen.gap_before_return,
    )  # fmt: skip


def _copy(table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> int:
    """COPY rows into a table; returns how many."""
    names, count = ", ".join(columns.split()), 0
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy,
    ):
        for count, row in enumerate(rows, 1):  # noqa: B007  # the last count is the answer
            copy.write_row(row)
    return count


def _counted[Row](rows: Iterable[Row], total: int, progress: Progress) -> Iterable[Row]:
    for done, row in enumerate(rows):
        if done % 500 == 0:
            progress("Events", done, total)
        yield row
    progress("Events", total, total)
