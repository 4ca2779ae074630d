"""Sessions, purchases and refunds, and their events."""

import random
from collections import Counter
from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Count, Q, Sum

from events.models import Event
from events.timeline import TimelineFilter, TimelineKind, timeline
from ilara_admin.models import AuditEntry, Environment
from players.models import Player, Purchase
from players.services import purchase_refund, purchase_refund_undo
from tests.api_client import PLAYERS, Api
from tests.factories import ACTOR
from tests.threads import at_once


@pytest.fixture
def path(player: Player) -> str:
    return f"{PLAYERS}/{player.id}"


def logged() -> list[tuple[str, str, str | None, dict[str, object]]]:
    events = Event.objects.order_by("id")
    return [(each.name, each.event_id, each.session_id, each.properties) for each in events]


def test_session__is_logged_at_its_start_time(path: str, public_api: Api) -> None:
    body = {"session_id": "s-1", "started_at": "2026-05-01T10:00:00Z", "duration_seconds": 90}
    for _ in range(2):
        public_api.post(f"{path}/session", body)
    assert logged() == [("ilara.session", "s-1", "s-1", {"duration_seconds": 90})]
    event = Event.objects.get()
    assert event.occurred_at.isoformat() == "2026-05-01T10:00:00+00:00"
    assert event.received_at > event.occurred_at


def test_purchase__is_logged_with_its_fields(path: str, public_api: Api) -> None:
    body = {"amount": 4.99, "transaction_id": "t-1", "product_id": "gems"}
    for _ in range(2):
        public_api.post(f"{path}/purchase", body)
    properties = {
        "amount": 4.99, "currency": "USD", "transaction_id": "t-1", "product_id": "gems",
        "counted": True, "verified": False,
    }  # fmt: skip
    assert logged() == [("ilara.purchase", "t-1", None, properties)]


def test_entry_without_an_id__gets_an_event_id(path: str, public_api: Api) -> None:
    public_api.post(f"{path}/session")
    public_api.post(f"{path}/purchase?amount=1")
    assert [len(event_id) for _, event_id, _, _ in logged()] == [32, 32]


def test_refused_call__logs_nothing(public_api: Api) -> None:
    assert public_api.post(f"{PLAYERS}/{uuid4()}/session").status == 404
    assert logged() == []


def test_timeline__shows_a_refunded_purchase_once(
    path: str, player: Player, public_api: Api
) -> None:
    public_api.post(f"{path}/purchase", {"amount": 1, "transaction_id": "t-1"})
    purchase_refund(player, "t-1", actor=ACTOR)
    (entry,) = timeline(player.pk, TimelineFilter(TimelineKind.PURCHASE)).entries
    assert getattr(entry.detail, "refunded_at", None) is not None
    named = timeline(player.pk, TimelineFilter(event_name="ilara.refund")).entries
    assert [getattr(entry.detail, "name", "") for entry in named] == ["ilara.refund"]


def test_refund__changes_only_the_revenue(path: str, player: Player, public_api: Api) -> None:
    for name, amount in (("t-1", 5), ("t-2", 3)):
        public_api.post(f"{path}/purchase", {"amount": amount, "transaction_id": name})
    seen = Player.objects.get()
    entry = purchase_refund(player, "t-1", actor=ACTOR, reason="Bought by a child")
    now = Player.objects.get()
    assert (now.purchase_count, now.total_revenue) == (1, Decimal(3))
    assert (now.last_seen_at, now.active_days) == (seen.last_seen_at, seen.active_days)
    assert Purchase.objects.filter(refunded_at=None).get().transaction_id == "t-2"
    assert logged()[-1][0] == "ilara.refund"
    assert (entry.action, entry.reason) == ("player.purchase_refunded", "Bought by a child")
    with pytest.raises(ValidationError, match="is already refunded"):
        purchase_refund(player, "t-1", actor=ACTOR)
    # Sent again by the game: it stays refunded.
    body = {"amount": 5, "transaction_id": "t-1"}
    assert public_api.post(f"{path}/purchase", body).data["total_revenue"] == 3


def test_refund_of_the_only_purchase__makes_a_non_payer(
    path: str, player: Player, public_api: Api
) -> None:
    public_api.post(f"{path}/purchase", {"amount": 5, "transaction_id": "t-1"})
    purchase_refund(player, "t-1", actor=ACTOR)
    assert public_api.get(path).data["is_payer"] is False


def test_refund_in_another_currency__changes_no_sum(
    path: str, player: Player, public_api: Api
) -> None:
    body = {"amount": 500, "currency": "JPY", "transaction_id": "t-1"}
    public_api.post(f"{path}/purchase", body)
    purchase_refund(player, "t-1", actor=ACTOR)
    now = Player.objects.get()
    assert (now.purchase_count, now.total_revenue) == (0, Decimal(0))


