"""The clients in three languages against a running server: one scenario, equal outcomes."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from events.models import Event
from ilara_admin.apidocs.clients import CLIENTS, FOLDER, usage
from ilara_admin.models import Environment, KeyKind, Tier
from players.models import Player, player_id_for
from tests.clients.drivers import DRIVERS, LANGUAGES, Driver, build_go, go
from tests.clients.proxy import Proxy, Seen, proxy_to
from tests.factories import make_constant_flag, make_environment, make_key
from tests.replay import TIME, matches
from tests.running import free_port
from tests.serving import Gunicorn, gunicorns

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

type Commands = Mapping[str, list[str]]  # the driver's command line, per language

STEPS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "scenario.json").read_text())
FLAGS = {
    "copy": ("string", "Tap to begin."),
    "energy": ("number", 10),
    "price": ("number", 2.5),
    "bonus": ("json", {"coins": 100, "items": ["sword", None]}),
    "hint": ("string", None),  # no value
}
OPTIONS = {
    "hasty": {"attempts": 1},
    "once": {"attempts": 1},
    "quick": {"flush_at": 1},
    "small": {"max_waiting": 3, "flush_at": 10, "flush_interval": 60},
}
NAME = re.compile(r"\$\{(?:(free):)?([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Game:
    """The environments of one driver, so that outcomes do not mix."""

    environment: Environment
    free_tier: Environment

    def keys(self) -> dict[str, str]:
        return {
            "public": make_key(self.environment).token,
            "secret": make_key(self.environment, KeyKind.SECRET).token,
            "bad": "pk_live_nothing",
            "free": make_key(self.free_tier).token,
            "hasty": make_key(self.free_tier).token,
            "once": make_key(self.environment).token,
            "quick": make_key(self.environment).token,
            "small": make_key(self.environment).token,
        }

    def id_of(self, name: re.Match[str]) -> str:
        environment = self.free_tier if name[1] else self.environment
        return str(player_id_for(environment.namespace, name[2]))

    def filled(self, step: Any) -> Any:
        """The step with placeholders replaced by ids of this game's players."""
        if isinstance(step, dict):
            return {name: self.filled(value) for name, value in step.items()}
        if isinstance(step, list):
            return [self.filled(item) for item in step]
        if isinstance(step, str) and (many := re.fullmatch(r"\$(\d+) letters", step)):
            return "x" * int(many[1])
        if isinstance(step, str) and (many := re.fullmatch(r"\$(\d+) of (.+)", step)):
            event = {"player_id": self.filled(many[2]), "event_name": "step"}
            return [event] * int(many[1])
        return NAME.sub(self.id_of, step) if isinstance(step, str) else step


def make_game() -> Game:
    environment = make_environment()
    for key, (value_type, value) in FLAGS.items():
        make_constant_flag(environment, key, value_type, value)
    return Game(environment, make_environment(tier=Tier.FREE))


def test_scenario__has_equal_outcomes_in_all_languages(
    transactional_db: None, command: Commands
) -> None:
    port = free_port()
    with ExitStack() as stack, ExitStack() as servers:
        servers.enter_context(gunicorns(1, port))
        plays = {}
        for language in LANGUAGES:
            game = make_game()
            proxy = stack.enter_context(proxy_to(f"127.0.0.1:{port}"))
            driver = Driver(command[language], proxy.address, game.keys(), OPTIONS)
            stack.callback(driver.end)
            plays[language] = Play(game, driver, proxy)
        for number, step in enumerate(STEPS, start=1):
            match step.get("do"):
                case "stop the server":
                    servers.close()
                case "start the server":
                    servers.enter_context(gunicorns(1, port))
                case "wait until they are in flight":
                    time.sleep(0.5)
                case str(fault):
                    for play in plays.values():
                        play.proxy.faults.append(fault)
                case _:
                    for count in range(step.get("repeat", 1)):
                        take(numbered(step, count), number, plays)
        for language, play in plays.items():
            check_requests(language, play.proxy.seen)


def test_mistakes_in_flag_calls__are_logged_once(
    transactional_db: None, command: Commands, gunicorn: Gunicorn, tmp_path: Path
) -> None:
    """A game that passes a wrong key or an unknown flag must not look as if it worked."""
    for language in LANGUAGES:
        game = make_game()
        with (tmp_path / language).open("wb") as log:
            driver = Driver(command[language], gunicorn.address, game.keys(), OPTIONS, log)
            player = driver.do("public", "register_player", external_id="p")["id"]
            mistakes = [
                ("bad", "copy", player),
                ("bad", "energy", player),
                ("public", "coppy", player),
                ("public", "copy", "p"),
                ("public", "energy", player),
            ]
            for client, key, player_id in mistakes * 2:
                arguments = {"key": key, "player_id": player_id, "default": "kept"}
                assert driver.do(client, "flag", **arguments) == "kept"
            driver.end()
        lines = (tmp_path / language).read_text().splitlines()
        assert len(lines) == 4, lines
        for line, text in zip(
            lines,
            [
                "Invalid API key: it is incomplete",
                "Did you mean “copy”?",
                "a UUID, not 'p'",
                "energy",
            ],
            strict=True,
        ):
            assert text in line


