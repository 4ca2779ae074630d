"""Purchases: exact amounts, idempotent by id, one currency in the sum."""

from decimal import Decimal
from typing import Any

import pytest

from ilara_admin.models import Environment
from players.models import Player, Purchase
from players.services import purchase_refund
from tests.api_client import PLAYERS, Api
from tests.factories import ACTOR, make_environment, make_key
from tests.inputs import inputs
from tests.threads import at_once

AMOUNTS = inputs("amounts")


@pytest.fixture
def path(player: Player) -> str:
    return f"{PLAYERS}/{player.id}/purchase"


def test_purchase__makes_a_payer(path: str, public_api: Api) -> None:
    data = public_api.post(f"{path}?amount=4.99").data
    assert (data["total_revenue"], data["is_payer"]) == (4.99, True)


def test_sum_of_cents__is_exact(path: str, public_api: Api) -> None:
    for _ in range(10):
        reply = public_api.post(path, {"amount": 0.1})
    assert b'"total_revenue":1.00' in reply.body
    assert Player.objects.get().total_revenue == Decimal("1.00")


@pytest.mark.parametrize(("amount", "stored"), [("4.99", "4.99"), ("4", "4"), ("0.01", "0.01")])
def test_valid_amount__is_stored(amount: str, stored: str, path: str, public_api: Api) -> None:
    assert public_api.post(f"{path}?amount={amount}").status == 200
    assert public_api.post(path, f'{{"amount": {amount}}}'.encode()).status == 200
    assert [each.amount for each in Purchase.objects.all()] == [Decimal(stored)] * 2


@pytest.mark.parametrize("body", [b'{"amount":4.99}', b'{"amount":"4.99"}'])
def test_amount__is_read_exactly(body: bytes, path: str, public_api: Api) -> None:
    assert b'"total_revenue":4.99' in public_api.post(path, body).body


def test_largest_amount__is_exact(path: str, public_api: Api) -> None:
    reply = public_api.post(path, b'{"amount":999999999.99}')
    assert b'"total_revenue":999999999.99' in reply.body


@pytest.mark.parametrize("given", AMOUNTS, ids=lambda given: f"{given['text']} {given['currency']}")
def test_amount__is_judged_by_value(given: dict[str, Any], path: str, public_api: Api) -> None:
    body = f'{{"amount": {given["text"]}, "currency": "{given["currency"]}"}}'.encode()
    reply = public_api.post(path, body)
    if "amount" in given:
        assert reply.status == 200
        purchase = Purchase.objects.get()
        assert (purchase.amount, purchase.currency) == (
            Decimal(given["amount"]), given["currency"].upper()
        )  # fmt: skip
        return
    assert (reply.status, reply.error["details"][0]["field"]) == (400, "amount")
    assert given["says"] in reply.error["message"]
    assert not Purchase.objects.exists()


@pytest.mark.parametrize(
    "amount", ["", "0", "1e30", "-1", "4.999", "abc", "4,99", "NaN", "1e9999999999"]
)
def test_invalid_amount_in_the_query__is_refused(amount: str, path: str, public_api: Api) -> None:
    reply = public_api.post(f"{path}?amount={amount}")
    assert (reply.status, reply.error["details"][0]["field"]) == (400, "amount")


def test_empty_amount_in_the_query__counts_as_absent(path: str, public_api: Api) -> None:
    assert public_api.post(f"{path}?amount=", {"amount": 5}).status == 200


@pytest.mark.parametrize(
    ("currency", "amounts", "total"),
    [
        ("KWD", ["1.234", "0.1"], b"1.334"),
        ("JPY", ["100.00", "20"], b"120"),
        ("CLF", ["1.5"], b"1.5000"),
    ],
)
def test_revenue__has_the_places_of_the_currency(
    currency: str, amounts: list[str], total: bytes, environment: Environment, player: Player,
    public_api: Api,
) -> None:  # fmt: skip
    Environment.objects.filter(pk=environment.pk).update(currency=currency)
    for number, amount in enumerate(amounts):
        body = {"amount": amount, "transaction_id": f"t-{number}"}
        reply = public_api.post(f"{PLAYERS}/{player.id}/purchase", body)
    assert b'"total_revenue":' + total + b"," in reply.body
    purchase_refund(player, "t-0", actor=ACTOR)
    player.refresh_from_db()
    assert player.total_revenue == sum(map(Decimal, amounts[1:]))


def test_body_and_query__must_be_equal(path: str, public_api: Api) -> None:
    assert public_api.post(f"{path}?amount=5.00", {"amount": 5}).status == 200
    assert public_api.post(f"{path}?amount=5.01", {"amount": 5}).status == 400


def test_purchase__is_stored_as_sent(path: str, public_api: Api) -> None:
    body = {"amount": 4.99, "currency": "usd", "transaction_id": "t-1", "product_id": "sword"}
    public_api.post(path, body)
    purchase = Purchase.objects.get()
    assert (purchase.amount, purchase.currency) == (Decimal("4.99"), "USD")
    assert (purchase.transaction_id, purchase.product_id) == ("t-1", "sword")
    assert (purchase.counted, purchase.verified) == (True, False)


def test_purchase_by_secret_key__is_verified(path: str, secret_api: Api) -> None:
    secret_api.post(f"{path}?amount=1")
    assert Purchase.objects.get().verified


