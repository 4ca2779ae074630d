"""Promise 1 across processes: a change is in force on the next request, in every process.

Four servers with one database; this process makes the changes.
"""

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import NamedTuple

import msgspec
import pytest
from django.core.management import call_command
from django.db import connection

from flags.engine.document import FlagDocument, ValueType, Variant
from flags.models import Flag
from flags.overrides import override_remove, override_set
from flags.services import flag_create, flag_set_archived, flag_set_enabled, flag_update
from ilara_admin.core.api_keys import NewKey, api_key_create, api_key_rotate
from ilara_admin.core.projects import environment_update
from ilara_admin.models import KeyKind
from players.models import Player
from segments.lists.services import ids_add, ids_remove, list_import, list_run, list_undo
from segments.models import Segment
from segments.services import segment_update
from tests.api_client import EVENTS, FLAGS, PLAYERS, SEGMENTS, Reply
from tests.factories import ACTOR, make_environment, make_key, make_player
from tests.homes import HANG_SECONDS, wait_until
from tests.serving import Gunicorn

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def servers(four_gunicorns: list[Gunicorn]) -> list[Gunicorn]:
    return four_gunicorns


class Game:
    """An environment that every server has in its cache, and one of its players."""

    def __init__(self, servers: list[Gunicorn]) -> None:
        self.servers = servers
        self.environment = make_environment()
        self.key, self.secret = (make_key(self.environment, kind) for kind in KeyKind)
        player = make_player(self.environment, attributes={"level": 45})
        self.body = {"player_id": str(player.id)}
        self.player = f"{PLAYERS}/{player.id}"
        for key in (self.key, self.secret):
            assert self.statuses(key) == [200] * 4

    def everywhere(
        self, method: str, path: str, body: object = None, key: NewKey | None = None
    ) -> list[Reply]:
        """One request to each server."""
        token = (key or self.key).token
        return [server.api(token).request(method, path, body) for server in self.servers]

    def statuses(self, key: NewKey) -> list[int]:
        return [reply.status for reply in self.everywhere("GET", self.player, key=key)]

    def members(self, segment: str) -> list[bool]:
        replies = self.everywhere("POST", f"{SEGMENTS}/{segment}/evaluate", self.body)
        return [reply.data["is_member"] for reply in replies]

    def flag(self, key: str = "new_tutorial") -> list[tuple[object, str]]:
        replies = self.everywhere("POST", f"{FLAGS}/{key}/evaluate", self.body)
        return [(reply.data["value"], reply.data["reason"]) for reply in replies]


@pytest.fixture
def game(servers: list[Gunicorn], transactional_db: None) -> Game:
    return Game(servers)


# --- Keys -----------------------------------------------------------------------------------------


def test_key_revoked_by_command__is_refused_everywhere_at_once(game: Game) -> None:
    call_command("api_key_revoke", game.key.key.masked)
    replies = game.everywhere("POST", PLAYERS, {"external_id": "late"})
    refused = (401, "Invalid API key: it has been revoked. Use another key of this environment.")
    assert [(reply.status, reply.error["message"]) for reply in replies] == [refused] * 4
    assert game.statuses(game.secret) == [200] * 4


