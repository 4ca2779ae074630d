"""The number of Ilara's modules that run in one request."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import get_ident
from types import CodeType
from typing import Any

import pytest
from django.test import Client

from ilara_admin.models import Environment, Role
from players.models import Player
from tests.api_client import EVENTS, FLAGS
from tests.factories import make_key, make_player
from tests.pages import signed_in, url_of

ROOT = Path(__file__).resolve().parent.parent
# The engines of the database and of sessions lie beneath Django: a reader of a request does not
# pass through them.
ENGINES = (ROOT / "ilara_admin/core/postgresql", ROOT / "ilara_admin/web/sessions.py")
OTHERS = (ROOT / "tests", ROOT / ".venv", *ENGINES)
TOOL = sys.monitoring.PROFILER_ID


@contextmanager
def modules_entered() -> Iterator[set[str]]:
    """The paths of Ilara's modules in which this thread ran a function inside the block."""
    entered: set[str] = set()
    here = get_ident()

    def note(code: CodeType, _: int) -> Any:
        if get_ident() != here:  # a timer's thread may count log lines of an earlier test
            return None
        path = Path(code.co_filename)
        if path.is_relative_to(ROOT) and not any(path.is_relative_to(other) for other in OTHERS):
            entered.add(path.relative_to(ROOT).as_posix())
        return sys.monitoring.DISABLE  # one event per function is enough

    sys.monitoring.use_tool_id(TOOL, "modules per request")
    sys.monitoring.restart_events()
    sys.monitoring.register_callback(TOOL, sys.monitoring.events.PY_START, note)
    sys.monitoring.set_events(TOOL, sys.monitoring.events.PY_START)
    try:
        yield entered
    finally:
        sys.monitoring.set_events(TOOL, sys.monitoring.events.NO_EVENTS)
        sys.monitoring.free_tool_id(TOOL)


def modules_of(send: Callable[[], None]) -> list[str]:
    """The modules that run in the second of two requests; the first fills the caches."""
    send()
    with modules_entered() as entered:
        send()
    return sorted(entered)


def caller(environment: Environment) -> Client:
    """A client with an API key. Reuse it: each new client sets up the middleware again."""
    return Client(headers={"X-API-Key": make_key(environment).token})


@pytest.mark.parametrize(
    ("attributes", "most"), [({}, 15), ({"is_vip": True}, 17)], ids=["default", "segment match"]
)
def test_flag_evaluation__runs_few_modules(
    environment: Environment, attributes: dict[str, Any], most: int
) -> None:
    player, client = make_player(environment, attributes=attributes), caller(environment)
    body = {"player_id": str(player.id)}

    def evaluate() -> None:
        reply = client.post(f"{FLAGS}/new_tutorial/evaluate", body, "application/json")
        assert reply.json()["data"]["value"] is bool(attributes)

    modules = modules_of(evaluate)
    assert "flags/engine/evaluation.py" in modules
    assert len(modules) <= most, modules


def test_event_tracking__runs_few_modules(player: Player) -> None:
    client = caller(player.environment)
    events = count(1)

    def track() -> None:
        event = {"event_name": "start", "event_id": f"e-{next(events)}", "properties": {"level": 1}}
        reply = client.post(EVENTS, {"player_id": str(player.id), **event}, "application/json")
        assert reply.status_code == 201

    modules = modules_of(track)
    assert "events/ingest.py" in modules
    assert len(modules) <= 10, modules


def test_flag_save__runs_few_modules(environment: Environment) -> None:
    client = signed_in(Role.LIVE_OPS)
    page, save = (
        url_of(environment, name, "new_tutorial") for name in ("flag_detail", "flag_save")
    )
    document, revisions = client.get(page).context["flag"].document, count(1)

    def save_draft() -> None:
        revision = next(revisions)
        document["rules"][0]["rollout"] = 1_000 * revision
        draft = {"draft": json.dumps(document), "base": revision, "reason": "More"}
        assert client.post(save, draft).headers["Location"] == page

    modules = modules_of(save_draft)
    assert "flags/services.py" in modules
    assert len(modules) <= 16, modules


def test_player_page__runs_few_modules(player: Player) -> None:
    client = signed_in(Role.LIVE_OPS)
    url = url_of(player.environment, "player_detail", player.id)

    def show() -> None:
        assert client.get(url).status_code == 200

    modules = modules_of(show)
    assert "ilara_admin/pages/player.py" in modules
    assert len(modules) <= 36, modules
