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
from flags.engine.document import (
    FlagDocument,
    Prerequisite,
    Ramp,
    Rule,
    ScheduleStep,
    boolean_document,
    decode_document,
)
from flags.engine.evaluation import CompiledFlag
from flags.models import Flag
from flags.overrides import override_set
from flags.services import flag_create, flag_update
from ilara_admin.api import environment_cache
from ilara_admin.models import Environment, Role
from players.lifecycle import Stage
from players.models import Player
from tests.api_client import FLAGS, Api
from tests.factories import ACTOR, make_player, unsaved_player
from tests.pages import signed_in, text_of, url_of

NOW = datetime.now(UTC)


def half(rollout: int = 50_000, **more: Any) -> FlagDocument:
    return boolean_document(
        enabled=True, rules=(Rule(id="r", variant="enabled", rollout=rollout, **more),)
    )


@pytest.fixture
def players(environment: Environment) -> list[Player]:
    """60 players: every third a payer, every fourth churned."""
    return Player.objects.bulk_create(
        unsaved_player(
            environment,
            f"p-{number}",
            purchase_count=int(number % 3 == 0),
            attributes={"level": number},
            last_seen_at=NOW - timedelta(days=60 if number % 4 == 0 else 0),
        )
        for number in range(60)
    )


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
    hits = 0
    for number in range(20):
        Flag.objects.update(salt=number)  # other players switch
        monkeypatch.setattr(subject, "sample_start", lambda *_, n=number: UUID(int=n << 122))
        exact = of(flag, half(100_000), everyone=True)
        assert (exact.exact, exact.total) == (True, 60)
        found = of(flag, half(100_000))
        assert (found.exact, found.all.players, found.total) == (False, 40, 60)
        about, low, high = found.estimate(found.all.switches)
        hits += low <= exact.all.switches <= high
        assert found.headline == (f"About {about} of 60 players switch, between {low} and {high}.")
    assert hits >= 15  # fewer in one of 30,000 runs
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
    named = {**flag.document["variants"][0], "name": "Another name"}
    document = {**flag.document, "variants": [named, *flag.document["variants"][1:]]}
    unchanged = {**again, "draft": json.dumps(document)}
    page = text_of(client.post(url_of(environment, "flag_review", "f"), unchanged))
    assert "Another name" in page
    assert "0 players switch." in page


def dated(found: Impact, key: str = "f") -> list[tuple[str, int, int, int]]:
    """By date: what happens, who switches, who differs, and who is served `enabled`."""
    counts = {each.after.key: each.counts for each in found.dependents} | {"f": found.counts}
    return [
        (date.text, each.switches, each.differ, each.served["enabled"])
        for date, each in zip(found.dates, counts[key], strict=True)
    ]


RAMP = Ramp(from_=0, to=100_000, start=NOW + timedelta(days=1), end=NOW + timedelta(days=3))


def test_dates__are_now_and_the_steps_of_the_schedule(flag: Flag, players: list[Player]) -> None:
    now = of(flag, half(0)).all.switches
    found = dated(of(flag, half(100_000, ramp=RAMP)))
    texts = ["Now", *(f"Rule 1 at {share} %" for share in (0, 25, 50, 75, 100))]
    assert [each[0] for each in found] == texts
    assert found[0][1:] == (now, now, 0)
    assert found[1][1:] == (0, now, 0)
    assert found[3][2:] == (0, now)  # at 50 %, as it is now
    assert found[5][2:] == (60 - now, 60)
    assert sum(each[1] for each in found[1:]) == 60


def test_flag_that_is_off__shows_what_turning_it_on_does(
    environment: Environment, players: list[Player]
) -> None:
    document = msgspec.structs.replace(half(), enabled=False)
    flag = flag_create(environment=environment, key="f", document=document, actor=ACTOR)
    draft = msgspec.structs.replace(half(100_000, ramp=RAMP), enabled=False)
    found = of(flag, draft)
    live = dated(of(flag, half()))[0][1]
    assert found.headline == "0 players switch."
    assert found.assumes_on
    assert dated(found)[:2] == [("Now", 0, 0, 0), ("Once it is turned on", 0, live, 0)]
    assert dated(found)[-1] == ("Rule 1 at 100 %", dated(found)[-1][1], 60 - live, 60)


def test_flag_that_is_turned_off__has_no_later_dates(
    environment: Environment, players: list[Player]
) -> None:
    document = half(100_000, ramp=RAMP)
    flag = flag_create(environment=environment, key="f", document=document, actor=ACTOR)
    found = of(flag, msgspec.structs.replace(document, enabled=False))
    assert [each.text for each in found.dates] == ["Now"]
    assert not found.has_later_dates


def test_override_that_ends__counts_until_then(flag: Flag, players: list[Player]) -> None:
    until = NOW + timedelta(hours=36)
    override_set(flag, players[0], "enabled", expires_at=until, actor=ACTOR)
    rule = Rule(id="r", variant="disabled", steps=(ScheduleStep(NOW + timedelta(days=1), 50_000),
        ScheduleStep(NOW + timedelta(days=2), 100_000)))  # fmt: skip
    found = dated(of(flag, boolean_document(enabled=True, rules=(rule,))))
    assert [each[3] for each in found] == [1, 1, 0]


def test_dependent_flags__have_numbers_of_their_own_at_each_date(
    flag: Flag, players: list[Player]
) -> None:
    needs = (Prerequisite("f", ("enabled",)),)
    document = msgspec.structs.replace(half(100_000), prerequisites=needs)
    flag_create(environment=flag.environment, key="needs-f", document=document, actor=ACTOR)
    found = of(flag, half(100_000, ramp=RAMP))
    assert dated(found, "needs-f") == dated(found)
    ((own, _), (other, lines)) = found.table
    assert (own, other) == (None, found.dependents[0])
    assert [each.date for each in lines] == found.dates
