"""The published API reference, replayed with both kinds of keys."""

from datetime import datetime

import pytest

from tests.api_client import Api
from tests.replay import CASES, TIME, Steps, replay
from tests.specification import JudgedApi

cases = pytest.mark.parametrize("steps", CASES.values(), ids=CASES)


@cases
def test_public_key__replies_as_published(steps: Steps, public_api: Api) -> None:
    replay(steps, JudgedApi(public_api.token), "$public")


@cases
def test_secret_key__replies_as_published(steps: Steps, secret_api: Api) -> None:
    replay(steps, JudgedApi(secret_api.token), "$secret")


def test_player__has_exactly_the_eleven_published_fields(public_api: Api) -> None:
    assert list(public_api.register()) == [
        "id", "external_id", "device_id", "email", "lifecycle_stage", "session_count",
        "total_revenue", "is_payer", "first_seen_at", "last_seen_at", "attributes",
    ]  # fmt: skip


def test_evaluation__has_exactly_the_five_published_fields(public_api: Api) -> None:
    player = public_api.register()
    reply = public_api.post("/v1/flags/flags/new_tutorial/evaluate", {"player_id": player["id"]})
    assert list(reply.data) == ["flag_key", "value", "variant_key", "reason", "segment_id"]


def test_times__are_rfc_3339_in_utc(public_api: Api) -> None:
    moment = public_api.register()["first_seen_at"]
    assert TIME.fullmatch(moment)
    assert datetime.fromisoformat(moment).utcoffset() is not None


def test_stream__needs_a_secret_key(public_api: Api) -> None:
    reply = public_api.get("/v1/events/events/stream")
    assert (reply.status, reply.error["code"]) == (403, "UNAUTHORIZED")