def test_other_currency__is_stored_and_not_counted(path: str, public_api: Api) -> None:
    data = public_api.post(path, {"amount": 500, "currency": "JPY"}).data
    assert (data["total_revenue"], data["is_payer"]) == (0, False)
    purchase = Purchase.objects.get()
    assert (purchase.amount, purchase.currency, purchase.counted) == (
        Decimal(500),
        "JPY",
        False,
    )


def test_currency_of_the_environment__counts(
    environment: Environment, player: Player, public_api: Api
) -> None:
    Environment.objects.filter(pk=environment.pk).update(currency="EUR")
    path = f"{PLAYERS}/{player.id}/purchase"
    assert public_api.post(path, {"amount": 2}).data["total_revenue"] == 2
    assert public_api.post(path, {"amount": 2, "currency": "eur"}).data["total_revenue"] == 4
    assert public_api.post(path, {"amount": 2, "currency": "USD"}).data["total_revenue"] == 4


def test_repeated_id__counts_once_and_names_what_differs(path: str, public_api: Api) -> None:
    sent = {"amount": 5, "transaction_id": "t-1", "product_id": "sword"}
    first = public_api.post(path, sent)
    assert "X-Ilara-Conflict" not in first.headers
    again = public_api.post(path, {"amount": 9, "transaction_id": "t-1"})
    assert again.status == 200
    assert again.data == {**first.data, "last_seen_at": again.data["last_seen_at"]}
    assert again.headers["X-Ilara-Conflict"] == "amount"
    other = {"amount": 6, "currency": "EUR", "product_id": "shield", "transaction_id": "t-1"}
    reply = public_api.post(path, other)
    assert reply.headers["X-Ilara-Conflict"] == "amount, currency, product_id"
    assert Purchase.objects.get().amount == 5


@pytest.mark.parametrize(
    "again",
    [
        {"amount": "5.000"},
        {"amount": 5, "currency": "usd"},
        {"amount": 5, "currency": "", "product_id": None},
        {"amount": 5.0, "product_id": "sword"},
    ],
)
def test_repeat_of_equal_value__is_no_conflict(
    again: dict[str, Any], path: str, public_api: Api
) -> None:
    public_api.post(path, {"amount": 5, "transaction_id": "t-1", "product_id": "sword"})
    reply = public_api.post(path, {**again, "transaction_id": "t-1"})
    assert (reply.status, "X-Ilara-Conflict" in reply.headers) == (200, False)


def test_id_of_another_players_purchase__does_not_count(path: str, public_api: Api) -> None:
    body = {"amount": 5, "transaction_id": "t-1"}
    public_api.post(path, body)
    other = f"{PLAYERS}/{public_api.register('other')['id']}/purchase"
    reply = public_api.post(other, body)
    assert (reply.status, reply.data["total_revenue"]) == (200, 0)
    assert reply.headers["X-Ilara-Conflict"] == "player_id"
    assert Purchase.objects.count() == 1


def test_id_of_another_environment__is_another_purchase(path: str, public_api: Api) -> None:
    public_api.post(path, {"amount": 5, "transaction_id": "t-1"})
    elsewhere = Api(make_key(make_environment()).token)
    other = f"{PLAYERS}/{elsewhere.register()['id']}/purchase"
    reply = elsewhere.post(other, {"amount": 5, "transaction_id": "t-1"})
    assert (reply.data["total_revenue"], "X-Ilara-Conflict" in reply.headers) == (5, False)


@pytest.mark.django_db(transaction=True)
def test_one_id_of_many_players_at_once__counts_once(public_api: Api) -> None:
    players = [public_api.register(f"p-{number}")["id"] for number in range(8)]

    def buy(player: str) -> str | None:
        body = {"amount": 5, "transaction_id": "t-1"}
        reply = public_api.post(f"{PLAYERS}/{player}/purchase", body)
        assert reply.status == 200
        return reply.headers.get("X-Ilara-Conflict")

    assert sorted(map(str, at_once(buy, players))) == ["None"] + ["player_id"] * 7
    assert sum(each.total_revenue for each in Player.objects.all()) == 5


def test_header__is_used_only_without_an_id(path: str, public_api: Api) -> None:
    public_api.post(f"{path}?amount=1", idempotency_key="k-1")
    public_api.post(f"{path}?amount=1", idempotency_key="k-1")
    assert Purchase.objects.get().transaction_id == "k-1"
    body = {"amount": 1, "transaction_id": "t-2"}
    assert public_api.post(path, body, idempotency_key="k-1").data["total_revenue"] == 2


def test_purchases_without_an_id__all_count(path: str, public_api: Api) -> None:
    for _ in range(2):
        data = public_api.post(f"{path}?amount=1").data
    assert data["total_revenue"] == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"currency": "EURO"}, "currency"),
        ({"currency": "E1R"}, "currency"),
        ({"currency": "USD\n"}, "currency"),
        ({"currency": 840}, "currency"),
        ({"transaction_id": "x" * 129}, "transaction_id"),
        ({"product_id": 1.5}, "product_id"),
    ],
)
def test_invalid_field__is_refused(body: Any, field: str, path: str, public_api: Api) -> None:
    reply = public_api.post(path, {"amount": 1, **body})
    assert (reply.status, reply.error["details"][0]["field"]) == (400, field)
    assert not Purchase.objects.exists()


def test_empty_texts__count_as_absent(path: str, public_api: Api) -> None:
    body = {"amount": 1, "currency": "", "transaction_id": "", "product_id": ""}
    for _ in range(2):
        assert public_api.post(path, body).status == 200
    first, second = Purchase.objects.all()
    assert (first.currency, first.transaction_id, first.product_id) == ("USD", None, None)
    assert first.digest != second.digest
