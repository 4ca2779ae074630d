"""Web processes that are killed lose the exposures of one flush interval at most, and record those
players at their next evaluation."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flags.results.exposures import FLUSH_SECONDS
from tests.api_client import FLAGS, HttpApi
from tests.homes import wait_until
from tests.running import Serve, killed_and_started_again, on_embedded_database, query
from tests.used_homes import UsedHomes

pytestmark = [pytest.mark.slow, on_embedded_database]

GROUP = 20  # players evaluated together
DOCUMENT = """{
    "value_type": "boolean", "enabled": true, "default": "disabled", "off": "disabled",
    "variants": [{"key": "enabled", "value": true}, {"key": "disabled", "value": false}],
    "rules": [{"id": "r", "split": [{"variant": "enabled", "start": 0, "end": 50000},
                                    {"variant": "disabled", "start": 50000, "end": 100000}]}]}"""
MEASURE = """
WITH changed AS (
    UPDATE flag SET document = %s FROM environment e
    WHERE flag.key = 'new-feature' AND e.id = flag.environment_id AND e.slug = 'live'
    RETURNING flag.id, flag.environment_id)
, experiment AS (
    INSERT INTO experiment (environment_id, flag_id, rule_id, key, name, hypothesis, kind, state,
        control, min_players, on_breach, phase, phase_at, started_at, decision, decided_variant,
        decision_reason, owner, revision, rebuild)
    SELECT environment_id, id, 'r', 'e', 'E', '', 'experiment', 'running', 'disabled', 100,
        'notify', 1, now(), now(), '', '', '', '', 1, false FROM changed)
UPDATE environment SET config_version = config_version + 1
WHERE id = (SELECT environment_id FROM changed)"""


def test_killed_processes__lose_one_flush_interval_at_most(used_homes: UsedHomes) -> None:
    with used_homes() as used:
        home = used.home
        serve = Serve(home, "--workers", "2", printed=used.printed).ready()
        try:
            token = serve.says("live public")
            api = HttpApi(serve.address, token)
            with psycopg.connect(host=str(home / "postgresql" / "socket"), user="ilara") as session:
                session.execute(MEASURE, [DOCUMENT])
            first, second, third = (
                [api.register(f"p-{group}-{number}")["id"] for number in range(GROUP)]
                for group in range(3)
            )
            served = evaluated(api, first)
            # Twice, as the machine may be busy.
            wait_until(lambda: len(exposed(home)) == GROUP, 2 * FLUSH_SECONDS)
            before = exposed(home)
            served |= evaluated(api, second)
            serve = killed_and_started_again(serve)
            kept = exposed(home)
            assert before.items() <= kept.items(), "what was written stays"
            lost = set(second) - kept.keys()
            [(restarted,)] = query(home, "SELECT now()")
            api = HttpApi(serve.address, token)
            served |= evaluated(api, [*first, *second, *third])
            wait_until(lambda: len(exposed(home)) == 3 * GROUP, 2 * FLUSH_SECONDS)
            after = exposed(home)
            assert kept.items() <= after.items()
            assert {player: variant for player, (variant, _) in after.items()} == served
            assert all(after[player][1] > restarted for player in [*lost, *third])
            serve.stop()
        finally:
            serve.clean_up()


def evaluated(api: HttpApi, players: Iterable[str]) -> dict[str, str]:
    """Evaluates the measured flag; returns the variant by player."""
    return {
        player: api.post(f"{FLAGS}/new-feature/evaluate", {"player_id": player}).data["variant_key"]
        for player in players
    }


def exposed(home: Path) -> dict[str, tuple[str, datetime]]:
    rows: list[tuple[Any, ...]] = query(
        home,
        """SELECT player_id::text, variant, exposed_at FROM exposure
           WHERE phase = 1 AND NOT overridden AND second_variant IS NULL""",
    )
    return {player: (variant, at) for player, variant, at in rows}
