"""Every dialog that changes whom a flag serves shows who switches, by date."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from flags.dashboard.impact_job import impact_run
from flags.engine.document import Rule, boolean_document
from flags.models import Flag, FlagImpact
from flags.services import flag_set_archived, flag_set_enabled, flag_update
from ilara_admin.models import Role
from players.models import Player
from tests.factories import ACTOR
from tests.flags.dashboard.test_impact import flag, half, players, small_samples
from tests.pages import HTMX, text_of, url_of

__all__ = ["flag", "players", "small_samples"]  # fixtures


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


DIALOGS: dict[str, tuple[str, tuple[Any, ...], dict[str, str]]] = {
    "turn off": ("flag_switch", ("off",), {}),
    "archive": ("flag_archive", ("archive",), {}),
    "restore": ("flag_restore", (1,), {}),
    "move": ("flag_move", ("low",), {}),
    "percentage": ("flag_rollout", ("r",), {"rollout": "50"}),
}


@pytest.fixture
def two_rules(flag: Flag) -> Flag:
    low = Rule(id="low", variant="disabled", rollout=50_000)
    document = boolean_document(enabled=True, rules=(*half(100_000).rules, low))
    return flag_update(flag, document=document, base_revision=1, actor=ACTOR)[0]


@pytest.mark.parametrize("name", DIALOGS)
def test_dialog__shows_the_table_and_asks_all_players(
    name: str, two_rules: Flag, players: list[Player], client: Client, small_samples: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    flag = two_rules
    view, arguments, fields = DIALOGS[name]
    url = url_of(flag.environment, view, "f", *arguments)
    ask = client.post(url, {**fields, "ask": "1"}) if fields else client.get(url)
    page = text_of(ask)
    assert "Who switches, by date" in page
    assert "of 60 players switch, between" in page
    assert ">Evaluate all players</button>" in page
    monkeypatch.setattr("flags.dashboard.impact.SECONDS", 0.0)
    asked = text_of(client.post(url, {**fields, "everyone": "1"}))
    flag.refresh_from_db()
    assert (flag.revision, flag.archived_at, flag.enabled) == (2, None, True)
    job = FlagImpact.objects.get()
    assert job.archived == (name == "archive")
    poll = url_of(flag.environment, "flag_impact", "f", job.pk)
    assert f'hx-get="{poll}?compact=1"' in asked
    impact_run(job.pk, lambda: None)
    done = text_of(client.get(f"{poll}?compact=1", headers=HTMX))
    assert "All players were evaluated." in done
    assert "<h2" not in done
    assert "hx-get" not in done


def test_unarchive_and_turn_on__show_the_table(
    flag: Flag, players: list[Player], client: Client
) -> None:
    flag_set_enabled(flag, False, actor=ACTOR)
    page = text_of(client.get(url_of(flag.environment, "flag_switch", "f", "on")))
    assert "Who switches, by date" in page
    flag.refresh_from_db()
    flag_set_archived(flag, True, actor=ACTOR)
    page = text_of(client.get(url_of(flag.environment, "flag_archive", "f", "unarchive")))
    assert "Once it is turned on" in page
