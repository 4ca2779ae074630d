"""The clients in three languages against a running server: one scenario, equal outcomes."""

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flags.document import decode_document
from flags.services import flag_create
from ilara_admin.models import Environment, KeyKind, Tier
from players.models import player_id_for
from tests.clients.drivers import LANGUAGES, Driver, commands, ending
from tests.factories import ACTOR, make_environment, make_key
from tests.replay import TIME, matches
from tests.running import free_port
from tests.serving import gunicorns

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

STEPS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "scenario.json").read_text())
FLAGS = {
    "copy": ("string", "Tap to begin."),
    "energy": ("number", 10),
    "price": ("number", 2.5),
    "bonus": ("json", {"coins": 100, "items": ["sword", None]}),
}
OPTIONS = {"hasty": {"attempts": 1}}
NAME = re.compile(r"\$\{(?:(free):)?([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Game:
    """What one driver works with: environments of its own, so that outcomes do not mix."""

    environment: Environment
    thrifty: Environment

    def keys(self) -> dict[str, str]:
        return {
            "public": make_key(self.environment).token,
            "secret": make_key(self.environment, KeyKind.SECRET).token,
            "bad": "pk_live_nothing",
            "free": make_key(self.thrifty).token,
            "hasty": make_key(self.thrifty).token,
        }

    def id_of(self, name: re.Match[str]) -> str:
        environment = self.thrifty if name[1] else self.environment
        return str(player_id_for(environment.namespace, name[2]))

    def filled(self, step: Any) -> Any:
        """The step with the ids of this game's players."""
        if isinstance(step, dict):
            return {name: self.filled(value) for name, value in step.items()}
        if isinstance(step, list):
            return [self.filled(item) for item in step]
        if isinstance(step, str) and (many := re.fullmatch(r"\$(\d+) of (.+)", step)):
            event = {"player_id": self.filled(many[2]), "event_name": "step"}
            return [event] * int(many[1])
        return NAME.sub(self.id_of, step) if isinstance(step, str) else step


def make_game() -> Game:
    environment = make_environment()
    for key, (value_type, value) in FLAGS.items():
        document = decode_document(
            {
                "value_type": value_type,
                "variants": [{"key": "only", "value": value}],
                "default": "only",
                "off": "only",
                "enabled": True,
            }
        )
        flag_create(environment=environment, key=key, document=document, actor=ACTOR)
    return Game(environment, make_environment(tier=Tier.FREE))


def test_scenario__has_the_same_outcomes_in_all_languages(transactional_db: None) -> None:
    games = {language: make_game() for language in LANGUAGES}
    port = free_port()
    with commands() as command, ExitStack() as servers:
        servers.enter_context(gunicorns(1, port))
        drivers = {
            language: Driver(
                command[language], f"http://127.0.0.1:{port}", games[language].keys(), OPTIONS
            )
            for language in LANGUAGES
        }
        with ending(drivers):
            for number, step in enumerate(STEPS, start=1):
                match step.get("do"):
                    case "stop the server":
                        servers.close()
                    case "start the server":
                        servers.enter_context(gunicorns(1, port))
                    case _:
                        take(step, number, drivers, games)


def take(
    step: Mapping[str, Any], number: int, drivers: Mapping[str, Driver], games: Mapping[str, Game]
) -> None:
    for language, driver in drivers.items():
        driver.send(games[language].filled({name: step.get(name) for name in ("as", "call")})
                    | {"args": games[language].filled(step.get("args", {}))})  # fmt: skip
    outcomes = {language: driver.outcome() for language, driver in drivers.items()}
    for language, outcome in outcomes.items():
        place = (number, step["call"], language, outcome)
        wanted = games[language].filled(step)
        if "error" in step:
            assert matches(wanted["error"], outcome.get("error"), ""), place
            continue
        assert "result" in outcome, place
        found = outcome["result"]
        if "only" in step:
            assert step.get("has", "") in ("", *found), place
            assert matches(wanted["only"], {key: found[key] for key in wanted["only"]}, ""), place
        elif step.get("unordered"):
            assert sorted(found) == sorted(wanted["result"]), place
        else:
            assert matches(wanted["result"], found, ""), place
    if not (step.get("varies") or step.get("unordered")):
        plain = [plain_of(outcomes[language], games[language]) for language in outcomes]
        assert all(item == plain[0] for item in plain), (number, step["call"], outcomes)


def plain_of(outcome: Any, game: Game) -> Any:
    """The outcome without what differs between two games: the ids of players, and times."""
    text = json.dumps(outcome)
    for name in NAME.finditer(json.dumps(STEPS, ensure_ascii=False)):
        text = text.replace(game.id_of(name), f"the player {name[2]}")
    return json.loads(re.sub(f'"{TIME.pattern}"', '"a time"', text))
