"""Segment membership over the API."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ilara_admin.models import Environment
from segments.lists.services import ids_add
from segments.models import Segment
from segments.services import segment_create
from tests.api_client import EVENTS, PLAYERS, SEGMENTS, Api
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


def test_changed_attribute__applies_to_the_next_request(public_api: Api) -> None:
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
def test_built_in_field__has_the_player_s_value(
    field: str, operator: str, value: Any, environment: Environment, public_api: Api
) -> None:
    make_segment(environment, "chosen", field, operator, value)
    path = f"{PLAYERS}/{public_api.register(email='p@example.com')['id']}"
    public_api.post(f"{path}/session")
    player_id = public_api.post(f"{path}/purchase?amount=4.99").data["id"]
    body = {"player_id": player_id}
    assert public_api.post(f"{SEGMENTS}/chosen/evaluate", body).data["is_member"] is True


def test_segments_of_a_player__are_ordered_by_key(
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
    message = "Segment not found in live, the environment of this key."
    assert (reply.status, reply.error["message"]) == (404, message)


# --- Lists ----------------------------------------------------------------------------------------


def test_lists__win_over_the_rule_and_exclude_over_include(
    environment: Environment, public_api: Api
) -> None:
    segment = Segment.objects.get(environment=environment)
    members = {}
    for name, level, lists in (
        ("by-rule", 45, ""), ("neither", 1, ""), ("included", 1, "i"), ("excluded", 45, "e"),
        ("both", 45, "ie"),
    ):  # fmt: skip
        if lists:  # before the player registers
            for excluded in (False, True):
                if "ie"[excluded] in lists:
                    ids_add(segment, [name], excluded=excluded, actor=ACTOR)
        player_id = public_api.register(name, attributes={"level": level})["id"]
        body = {"player_id": player_id}
        member = public_api.post(f"{SEGMENTS}/beta-testers/evaluate", body).data["is_member"]
        listed = public_api.get(f"/v1/segments/player/{player_id}").data["segments"]
        assert member is bool(listed)
        members[name] = member
    assert members == {
        "by-rule": True, "neither": False, "included": True, "excluded": False, "both": False
    }  # fmt: skip


def test_list_of_a_segment__counts_when_another_segment_refers_to_it(
    environment: Environment, public_api: Api
) -> None:
    make_segment(environment, "outside", "segment", "not_in", ["beta-testers"])
    player_id = public_api.register()["id"]
    path, body = f"{SEGMENTS}/outside/evaluate", {"player_id": player_id}
    assert public_api.post(path, body).data["is_member"] is True
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    ids_add(segment, ["player_123"], excluded=False, actor=ACTOR)
    assert public_api.post(path, body).data["is_member"] is False


# --- Events ---------------------------------------------------------------------------------------


def bought(times: int, operator: str = ">=", **more: Any) -> dict[str, Any]:
    condition = {"event": "buy", "operator": operator, "value": times, "within": "7d", **more}
    return {"operator": "AND", "conditions": [condition]}


def make(environment: Environment, key: str, rule: Any) -> None:
    segment_create(environment=environment, key=key, name="", rule=rule, actor=ACTOR)


def test_events__are_counted_by_the_next_request(environment: Environment, public_api: Api) -> None:
    gold = {"field": "item", "operator": "==", "value": "gold"}
    where = {"operator": "AND", "conditions": [gold]}
    make(environment, "buyers", bought(2))
    make(environment, "never", bought(0, "<="))
    make(environment, "gold", bought(1, where=where))
    make_segment(environment, "indirect", "segment", "in", ["gold"])
    player_id = public_api.register()["id"]

    def segments() -> list[str]:
        found = public_api.get(f"/v1/segments/player/{player_id}").data["segments"]
        one_by_one = [
            key
            for key in ("buyers", "gold", "indirect", "never")
            if public_api.post(f"{SEGMENTS}/{key}/evaluate", {"player_id": player_id}).data[
                "is_member"
            ]
        ]
        assert [segment["id"] for segment in found] == one_by_one
        return one_by_one

    def buy(item: str) -> None:
        body = {"player_id": player_id, "event_name": "buy", "properties": {"item": item}}
        assert public_api.post(EVENTS, body).status == 201

    assert segments() == ["never"]
    buy("silver")
    assert segments() == []
    buy("gold")
    assert segments() == ["buyers", "gold", "indirect"]


def test_old_event_or_event_of_another_player__does_not_count(
    environment: Environment, public_api: Api
) -> None:
    make(environment, "buyers", bought(1))
    mine, other = (public_api.register(name)["id"] for name in ("mine", "other"))
    public_api.post(EVENTS, {"player_id": other, "event_name": "buy"})
    public_api.post(EVENTS, {"player_id": mine, "event_name": "buy"})
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE event SET received_at = received_at - interval '7 days' WHERE player_id = %s",
            [mine],
        )
    members = [
        public_api.post(f"{SEGMENTS}/buyers/evaluate", {"player_id": each}).data["is_member"]
        for each in (mine, other)
    ]
    assert members == [False, True]


def statements(api: Api, method: str, path: str, body: Any = None) -> list[str]:
    assert api.request(method, path, body).status == 200  # loads the snapshot
    with CaptureQueriesContext(connection) as queries:
        assert api.request(method, path, body).status == 200
    return [query["sql"] for query in queries]


def test_one_query__whatever_the_number_of_segments(
    environment: Environment, public_api: Api
) -> None:
    path = f"/v1/segments/player/{public_api.register()['id']}"
    assert len(statements(public_api, "GET", path)) == 1
    for number in range(30):
        make(environment, f"s{number}", bought(number % 3 + 1))
        make_segment(environment, f"t{number}", "segment", "in", [f"s{number}"])
    (sql,) = statements(public_api, "GET", path)
    # Each event count is computed once, however many segments need it.
    assert sql.count("FROM event ") == 3
    assert sql.count("FROM segment_member") == 1


def test_events__are_read_only_for_rules_that_count_them(
    environment: Environment, public_api: Api
) -> None:
    make(environment, "buyers", bought(1))
    make_segment(environment, "indirect", "segment", "in", ["buyers"])
    body = {"player_id": public_api.register()["id"]}
    for key, reads in (("beta-testers", 0), ("buyers", 1), ("indirect", 1)):
        (sql,) = statements(public_api, "POST", f"{SEGMENTS}/{key}/evaluate", body)
        assert sql.count("FROM event ") == reads, key