def test_examples__work_as_printed(
    transactional_db: None, command: Commands, gunicorn: Gunicorn, tmp_path: Path
) -> None:
    for client in CLIENTS:
        environment = make_environment()
        key = make_key(environment).token
        example = usage(client, f"{gunicorn.address}/v1", key)
        run_example(client.language, example, tmp_path, command)
        player = Player.objects.get(environment=environment)
        assert player.attributes == ({} if client.language == "Go" else {"level": 45})
        assert Event.objects.get(player_id=player.id).name == "level_complete"


def test_exit__sends_queued_events(
    transactional_db: None, command: Commands, gunicorn: Gunicorn, tmp_path: Path
) -> None:
    for client in CLIENTS[:2]:  # Go has no exit hook
        environment = make_environment()
        example = usage(client, f"{gunicorn.address}/v1", make_key(environment).token)
        *lines, last = example.splitlines()
        assert "close()" in last
        run_example(client.language, "\n".join(lines), tmp_path, command)
        assert Event.objects.filter(environment_id=environment.pk).count() == 1


def run_example(language: str, example: str, folder: Path, command: Commands) -> None:
    match language:
        case "Python":
            shutil.copy(FOLDER / "ilara.py", folder)
            (folder / "example.py").write_text(f"{example}\nprint(shows_tutorial)\n")
            arguments = [sys.executable, "example.py"]
        case "Go":
            lines = example.replace("client, err", "ctx := context.Background()\nclient, err", 1)
            (folder / "go").mkdir()
            (folder / "go" / "drive.go").write_text(
                'package main\n\nimport ("context"; "fmt"; "game/ilara")\n\n'
                f"func main() {{\n{lines}\nfmt.Println(showsTutorial, err)\n}}\n"
            )
            arguments = [str(build_go(folder / "go", folder / "go" / "drive.go"))]
        case _:
            shutil.copy(FOLDER / "ilara.mjs", folder)
            (folder / "example.mjs").write_text(f"{example}\nconsole.log(showsTutorial)\n")
            arguments = [command["node"][0], "example.mjs"]
    run = subprocess.run(
        arguments, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    shown = {"Python": "True", "Go": "false <nil>"}.get(language, "true")
    assert (run.stdout.strip(), run.stderr) == (shown, ""), run


def test_files__are_formatted_and_parse(command: Commands) -> None:
    assert run_quietly("gofmt", "-l", str(FOLDER), str(DRIVERS)) == ""
    assert run_quietly(command["node"][0], "--check", str(FOLDER / "ilara.mjs")) == ""


def test_go_client__passes_its_unit_tests(tmp_path: Path, command: Commands) -> None:
    shutil.copy(DRIVERS / "ilara_test.go", tmp_path)
    build_go(tmp_path)
    go(tmp_path, "test", ".")


def run_quietly(*command: str) -> str:
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return run.stdout + run.stderr


class Play(NamedTuple):
    game: Game
    driver: Driver
    proxy: Proxy


def numbered(step: dict[str, Any], count: int) -> Any:
    return json.loads(json.dumps(step).replace("{n}", str(count)))


def take(step: Mapping[str, Any], number: int, plays: Mapping[str, Play]) -> None:
    for play in plays.values():
        sent = {"as": step["as"], "call": step["call"], "args": step.get("args", {})}
        play.driver.send(play.game.filled(sent))
    outcomes = {language: play.driver.outcome() for language, play in plays.items()}
    for language, outcome in outcomes.items():
        place = (number, step["call"], language, outcome)
        wanted = plays[language].game.filled(step)
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
        first, *others = (plain_of(outcomes[name], play.game) for name, play in plays.items())
        assert all(other == first for other in others), (number, step["call"], outcomes)


def check_requests(language: str, seen: list[Seen]) -> None:
    """Check what outcomes do not show: user agent, retried batches, and `sent_at`."""
    agents = {"python": "ilara-python/0.1.0", "node": "ilara-node/0.1.0", "go": "ilara-go/0.1.0"}
    assert {request.headers["User-Agent"] for request in seen} == {agents[language]}
    batches = [request for request in seen if request.path.endswith("/events/batch")]
    for batch in batches:
        behind = datetime.now(UTC) - datetime.fromisoformat(batch.json["sent_at"])
        assert timedelta() < behind < timedelta(minutes=2)
        assert all({"event_id", "timestamp"} <= event.keys() for event in batch.json["events"])
    large = [batch for batch in batches if b"large 0" in batch.body]
    # Its reply was lost, so it was sent again with the same events and a later sent_at.
    assert len(large) == 2
    assert large[0].json["events"] == large[1].json["events"]
    assert large[0].json["sent_at"] < large[1].json["sent_at"]
    assert len(large[0].body) <= 1_000_200


def plain_of(outcome: Any, game: Game) -> Any:
    """The outcome without player ids and times, which differ between games."""
    text = json.dumps(outcome)
    for name in NAME.finditer(json.dumps(STEPS, ensure_ascii=False)):
        text = text.replace(game.id_of(name), f"the player {name[2]}")
    return json.loads(re.sub(f'"{TIME.pattern}"', '"a time"', text))