def test_key_rotated_without_grace__is_refused_everywhere_at_once(
    game: Game, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("api_key_rotate", str(game.key.key.pk), "--grace", "0")
    successor = NewKey(game.key.key, capsys.readouterr().out.strip())
    assert game.statuses(successor) == [200] * 4
    assert game.statuses(game.key) == [401] * 4


def test_key_in_its_grace_period__expires_everywhere_at_once(game: Game) -> None:
    api_key_rotate(game.key.key, grace=timedelta(seconds=5), actor=ACTOR)
    assert game.statuses(game.key) == [200] * 4
    with connection.cursor() as cursor:
        cursor.execute("SELECT expires_at - clock_timestamp() FROM api_key WHERE id = %s",
                       [game.key.key.pk])  # fmt: skip
        (left,) = cursor.fetchone()
    time.sleep(max(left.total_seconds(), 0))
    assert game.statuses(game.key) == [401] * 4


def test_new_key__works_everywhere_at_once(game: Game) -> None:
    new = api_key_create(environment=game.environment, kind=KeyKind.PUBLIC, name="New", actor=ACTOR)
    assert game.statuses(new) == [200] * 4


# --- Flags and segments ---------------------------------------------------------------------------


def test_flag_turned_off_and_on__is_in_force_everywhere_at_once(game: Game) -> None:
    flag = Flag.objects.get(environment=game.environment, key="new_tutorial")
    assert game.flag() == [(True, "segment_match")] * 4
    flag_set_enabled(flag, False, actor=ACTOR)
    assert game.flag() == [(False, "disabled")] * 4
    flag_set_enabled(flag, True, actor=ACTOR)
    assert game.flag() == [(True, "segment_match")] * 4


def test_override__is_in_force_everywhere_at_once(game: Game) -> None:
    flag = Flag.objects.get(environment=game.environment, key="new_tutorial")
    player = Player.objects.get(environment=game.environment)
    override_set(flag, player, "disabled", actor=ACTOR)
    assert game.flag() == [(False, "override")] * 4
    override_remove(flag, player, actor=ACTOR)
    assert game.flag() == [(True, "segment_match")] * 4


def test_archived_flag__leaves_the_list_everywhere_at_once(game: Game) -> None:
    flag = Flag.objects.get(environment=game.environment, key="new_tutorial")
    flag_set_archived(flag, True, actor=ACTOR)
    replies = game.everywhere("POST", f"{FLAGS}/evaluate", game.body)
    assert [list(reply.data["flags"]) for reply in replies] == [["new-feature"]] * 4


def test_rule_of_a_segment__is_in_force_everywhere_at_once(game: Game) -> None:
    segment = Segment.objects.get(environment=game.environment)
    assert game.flag() == [(True, "segment_match")] * 4
    rule = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 45}]}
    segment_update(segment, name="Beta", rule=rule, description="", actor=ACTOR)
    assert game.flag() == [(False, "default")] * 4
    assert game.members("beta-testers") == [False] * 4


def test_list_of_a_segment__is_in_force_everywhere_at_once(game: Game) -> None:
    segment = Segment.objects.get(environment=game.environment)
    added = ids_add(segment, ["player_123"], excluded=True, actor=ACTOR)
    assert game.members("beta-testers") == [False] * 4
    assert game.flag() == [(False, "default")] * 4
    list_run(list_undo(added, actor=ACTOR))
    assert game.members("beta-testers") == [True] * 4
    change = list_import(segment, excluded=True, actor=ACTOR)
    list_run(change, [b"other\nplayer_123\n"])
    assert game.members("beta-testers") == [False] * 4
    ids_remove(segment, ["player_123"], excluded=True, actor=ACTOR)
    assert game.members("beta-testers") == [True] * 4


def test_event__is_counted_everywhere_by_the_next_request(game: Game) -> None:
    bought = {"event": "buy", "operator": ">=", "value": 1, "within": "1d"}
    segment = Segment.objects.get(environment=game.environment)
    rule = {"operator": "AND", "conditions": [bought]}
    segment_update(segment, name="Beta", rule=rule, description="", actor=ACTOR)
    assert game.members("beta-testers") == [False] * 4
    for count, server in enumerate(game.servers, start=1):
        rule = {"operator": "AND", "conditions": [{**bought, "value": count}]}
        segment_update(segment, name="Beta", rule=rule, description="", actor=ACTOR)
        assert game.members("beta-testers") == [False] * 4
        body = {**game.body, "event_name": "buy"}
        assert server.api(game.key.token).post(EVENTS, body).status == 201
        assert game.members("beta-testers") == [True] * 4
        assert game.flag() == [(True, "segment_match")] * 4


# --- Settings and tier ----------------------------------------------------------------------------


def test_public_keys_restricted_and_unrestricted__is_in_force_everywhere_at_once(
    game: Game,
) -> None:
    environment_update(game.environment, {"public_keys_restricted": True}, actor=ACTOR)
    assert game.statuses(game.key) == [403] * 4
    assert game.statuses(game.secret) == [200] * 4
    environment_update(game.environment, {"public_keys_restricted": False}, actor=ACTOR)
    assert game.statuses(game.key) == [200] * 4


