"""A change is in force on the next request, in a process with a stale snapshot."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from flags.cache import flags_part
from flags.models import Flag
from flags.services import flag_set_archived, flag_set_enabled
from ilara_admin.api import environment_cache
from ilara_admin.core import db, tokens
from ilara_admin.core.api_keys import api_key_revoke, api_key_rotate
from ilara_admin.core.projects import project_update
from ilara_admin.models import Environment, KeyKind, Tier
from players.cache import churn_part
from players.models import Player
from segments.cache import segments_part
from segments.models import Segment
from segments.services import segment_update
from tests.api_client import FLAGS, PLAYERS, SEGMENTS, Api
from tests.factories import ACTOR, make_environment, make_key, make_player
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def elsewhere(change: Callable[[], object]) -> None:
    """Make a change as another process would: over another connection."""
    at_once(lambda _: change(), [None])


def test_revoked_key__is_refused_at_once(environment: Environment) -> None:
    new = make_key(environment)
    api = Api(new.token)
    player = api.register()
    elsewhere(lambda: api_key_revoke(new.key, actor=ACTOR))
    assert api.get(f"{PLAYERS}/{player['id']}").status == 401
    assert api.post(PLAYERS, {"external_id": "late"}).status == 401


def test_rotated_key__expires_by_the_clock_of_the_database(environment: Environment) -> None:
    new = make_key(environment)
    api = Api(new.token)
    player = api.register()
    elsewhere(lambda: api_key_rotate(new.key, grace=timedelta(0), actor=ACTOR))
    reply = api.get(f"{PLAYERS}/{player['id']}")
    assert reply.status == 401
    assert reply.error["message"].startswith("Invalid API key: it has expired")


def test_new_key__works_at_once(environment: Environment, public_api: Api) -> None:
    public_api.register()
    issued: list[str] = []
    elsewhere(lambda: issued.append(make_key(environment, KeyKind.SECRET).token))
    assert Api(issued[0]).get(PLAYERS).status == 200


def test_unknown_key__is_not_cached(environment: Environment) -> None:
    new = make_key(environment)
    new.key.delete()
    environment_cache.clear_cache()
    api = Api(new.token)
    assert api.get(PLAYERS).status == 401
    new.key.save(force_insert=True)
    assert api.post(PLAYERS, {"external_id": "x"}).status == 201


def test_flag_turned_off__is_off_at_once(public_api: Api, environment: Environment) -> None:
    player = public_api.register(attributes={"is_vip": True})
    path, body = f"{FLAGS}/new_tutorial/evaluate", {"player_id": player["id"]}
    assert public_api.post(path, body).data["value"] is True
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    elsewhere(lambda: flag_set_enabled(flag, False, actor=ACTOR))
    assert public_api.post(path, body).data["reason"] == "disabled"
    elsewhere(lambda: flag_set_enabled(flag, True, actor=ACTOR))
    assert public_api.post(path, body).data["value"] is True


def test_archived_flag__leaves_the_list_at_once(public_api: Api, environment: Environment) -> None:
    body = {"player_id": public_api.register()["id"]}
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    elsewhere(lambda: flag_set_archived(flag, True, actor=ACTOR))
    assert list(public_api.post(f"{FLAGS}/evaluate", body).data["flags"]) == ["new-feature"]
    assert public_api.post(f"{FLAGS}/new_tutorial/evaluate", body).data["reason"] == "disabled"


def test_changed_segment__changes_flags_that_use_it(
    public_api: Api, environment: Environment
) -> None:
    body = {"player_id": public_api.register(attributes={"level": 45})["id"]}
    assert public_api.post(f"{FLAGS}/new_tutorial/evaluate", body).data["value"] is True
    segment = Segment.objects.get(environment=environment)
    rule = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 45}]}
    elsewhere(lambda: segment_update(segment, name="Beta", rule=rule, description="", actor=ACTOR))
    assert public_api.post(f"{FLAGS}/new_tutorial/evaluate", body).data["value"] is False
    assert public_api.post(f"{SEGMENTS}/beta-testers/evaluate", body).data["is_member"] is False


def test_tier_of_the_project__applies_to_all_environments(environment: Environment) -> None:
    both = list(environment.project.environments.all())
    apis = [Api(make_key(item).token) for item in both]
    for api in apis:
        api.register()
    elsewhere(lambda: project_update(environment.project, tier=Tier.FREE, actor=ACTOR))
    for api, item in zip(apis, both, strict=True):
        api.register()
        assert environment_cache.of_environment(item.pk).tier == "free"


def test_relaxed_setting__applies_at_once(environment: Environment, public_api: Api) -> None:
    Environment.objects.filter(pk=environment.pk).update(public_keys_restricted=True)
    player_id = public_api.register()["id"]
    assert public_api.get(f"{PLAYERS}/{player_id}").status == 403
    Environment.objects.filter(pk=environment.pk).update(
        public_keys_restricted=False, config_version=99
    )
    assert public_api.get(f"{PLAYERS}/{player_id}").status == 200


def test_stale_snapshot__writes_nothing_before_the_key_is_checked_again(
    environment: Environment,
) -> None:
    new = make_key(environment)
    api = Api(new.token)
    player = make_player(environment)
    api.get(f"{PLAYERS}/{player.id}")
    api_key_revoke(new.key, actor=ACTOR)
    for path in (f"{PLAYERS}/{player.id}/session", f"{PLAYERS}/{player.id}/purchase?amount=1"):
        assert api.post(path).status == 401
    player.refresh_from_db()
    assert (player.session_count, player.purchase_count) == (0, 0)


def test_environment_that_changes_all_the_time__is_served(
    environment: Environment, public_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_one = db.fetch_one

    def load_and_change(sql: str, params: list[int], **options: bool) -> db.Row | None:
        row = fetch_one(sql, params, **options)
        if environment_cache.KEYS_SQL in sql:
            environments = Environment.objects.filter(pk=params[0])
            environments.update(config_version=F("config_version") + 1)
        return row

    monkeypatch.setattr(db, "fetch_one", load_and_change)
    assert public_api.post(PLAYERS, {"external_id": "x"}).status == 201


def test_load__is_one_statement(environment: Environment) -> None:
    with CaptureQueriesContext(connection) as queries:
        loaded = environment_cache.load(environment.pk)
    assert len(queries) == 1
    assert loaded.slug == "live"
    assert list(loaded.parts) == [churn_part, segments_part, flags_part]


def test_threads_of_a_new_process__share_one_load(environment: Environment) -> None:
    token = make_key(environment).token
    environment_cache.clear_cache()
    found = at_once(environment_cache.of_token, [token] * 8)
    assert len({id(snapshot) for snapshot, _ in filter(None, found)}) == 1
    environment_cache.clear_cache()
    assert (
        len({id(each) for each in at_once(environment_cache.of_environment, [environment.pk] * 8)})
        == 1
    )


def test_snapshot__has_one_environment_only(environment: Environment) -> None:
    token = make_key(environment).token
    make_key(make_environment())
    loaded = environment_cache.load(environment.pk)
    assert list(loaded.keys) == [tokens.digest(token)]


def test_empty_environment__loads(environment: Environment) -> None:
    empty = environment.project.environments.get(slug="test")
    loaded = environment_cache.load(empty.pk)
    assert (loaded.keys, segments_part.of(loaded), flags_part.of(loaded).by_key) == ({}, {}, {})


@pytest.mark.parametrize("enabled", [True, False])
def test_unreadable_conditions__leave_a_flag_out_only_if_it_is_on(
    environment: Environment, caplog: pytest.LogCaptureFixture, enabled: bool
) -> None:
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    wrong = {"operator": "AND", "conditions": [{"field": "level", "operator": "~", "value": 1}]}
    good = {"id": "good", "variant": "enabled"}
    rules = [good, {"id": "bad", "variant": "enabled", "conditions": wrong}]
    flag.document = {**flag.document, "rules": rules, "enabled": enabled}
    flag.save()
    found = flags_part.of(environment_cache.load(environment.pk)).by_key
    assert ("new_tutorial" in found) is not enabled
    assert ("rules[1].conditions.conditions[0].operator: " in caplog.text) is enabled


def test_invalid_document__affects_nothing_else(
    environment: Environment, public_api: Api, player: Player, caplog: pytest.LogCaptureFixture
) -> None:
    Flag.objects.filter(environment=environment, key="new-feature").update(document={"value": 1})
    Segment.objects.filter(environment=environment).update(rule={"operator": "XOR"})
    reply = public_api.post(f"{FLAGS}/evaluate", {"player_id": str(player.pk)})
    assert list(reply.data["flags"]) == ["new_tutorial"]
    assert reply.data["flags"]["new_tutorial"]["reason"] == "default"
    assert "new-feature cannot be read" in caplog.text
    assert "cannot parse segment beta-testers" in caplog.text
