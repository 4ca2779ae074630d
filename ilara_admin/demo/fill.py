"""Fills a project with the sample game: players, ledgers, 30 days of events, segments and flags.

One transaction writes it. Filling a project twice adds nothing. The data depends only on the seed
and the current time.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction

from events import partitions, rollups
from ilara_admin.api.bodies import digest_of
from ilara_admin.core.audit import Actor
from ilara_admin.core.currencies import in_places
from ilara_admin.core.db import Row
from ilara_admin.core.progress import Progress, no_progress
from ilara_admin.core.projects import environment_update
from ilara_admin.demo.config import CHLOE, config_fill
from ilara_admin.demo.evaluations import evaluations_fill
from ilara_admin.demo.experiments import MEASURED, experiment_fill
from ilara_admin.demo.game import EVENT_DAYS, FIRST_NUMBER, player_draw
from ilara_admin.demo.records import SamplePlayer, Seen
from ilara_admin.management.bar import ProgressBar
from ilara_admin.models import Environment, Project
from players.aliases import player_alias_link
from players.churn_training import TooFewError, churn_refit
from players.days import days_count
from players.event_log import PURCHASE_EVENT, REFUND_EVENT, SESSION_EVENT
from players.models import Player, player_id_for
from players.notes import note_add
from players.values import values_fill
from segments.lists.services import ids_add
from segments.models import Segment

SIZE = 5_000
TEST_SIZE = 12
COUNTING_SECONDS = 2.0  # for the figures of past days, the newest first; the worker counts the rest
SEED = 20_260
JSON = msgspec.json.Encoder(decimal_format="number")


PLAYER_COLUMNS = (
    "id environment_id external_id device_id email attributes session_count purchase_count "
    f"total_revenue {' '.join(column.name for column in fields(Seen))}"
)
SESSION_COLUMNS = "player_id digest session_id started_at duration_seconds received_at"
PURCHASE_COLUMNS = (
    "player_id environment_id digest transaction_id amount currency counted verified product_id "
    "received_at refunded_at"
)
EVENT_COLUMNS = (
    "received_at player_id environment_id event_id name session_id properties occurred_at"
)
NOTE = """Lost the gems of the winter quest when switching phones. Restored 120 gems manually.
If it happens again, request the receipt first."""


@dataclass(frozen=True, slots=True)
class Filled:
    """The numbers of added rows; all 0 if the project already has the sample game."""

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
) -> Filled:
    """Fill `live` with `size` sample players, and `test` with a few.

    The default `progress` draws a bar on stderr.
    """
    progress = progress or ProgressBar()
    now = now or datetime.now(UTC)
    live = project.environments.get(slug="live")
    test = project.environments.filter(slug="test").first()
    first_day = (now - timedelta(days=EVENT_DAYS)).date()
    partitions.ensure(first_day, EVENT_DAYS + partitions.DAYS_AHEAD)
    if not _has_sample(live, size):  # outside of the transaction, since it locks the players
        searchable = sorted({*live.searchable_attributes, "username"})
        environment_update(live, {"searchable_attributes": searchable}, actor=actor)
        values_fill(live.pk)
    with transaction.atomic():
        # Serializes concurrent fills. Players can still register under this lock.
        Environment.objects.select_for_update(no_key=True).get(pk=live.pk)
        if _has_sample(live, size):
            return Filled(project.slug)
        filled = _players_fill(live, size, now, progress)
        if test and not _has_sample(test, TEST_SIZE):
            _players_fill(test, TEST_SIZE, now, no_progress)
        progress("Flags and segments", 0, 1)
        config_fill(live, actor, now, {MEASURED: lambda: experiment_fill(live, now)})
        _support_fill(live)
        with connection.cursor() as cursor:  # planner statistics for the first pages
            cursor.execute("ANALYZE player, player_session, purchase, event, exposure")
        evaluations_fill(live, now, SEED)
        progress("Flags and segments", 1, 1)
    progress("Counts", 0, 1)
    # Counts for the first pages, before the worker runs.
    rollups.fold()
    days_count(live, now, COUNTING_SECONDS)
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


def _players_fill(environment: Environment, size: int, now: datetime, progress: Progress) -> Filled:
    """Copy the players, ledgers and events; the events ordered by the time of receipt."""
    players, sessions, purchases, events = list[Row](), list[Row](), list[Row](), list[Row]()
    for number in range(size):
        progress("Players", number, size)
        player = player_draw(number, size, now, SEED)
        player.sales = [
            sale._replace(amount=in_places(sale.amount, environment.currency))
            for sale in player.sales
        ]
        id = player_id_for(environment.namespace, player.external_id)
        players.append(_player_row(environment, id, player))
        sessions.extend(
            (id, digest_of(session.session_id), session.session_id, session.started_at,
             session.duration_seconds, session.ended_at)
            for session in player.sessions
        )  # fmt: skip
        purchases.extend(
            (id, environment.pk, digest_of(sale.transaction_id), sale.transaction_id, sale.amount,
             environment.currency, True, sale.verified, sale.product_id, sale.at, sale.refunded_at)
            for sale in player.sales
        )  # fmt: skip
        events.extend(
            (received_at, id, environment.pk, event_id, name, session_id,
             JSON.encode(properties).decode(), occurred_at)
            for received_at, event_id, name, session_id, properties, occurred_at
            in _log(player, environment.currency)
        )  # fmt: skip
    progress("Players", size, size)
    _copy("player", PLAYER_COLUMNS, players)
    _copy("player_session", SESSION_COLUMNS, sessions)
    _copy("purchase", PURCHASE_COLUMNS, purchases)
    progress("Events", 0, 1)
    _copy("event", EVENT_COLUMNS, sorted(events, key=lambda row: row[0]))
    progress("Events", 1, 1)
    return Filled(environment.project.slug, size, len(sessions), len(purchases), len(events))


def _player_row(environment: Environment, id: Any, player: SamplePlayer) -> Row:
    at_risk, churned = environment.at_risk_days, environment.churned_days
    return (
        id, environment.pk, player.external_id, player.device_id, player.email,
        JSON.encode(player.attributes).decode(), len(player.sessions), len(player.counted),
        sum(player.counted), *astuple(player.seen(timedelta(at_risk), timedelta(churned))),
    )  # fmt: skip


def _log(player: SamplePlayer, currency: str) -> Iterator[Row]:
    """The player's events, and the log entries of the ledgers since the first event: received at,
    id, name, session, properties, occurred at."""
    since = player.events[0].at if player.events else datetime.max.replace(tzinfo=UTC)
    for event in player.events:
        yield event.at, event.event_id, event.name, event.session_id, event.properties, event.at
    for session in player.sessions:
        if session.ended_at > since:
            id, duration = session.session_id, {"duration_seconds": session.duration_seconds}
            yield session.ended_at, id, SESSION_EVENT, id, duration, session.started_at
    for sale in player.sales:
        entry = {
            "amount": sale.amount, "currency": currency, "counted": True,
            "transaction_id": sale.transaction_id, "product_id": sale.product_id,
            "verified": sale.verified,
        }  # fmt: skip
        if sale.at > since:
            yield sale.at, sale.transaction_id, PURCHASE_EVENT, None, entry, sale.at
        if (at := sale.refunded_at) and at > since:
            id = f"refund:{digest_of(sale.transaction_id).hex()}:{round(at.timestamp() * 1e6)}"
            yield at, id, REFUND_EVENT, None, entry, at


def _copy(table: str, columns: str, rows: Sequence[Row]) -> None:
    names = ", ".join(columns.split())
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def _support_fill(environment: Environment) -> None:
    """Add what a support team would: a note and a linked guest id for the most recent payer, and
    players on the lists of a segment."""
    player = Player.objects.of(environment).payers().recent_first().first()
    if player is None:
        return
    actor, number = Actor(CHLOE), player.external_id.rpartition("_")[2]
    player_alias_link(player, f"guest_{number}", actor=actor, reason="Guest account linked")
    note_add(player, NOTE, actor=actor)
    care = Segment.objects.get(environment=environment, key="personal-care")
    ids_add(care, [player.external_id], excluded=False, actor=actor, reason="Lost gems")
    recent = Player.objects.of(environment).payers(False).recent_first()[:3]
    ids = [each.external_id for each in recent]
    ids_add(care, ids, excluded=True, actor=actor, reason="Test accounts of the studio")