def test_reversed_refund__restores_the_counts(path: str, player: Player, public_api: Api) -> None:
    for name, amount in (("t-1", 5), ("t-2", 3)):
        public_api.post(f"{path}/purchase", {"amount": amount, "transaction_id": name})
    before = Player.objects.get()
    for _ in range(2):
        purchase_refund(player, "t-1", actor=ACTOR)
        entry = purchase_refund_undo(player, "t-1", actor=ACTOR, reason="Paid after all")
    now = Player.objects.get()
    assert (now.purchase_count, now.total_revenue) == (2, Decimal(8))
    assert (now.last_seen_at, now.active_days) == (before.last_seen_at, before.active_days)
    assert not Purchase.objects.exclude(refunded_at=None).exists()
    assert (entry.action, entry.reason) == ("player.refund_reversed", "Paid after all")
    assert [name for name, *_ in logged()[2:]] == ["ilara.refund", "ilara.refund_reversed"] * 2
    # Readers of the stream distinguish events by id.
    assert len({event_id for _, event_id, _, _ in logged()}) == 6
    with pytest.raises(ValidationError, match="is not refunded"):
        purchase_refund_undo(player, "t-1", actor=ACTOR)
    assert len(timeline(player.pk, TimelineFilter(TimelineKind.PURCHASE)).entries) == 2


def test_reversed_refund_in_another_currency__changes_no_sum(
    path: str, player: Player, public_api: Api
) -> None:
    body = {"amount": 500, "currency": "JPY", "transaction_id": "t-1"}
    public_api.post(f"{path}/purchase", body)
    purchase_refund(player, "t-1", actor=ACTOR)
    purchase_refund_undo(player, "t-1", actor=ACTOR)
    now = Player.objects.get()
    assert (now.purchase_count, now.total_revenue) == (0, Decimal(0))


def test_timeline__shows_each_ledger_entry_once(path: str, player: Player, public_api: Api) -> None:
    """Although they are also events."""
    public_api.post(f"{path}/session", {"session_id": "s-1"})
    public_api.post(f"{path}/purchase", {"amount": 1, "transaction_id": "t-1"})
    purchase_refund(player, "t-1", actor=ACTOR)
    purchase_refund_undo(player, "t-1", actor=ACTOR)
    assert Event.objects.count() == 4
    kinds = [entry.kind for entry in timeline(player.pk).entries]
    assert kinds == [
        TimelineKind.STAFF, TimelineKind.STAFF, TimelineKind.PURCHASE, TimelineKind.SESSION,
    ]  # fmt: skip


def test_command__refunds_by_transaction_or_event_id(
    path: str, environment: Environment, public_api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    public_api.post(f"{path}/purchase?amount=4.99")
    public_api.post(f"{path}/purchase", {"amount": 2, "transaction_id": "t-1"})
    player = Player.objects.get()
    with pytest.raises(CommandError, match="no purchase “t-9”"):
        call_command("purchase_refund", str(environment), player.external_id, "t-9")
    with pytest.raises(CommandError, match="has no player “missing”"):
        call_command("purchase_refund", str(environment), "missing", "t-1")
    call_command("purchase_refund", str(environment), str(player.pk), "t-1", reason="Fraud")
    call_command("purchase_refund", str(environment), player.external_id, logged()[0][1])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "4.99 USD refunded. player_123 now has 0 purchases and 0.00 in revenue."
    assert AuditEntry.objects.filter(action="player.purchase_refunded").count() == 2


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_concurrent_purchases_refunds_and_reversals__leave_revenue_equal_to_the_ledger(
    public_api: Api,
) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}/purchase"
    player = Player.objects.get()
    draw = random.Random(3)

    def act(number: int) -> str:
        # Buys, refunds and reverses each of 15 purchases several times.
        kind, name = number % 3, f"t-{number // 3 % 15}"
        if kind == 0:
            body = {"amount": number // 3 % 15 + 0.25, "transaction_id": name}
            assert public_api.post(path, body).status == 200
            return "bought"
        service = purchase_refund if kind == 1 else purchase_refund_undo
        try:
            return service(player, name, actor=ACTOR).action
        except ValidationError:
            return "refused"

    numbers = list(range(180))
    draw.shuffle(numbers)
    done = Counter(
        each for start in range(0, 180, 20) for each in at_once(act, numbers[start : start + 20])
    )
    assert done["player.purchase_refunded"] > done["player.refund_reversed"] > 0
    player.refresh_from_db()
    standing = Q(counted=True, refunded_at=None)
    ledger = Purchase.objects.aggregate(
        number=Count("digest", filter=standing),
        amount=Sum("amount", filter=standing, default=Decimal(0)),
        refunded=Count("digest", filter=~standing),
    )
    assert (player.purchase_count, player.total_revenue) == (ledger["number"], ledger["amount"])
    assert ledger["refunded"] == done["player.purchase_refunded"] - done["player.refund_reversed"]
    assert Purchase.objects.count() == 15
    assert Counter(Event.objects.values_list("name", flat=True)) == {
        "ilara.purchase": 15,
        "ilara.refund": done["player.purchase_refunded"],
        "ilara.refund_reversed": done["player.refund_reversed"],
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT properties::text FROM event WHERE name = 'ilara.refund' LIMIT 1")
        (text,) = cursor.fetchone()
    assert str(msgspec.json.decode(text)["amount"]).endswith(".25")
