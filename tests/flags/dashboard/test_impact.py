"""The impact of a draft equals the switches once it is saved."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from flags.cache import compile_draft, flags_of
from flags.dashboard import impact as subject
from flags.dashboard import impact_rows
from flags.dashboard.impact import impact
from flags.dashboard.impact_figures import Impact, Tally
from flags.engine.document import FlagDocument, Rule, boolean_document, decode_document
from flags.engine.evaluation import CompiledFlag
from flags.models import Flag
from flags.overrides import override_set
from flags.services import flag_create, flag_update
from ilara_admin.api import environment_cache
from ilara_admin.models import Environment, Role
from players.lifecycle import Stage
from players.models import Player
from tests.api_client import FLAGS, Api
from tests.factories import ACTOR, make_player
from tests.pages import signed_in, text_of, url_of

NOW = datetime.now(UTC)


def half(rollout: int = 50_000, **more: Any) -> FlagDocument:
    return boolean_document(
        enabled=True, rules=(Rule(id="r", variant="enabled", rollout=rollout, **more),)
    )


@pytest.fixture
def players(environment: Environment) -> list[Player]:
    """60 players: every third a payer, every fourth churned."""
    return [
        make_player(
            environment,
            f"p-{number}",
            purchase_count=int(number % 3 == 0),
            attributes={"level": number},
            last_seen_at=NOW - timedelta(days=60 if number % 4 == 0 else 0),
        )
        for number in range(60)
    ]


@pytest.fixture
def flag(environment: Environment) -> Flag:
    return flag_create(environment=environment, key="f", document=half(), actor=ACTOR)


def pair(flag: Flag, draft: FlagDocument) -> tuple[CompiledFlag, CompiledFlag]:
    known = environment_cache.load(flag.environment.pk)
    live = flags_of(known)[flag.key]
    return live, compile_draft(known, live, draft)


def of(flag: Flag, draft: FlagDocument, **options: Any) -> Impact:
    return impact(
        environment_cache.at_version(flag.environment), *pair(flag, draft), NOW, **options
    )


def served(api: Api, players: list[Player]) -> dict[str, str]:
    return {
        player.external_id: api.post(f"{FLAGS}/f/evaluate", {"player_id": str(player.pk)}).data[
            "variant_key"
        ]
        for player in players
    }


@pytest.mark.parametrize(
    "draft",
    [
        half(80_000),
        half(20_000),
        half(0),
        half(100_000),
        boolean_document(enabled=False, rules=half().rules),
        half(segment="beta-testers"),
        half(conditions={"operator": "AND", "conditions": [
            {"field": "is_payer", "operator": "==", "value": True}]}),
    ],
)  # fmt: skip
def test_impact__equals_the_switches_after_saving(
    draft: FlagDocument, flag: Flag, players: list[Player], public_api: Api
) -> None:
    override_set(flag, players[5], "enabled", actor=ACTOR)
    before = served(public_api, players)
    found = of(flag, draft)
    flag_update(flag, document=draft, base_revision=1, actor=ACTOR)
    after = served(public_api, players)
    switched = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    assert (found.exact, found.total, found.all.switches) == (True, 60, len(switched))
    assert found.all.gains == sum(
        variants == ("disabled", "enabled") for variants in switched.values()
    )
    assert found.all.loses == sum(
        variants == ("enabled", "disabled") for variants in switched.values()
    )
    assert {(each.external_id, (each.before, each.after)) for each in found.examples} <= set(
        switched.items()
    )
    assert len(found.examples) == min(20, len(switched))


def test_tallies__are_by_stage_and_payer(flag: Flag, players: list[Player]) -> None:
    found = of(flag, half(100_000))
    assert sum(tally.players for tally in found.by_stage.values()) == 60
    assert found.by_stage[Stage.CHURNED].players == 15
    assert found.by_payer[True].players == 20
    for tallies in (found.by_stage, found.by_payer):
        each: list[Tally] = list(tallies.values())
        assert sum(tally.gains for tally in each) == found.all.gains > 0
    assert [label for label, _ in found.groups] == ["New", "Churned", "Payers", "Not payers"]


def test_switches__are_gains_losses_or_swaps(environment: Environment) -> None:
    def colours(variant: str, **more: Any) -> FlagDocument:
        return decode_document(
            {
                "value_type": "string",
                "variants": [{"key": key, "value": key} for key in ("none", "red", "blue")],
                "default": "none",
                "off": "none",
                "enabled": True,
                "rules": [{"id": "r", "variant": variant, **more}],
            }
        )

    make_player(environment)
    flag = flag_create(environment=environment, key="colour", document=colours("red"), actor=ACTOR)
    assert of(flag, colours("blue")).all == Tally(1, 0, 0, 1)
    assert of(flag, colours("none")).all == Tally(1, 0, 1, 0)
    assert of(flag, colours("blue", rollout=0)).all == Tally(1, 0, 1, 0)
    crimson = (msgspec.structs.replace(item, value=f"{item.key}!") for item in flag.spec.variants)
    changed = msgspec.structs.replace(flag.spec, variants=tuple(crimson))
    found = of(flag, changed)
    assert (found.all, found.switched) == (Tally(1, 0, 0, 1), [("red", "red", 1)])


def test_same_rules__switch_no_players_without_evaluation(
    flag: Flag, players: list[Player]
) -> None:
    found = of(flag, half())
    assert (found.headline, found.basis) == ("0 players switch.", "")


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "EVERYONE", 50)
    monkeypatch.setattr(subject, "SAMPLE_SIZE", 40)
    monkeypatch.setattr(impact_rows, "CHUNK_SIZE", 7)


def test_sample__estimates_with_a_confidence_interval(
    flag: Flag, players: list[Player], small_samples: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = of(flag, half(100_000), everyone=True)
    assert (exact.exact, exact.total) == (True, 60)
    hits = 0
    for number in range(40):
        monkeypatch.setattr(subject, "sample_start", lambda *_, n=number: UUID(int=n << 122))
        found = of(flag, half(100_000))
        assert (found.exact, found.all.players, found.total) == (False, 40, 60)
        about, low, high = found.estimate(found.all.switches)
        hits += low <= exact.all.switches <= high
        assert found.headline == (f"About {about} of 60 players switch, between {low} and {high}.")
    assert hits >= 36
    reordered = boolean_document(enabled=True, rules=(*half().rules, *half(0).rules))
    none = of(flag, reordered)
    assert none.headline == "About 0 of 60 players switch, at most 2."
    assert none.basis.startswith("Estimated from 40 players:")


def test_sample__is_the_same_while_nothing_changes(
    flag: Flag, players: list[Player], small_samples: None
) -> None:
    found = [of(flag, half(100_000)) for _ in range(3)]
    assert found[0] == found[1] == found[2]
    assert f"of {len(players)} players" in found[0].headline


def test_few_players__are_all_asked_without_words_about_samples(
    flag: Flag, players: list[Player], small_samples: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "EVERYONE", 60)
    found = of(flag, half(100_000))
    assert (found.exact, found.total) == (True, 60)
    assert found.headline == f"{found.all.switches} of 60 players switch."
    assert found.basis == "All players were evaluated."


def test_review__shows_the_impact_and_evaluates_all_players(
    flag: Flag, players: list[Player], small_samples: None
) -> None:
    client = signed_in(Role.LIVE_OPS)
    environment = flag.environment
    form = {
        "rules-TOTAL_FORMS": 1,
        "rules-INITIAL_FORMS": 0,
        "rules-0-id": "r",
        "rules-0-segment": "*everyone*",
        "rules-0-serve": "enabled",
        "rules-0-rollout": "100",
        "rules-0-timing": "fixed",
        "base": 1,
    }
    review = client.post(url_of(environment, "flag_rules", "f"), form)
    assert "Evaluate all players" in text_of(review)
    assert re.search(r"About \d+ of 60 players switch, between \d+ and \d+\.", text_of(review))
    again = {"draft": review.context["draft"], "base": 1, "back": "flag_rules"}
    page = text_of(client.post(url_of(environment, "flag_review", "f"), again))
    assert re.search(r"\d+ of 60 players switch\.", page)
    assert "All players were evaluated." in page
    assert "Evaluate all players" not in page
    unchanged = {**again, "draft": json.dumps(flag.document), "name": "Another name"}
    page = text_of(client.post(url_of(environment, "flag_review", "f"), unchanged))
    assert "Another name" in page
    assert "0 players switch." in page
