"""Purchases: exact amounts, idempotent by id, one currency in the sum."""

from decimal import Decimal
from typing import Any

import pytest

from ilara_admin.models import Environment
from players.models import Player, Purchase
from tests.api_client import PLAYERS, Api


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


@pytest.mark.parametrize(
    "amount",
    [
        b"0", b"-1", b"4.999", b"1e3", b"1000000000", b"10000000000000", b"true", b"[]", b"null",
        b'"abc"', b'""', b'"4,99"', b'"1e3"', b'"NaN"', b"1e400",
    ],
)  # fmt: skip
def test_invalid_amount__is_refused(amount: bytes, path: str, public_api: Api) -> None:
    reply = public_api.post(path, b'{"amount":' + amount + b"}")
    assert (reply.status, reply.error["details"][0]["field"]) == (400, "amount")
    assert not Purchase.objects.exists()


@pytest.mark.parametrize(
    "query",
    [
        "", "?amount=", "?amount=0", "?amount=1e3", "?amount=-1", "?amount=4.999", "?amount=abc",
        "?amount=10000000000000", "?amount=4,99",
    ],
)  # fmt: skip
def test_invalid_amount_in_the_query__is_refused(query: str, path: str, public_api: Api) -> None:
    assert public_api.post(path + query).error["details"][0]["field"] == "amount"


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


def test_repeated_id__counts_once_even_with_other_data(path: str, public_api: Api) -> None:
    first = public_api.post(path, {"amount": 5, "transaction_id": "t-1"}).data
    again = public_api.post(path, {"amount": 9, "transaction_id": "t-1"})
    assert again.status == 200
    assert again.data == {**first, "last_seen_at": again.data["last_seen_at"]}
    assert Purchase.objects.get().amount == 5


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
        ({"transaction_id": ""}, "transaction_id"),
        ({"transaction_id": "x" * 129}, "transaction_id"),
        ({"product_id": ""}, "product_id"),
        ({"product_id": 1.5}, "product_id"),
    ],
)
def test_invalid_field__is_refused(body: Any, field: str, path: str, public_api: Api) -> None:
    reply = public_api.post(path, {"amount": 1, **body})
    assert (reply.status, reply.error["details"][0]["field"]) == (400, field)
    assert not Purchase.objects.exists()
