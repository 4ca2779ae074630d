"""Migrations that change stored rows."""

from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from ilara_admin.api.bodies import digest_of
from players.models import Player, Purchase
from players.services import purchase_of
from tests.api_client import PLAYERS, Api
from tests.factories import make_environment, make_key, make_player

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def migrate(name: str) -> None:
    MigrationExecutor(connection).migrate([("players", name)])


def migrate_to_now() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("players"))


@pytest.fixture
def before_amounts() -> Iterator[None]:
    migrate("0001_initial")
    yield
    migrate_to_now()


def buy(player: Player, transaction_id: str, amount: str, day: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO purchase (player_id, digest, transaction_id, amount, currency, counted,
                                     verified, received_at)
               VALUES (%s, %s, %s, %s, 'USD', true, false,
                       make_timestamptz(2026, 5, %s, 0, 0, 0))""",
            [player.pk, digest_of(transaction_id), transaction_id, amount, day],
        )


def test_transaction_id_of_several_players__stays_with_the_first(before_amounts: None) -> None:
    environment, elsewhere = make_environment(), make_environment()
    first, second = (
        make_player(environment, "a"),
        make_player(environment, "b", email="", device_id=""),
    )
    stranger = make_player(elsewhere, "c")
    buy(second, "t-1", "2", day=2)
    buy(first, "t-1", "1", day=1)
    buy(stranger, "t-1", "3", day=3)
    migrate("0002_amounts_and_transactions")
    assert {each.player_id: each.amount for each in Purchase.objects.all()} == {
        first.pk: 1, second.pk: 2, stranger.pk: 3
    }  # fmt: skip
    assert purchase_of(second, "t-1").amount == 2
    assert bytes(purchase_of(first, "t-1").digest) == digest_of("t-1")
    second.refresh_from_db()
    assert (second.email, second.device_id) == (None, None)
    migrate_to_now()  # as the API expects
    body = {"amount": 2, "transaction_id": "t-1"}
    reply = Api(make_key(environment).token).post(f"{PLAYERS}/{second.pk}/purchase", body)
    assert reply.headers["X-Ilara-Conflict"] == "amount, player_id"
    assert Purchase.objects.count() == 3