def test_threshold__changes_the_stage_everywhere_at_once(game: Game) -> None:
    old = make_player(game.environment, "old", last_seen_at=datetime.now(UTC) - timedelta(days=9))
    path = f"{PLAYERS}/{old.id}/lifecycle"

    def stages() -> set[str]:
        return {reply.data["lifecycle_stage"] for reply in game.everywhere("GET", path)}

    assert stages() == {"at_risk"}
    settings = {"at_risk_days": 3, "churned_days": 8}
    environment_update(game.environment, settings, actor=ACTOR)
    assert stages() == {"churned"}


def test_tier__is_in_force_everywhere_at_once(game: Game) -> None:
    limit = "X-RateLimit-Limit"

    def limited() -> list[bool]:
        return [limit in reply.headers for reply in game.everywhere("GET", game.player)]

    assert limited() == [False] * 4
    call_command("project_set", game.environment.project.slug, "--tier", "free")
    assert limited() == [True] * 4
    call_command("project_set", game.environment.project.slug, "--tier", "enterprise")
    assert limited() == [False] * 4


# --- Under load -----------------------------------------------------------------------------------

REQUESTS = 10_000
CHANGES = 50
CLIENTS = 6


class Answer(NamedTuple):
    sent: float
    received: float
    value: int


class Change(NamedTuple):
    """`began` before the transaction, `committed` after the commit returned."""

    began: float
    committed: float


def numbered(default: int) -> FlagDocument:
    """A flag whose value is the number of the change."""
    variants = tuple(Variant(key=str(number), value=number) for number in range(CHANGES + 1))
    return FlagDocument(
        value_type=ValueType.NUMBER,
        variants=variants,
        default=str(default),
        off="0",
        enabled=True,
    )


def test_10_000_evaluations_while_a_flag_changes__none_is_older_than_its_request(
    game: Game,
) -> None:
    flag = flag_create(
        environment=game.environment, key="number", document=numbered(0), actor=ACTOR
    )
    assert game.flag("number") == [(0, "default")] * 4
    completed = [0] * CLIENTS
    broken = threading.Event()

    def evaluate(client: int) -> list[Answer]:
        """A client with a connection to each server, which it uses in turn."""
        sessions = [
            http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANG_SECONDS)
            for server in game.servers
        ]
        path, body = f"{FLAGS}/number/evaluate", msgspec.json.encode(game.body)
        headers = {"X-API-Key": game.key.token}
        answers: list[Answer] = []
        try:
            for session in islice(cycle(sessions), len(range(client, REQUESTS, CLIENTS))):
                sent = time.monotonic()
                session.request("POST", path, body, headers)
                response = session.getresponse()
                reply = msgspec.json.decode(response.read())
                received = time.monotonic()
                assert response.status == 200, reply
                answers.append(Answer(sent, received, reply["data"]["value"]))
                completed[client] += 1
        except BaseException:
            broken.set()
            raise
        finally:
            for session in sessions:
                session.close()
        return answers

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(evaluate, client) for client in range(CLIENTS)]
        changes = [Change(0.0, 0.0)]
        for number in range(1, CHANGES + 1):
            due = REQUESTS * number // (CHANGES + 1)
            wait_until(lambda due=due: broken.is_set() or sum(completed) >= due)  # type: ignore[misc]
            began = time.monotonic()
            flag, _ = flag_update(
                flag, document=numbered(number), base_revision=flag.revision, actor=ACTOR
            )
            changes.append(Change(began, time.monotonic()))
        answers = [answer for client in running for answer in client.result()]

    assert len(answers) == REQUESTS
    assert {answer.value for answer in answers} == set(range(CHANGES + 1))
    wrong = [answer for answer in answers if not current(answer, changes)]
    assert not wrong, f"{len(wrong)} of {REQUESTS} replies were not current, such as {wrong[0]}"


def current(answer: Answer, changes: list[Change]) -> bool:
    """Whether the value was in force at some time between the request and its reply."""
    begins = changes[answer.value].began <= answer.received
    following = answer.value + 1
    ends = following < len(changes) and changes[following].committed < answer.sent
    return begins and not ends
