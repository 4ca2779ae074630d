"""Segment membership over the API."""

from typing import Any

import pytest

from ilara_admin.models import Environment
from segments.services import segment_create
from tests.api_client import PLAYERS, SEGMENTS, Api
from tests.factories import ACTOR


def make_segment(environment: Environment, key: str, field: str, operator: str, value: Any) -> None:
    rule = {
        "operator": "AND",
        "conditions": [{"field": field, "operator": operator, "value": value}],
    }
    segment_create(environment=environment, key=key, name=key.upper(), rule=rule, actor=ACTOR)


@pytest.mark.parametrize(
    ("attributes", "member"),
    [
        ({"level": 40}, True),
        ({"level": 39.9}, False),
        ({"level": "45"}, False),
        ({"is_vip": True}, True),
        ({"is_vip": 1}, False),
        ({}, False),
    ],
)
def test_membership__follows_the_attributes(
    attributes: dict[str, Any], member: bool, public_api: Api
) -> None:
    player_id = public_api.register(attributes=attributes)["id"]
    data = public_api.post(f"{SEGMENTS}/beta-testers/evaluate", {"player_id": player_id}).data
    assert data == {"segment_id": "beta-testers", "player_id": player_id, "is_member": member}
    segments = public_api.get(f"/v1/segments/player/{player_id}").data["segments"]
    assert segments == ([{"id": "beta-testers", "name": "Beta testers"}] if member else [])


def test_membership__follows_a_change_at_once(public_api: Api) -> None:
    player_id = public_api.register()["id"]
    path, body = f"{SEGMENTS}/beta-testers/evaluate", {"player_id": player_id}
    assert public_api.post(path, body).data["is_member"] is False
    public_api.patch(f"{PLAYERS}/{player_id}", {"attributes": {"level": 40}})
    assert public_api.post(path, body).data["is_member"] is True


@pytest.mark.parametrize(
    ("field", "operator", "value"),
    [
        ("external_id", "starts_with", "player_"),
        ("email", "ends_with", "@example.com"),
        ("lifecycle_stage", "==", "new"),
        ("is_payer", "==", True),
        ("session_count", "==", 1),
        ("purchase_count", "==", 1),
        ("total_revenue", "==", 4.99),
        ("first_seen_at", "within_last", "1d"),
        ("last_seen_at", "within_last", "1m"),
        ("days_since_last_seen", "<", 1),
        ("device_id", "is_not_set", None),
    ],
)
def test_built_in_field__is_what_the_player_says(
    field: str, operator: str, value: Any, environment: Environment, public_api: Api
) -> None:
    make_segment(environment, "chosen", field, operator, value)
    path = f"{PLAYERS}/{public_api.register(email='p@example.com')['id']}"
    public_api.post(f"{path}/session")
    player_id = public_api.post(f"{path}/purchase?amount=4.99").data["id"]
    body = {"player_id": player_id}
    assert public_api.post(f"{SEGMENTS}/chosen/evaluate", body).data["is_member"] is True


def test_segments_of_a_player__come_in_the_order_of_their_keys(
    environment: Environment, public_api: Api
) -> None:
    make_segment(environment, "a", "level", ">", 1)
    make_segment(environment, "z", "level", ">", 1)
    make_segment(environment, "m", "level", ">", 100)
    player_id = public_api.register(attributes={"level": 45})["id"]
    data = public_api.get(f"/v1/segments/player/{player_id}").data
    assert [segment["id"] for segment in data["segments"]] == ["a", "beta-testers", "z"]
    assert data["segments"][0]["name"] == "A"


def test_segment_of_another_environment__is_not_found(
    environment: Environment, public_api: Api
) -> None:
    other = environment.project.environments.get(slug="test")
    make_segment(other, "theirs", "level", ">", 1)
    body = {"player_id": public_api.register()["id"]}
    reply = public_api.post(f"{SEGMENTS}/theirs/evaluate", body)
    assert (reply.status, reply.error["message"]) == (404, "Segment not found")
