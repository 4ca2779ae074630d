"""Exposures: noted in requests, written separately."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from events.timeline import TimelineExposure, TimelineFilter, TimelineKind, timeline
from flags.engine.bucketing import gate, reweight
from flags.engine.document import (
    EVERYBODY,
    FlagDocument,
    Rule,
    boolean_document,
    encode_document,
)
from flags.models import Experiment, ExperimentState, Exposure, Flag
from flags.overrides import override_remove, override_set
from flags.results import exposures
from flags.services import flag_create
from ilara_admin.core.changes import bump_config_version
from ilara_admin.models import Environment, Role
from players.aliases import player_alias_link
from players.erasure import player_delete
from players.models import Player
from tests.api_client import FLAGS, Api
from tests.factories import ACTOR, make_environment, make_experiment, make_exposure, make_player
from tests.pages import signed_in, url_of

OFREP = "/ofrep/v1/evaluate/flags"
CONTEXT = {"country": "DE", "platform": "ios"}


def document(rollout: int = 50_000) -> FlagDocument:
    rule = Rule(id="half", variant="enabled", rollout=rollout)
    return boolean_document(enabled=True, rules=(rule,))


@pytest.fixture
def flag(environment: Environment) -> Flag:
    return flag_create(environment=environment, key="half", document=document(), actor=ACTOR)


@pytest.fixture
def experiment(flag: Flag) -> Experiment:
    return make_experiment(flag, control="disabled")


@pytest.fixture
def evaluate(public_api: Api, experiment: Experiment) -> Callable[..., str]:
    """Evaluates the measured flag for a player and returns the variant."""

    def once(player: Player, **body: Any) -> str:
        reply = public_api.post(f"{FLAGS}/half/evaluate", {"player_id": str(player.pk), **body})
        variant: str = reply.data["variant_key"]
        return variant

    return once


def written(**conditions: Any) -> list[Exposure]:
    exposures.flush()
    return list(Exposure.objects.filter(**conditions).order_by("player_id", "experiment", "phase"))


def players_of_both(flag: Flag) -> tuple[Player, Player]:
    """A player inside the percentage and one outside."""
    found: dict[bool, Player] = {}
    number = 0
    while len(found) < 2:
        number += 1
        player = make_player(flag.environment, f"p-{number}")
        found.setdefault(gate(flag.salt, str(player.pk)) < 50_000, player)
    return found[True], found[False]


def test_first_evaluation__is_written_with_the_arm(
    evaluate: Callable[..., str], flag: Flag, experiment: Experiment
) -> None:
    inside, outside = players_of_both(flag)
    before = datetime.now(UTC) - timedelta(seconds=1)
    for _ in range(3):
        assert (evaluate(inside, context=CONTEXT), evaluate(outside)) == ("enabled", "disabled")
    one, other = sorted(written(), key=lambda row: row.player_id == outside.pk)
    assert (one.player_id, other.player_id) == (inside.pk, outside.pk)
    assert (one.variant, other.variant) == ("enabled", "disabled")
    assert (one.experiment_id, one.phase) == (experiment.pk, 1)
    assert before < one.exposed_at < datetime.now(UTC) + timedelta(seconds=1)
    assert (one.stage, one.payer, one.country, one.platform) == ("new", False, "DE", "ios")
    assert (other.country, other.platform) == ("", "")
    assert (one.overridden, one.second_variant, one.figures) == (False, None, None)


@pytest.mark.parametrize("country", [7, None, "x" * 33, ["DE"]])
def test_attributes_that_are_no_short_text__are_left_out(
    evaluate: Callable[..., str], player: Player, country: Any
) -> None:
    evaluate(player, context={"country": country})
    assert [row.country for row in written()] == [""]


def test_every_endpoint__notes_the_exposure(
    public_api: Api, experiment: Experiment, environment: Environment
) -> None:
    sent = {}
    for number, path in enumerate((f"{FLAGS}/half/evaluate", f"{FLAGS}/evaluate")):
        sent[path] = make_player(environment, f"v1-{number}")
        public_api.post(path, {"player_id": str(sent[path].pk)})
    for number, path in enumerate((f"{OFREP}/half", OFREP)):
        sent[path] = make_player(environment, f"ofrep-{number}")
        public_api.post(path, {"context": {"targetingKey": sent[path].external_id}})
    assert {row.player_id for row in written()} == {player.pk for player in sent.values()}


def test_what_is_no_exposure__is_not_noted(
    public_api: Api, secret_api: Api, experiment: Experiment, player: Player
) -> None:
    body = {"player_id": str(player.pk)}
    for path in (f"{FLAGS}/half/evaluate", f"{FLAGS}/evaluate"):
        secret_api.post(f"{path}?explain=true", body)
        secret_api.post(f"{path}?at=2090-01-01T00:00:00Z", body)
    public_api.post(f"{FLAGS}/new_tutorial/evaluate", body)
    for path in (f"{OFREP}/half", OFREP):
        public_api.post(path, {"context": {"targetingKey": "not registered"}})
        public_api.post(path, {"context": {}})
    assert written() == []
    # The player who was not registered then is noted once registered.
    public_api.register("not registered")
    public_api.post(OFREP, {"context": {"targetingKey": "not registered"}})
    assert len(written()) == 1


def test_flags_without_a_running_experiment__are_not_measured(
    evaluate: Callable[..., str], experiment: Experiment, player: Player
) -> None:
    for state in (ExperimentState.DRAFT, ExperimentState.STOPPED, ExperimentState.DECIDED):
        Experiment.objects.update(state=state)
        bump_config_version(experiment.environment)
        evaluate(player)
        assert written() == []


def test_repeated_evaluations__write_nothing(
    evaluate: Callable[..., str], player: Player, django_assert_num_queries: Any
) -> None:
    evaluate(player)
    exposures.flush()
    evaluate(player)
    with django_assert_num_queries(0):
        exposures.flush()
    # Another process does not know the player: it leaves the row as it is.
    [before] = versions()
    exposures.forget()
    evaluate(player)
    exposures.flush()
    assert versions() == [before]


def versions() -> list[tuple[Any, ...]]:
    """Of each row, what changes with any write to it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT xmin::text, xmax::text, exposed_at FROM exposure")
        return list(cursor.fetchall())


def test_memory__is_bounded_and_forgets(
    evaluate: Callable[..., str], environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposures, "MAX_PENDING", 2)
    players = [make_player(environment, f"p-{number}") for number in range(3)]
    for player in players:
        evaluate(player)
    assert len(written()) == 2
    for player in players:
        evaluate(player)
    assert len(written()) == 3, "the player who was not noted is noted at the next evaluation"
    Exposure.objects.all().delete()
    evaluate(players[0])
    assert written() == []
    monkeypatch.setattr(exposures, "MAX_KNOWN", 3)
    evaluate(players[0])
    assert written() == [], "known players are found without looking at the size"
    evaluate(make_player(environment, "p-4"))
    evaluate(players[0])
    assert len(written()) == 2


# --- Two variants, overrides ----------------------------------------------------------------------


@pytest.fixture
def split(environment: Environment) -> Flag:
    rule = Rule(id="r", split=reweight((), {"enabled": EVERYBODY, "disabled": 0}))
    found = flag_create(
        environment=environment,
        key="split",
        document=boolean_document(enabled=True, rules=(rule,)),
        actor=ACTOR,
    )
    make_experiment(found, "on-split")
    bump_config_version(environment)
    return found


def serve(flag: Flag, variant: str) -> None:
    other = {"enabled": "disabled", "disabled": "enabled"}[variant]
    rule = Rule(id="r", split=reweight((), {variant: EVERYBODY, other: 0}))
    changed = boolean_document(enabled=True, rules=(rule,))
    # Not by the service, which begins a new phase.
    Flag.objects.filter(pk=flag.pk).update(document=encode_document(changed))
    bump_config_version(flag.environment)


@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize("forgets", [True, False])
def test_second_variant__is_kept_beside_the_first(
    public_api: Api, split: Flag, player: Player, *, flushed: bool, forgets: bool
) -> None:
    """Whether the variants come in one flush or several, and through one process or several."""
    for variant in ("enabled", "disabled", "enabled"):
        serve(split, variant)
        public_api.post(f"{FLAGS}/split/evaluate", {"player_id": str(player.pk)})
        if flushed:
            exposures.flush()
            if forgets:
                exposures.forget()
    [row] = written()
    assert (row.variant, row.second_variant, row.overridden) == ("enabled", "disabled", False)
    assert row.second_at is not None
    assert row.second_at > row.exposed_at


@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_override__marks_the_exposure(
    public_api: Api, split: Flag, player: Player, *, flushed: bool, first: bool
) -> None:
    def evaluate() -> None:
        public_api.post(f"{FLAGS}/split/evaluate", {"player_id": str(player.pk)})
        if flushed:
            exposures.flush()

    if not first:
        evaluate()
    override_set(split, player, "enabled", actor=ACTOR)
    evaluate()
    override_remove(split, player, actor=ACTOR)
    evaluate()
    [row] = written()
    assert (row.variant, row.second_variant, row.overridden) == ("enabled", None, True)


# --- Players and experiments that change before the flush -----------------------------------------


def test_erased_player__is_not_written(evaluate: Callable[..., str], player: Player) -> None:
    evaluate(player)
    player_delete(player, actor=ACTOR)
    assert written() == []


def test_erasure_and_export__include_exposures(
    evaluate: Callable[..., str], player: Player
) -> None:
    evaluate(player)
    exposures.flush()
    player_delete(player, actor=ACTOR)
    assert not Exposure.objects.exists()


def test_linked_id__exposes_its_player(
    public_api: Api, experiment: Experiment, player: Player
) -> None:
    def evaluate(name: str) -> None:
        public_api.post(f"{OFREP}/half", {"context": {"targetingKey": name}})

    evaluate("guest")
    player_alias_link(player, "guest", actor=ACTOR)
    evaluate("guest")
    evaluate(player.external_id)
    assert [row.player_id for row in written()] == [player.pk]


@pytest.mark.parametrize("state", [ExperimentState.STOPPED, ExperimentState.DECIDED])
def test_ended_experiment__gets_no_exposures(
    evaluate: Callable[..., str], player: Player, state: ExperimentState
) -> None:
    evaluate(player)
    Experiment.objects.update(state=state)
    assert written() == []


def test_deleted_experiment__is_skipped(evaluate: Callable[..., str], player: Player) -> None:
    evaluate(player)
    Experiment.objects.all().delete()
    assert written() == []


def test_new_phase__has_exposures_of_its_own(
    evaluate: Callable[..., str], experiment: Experiment, player: Player
) -> None:
    evaluate(player)
    exposures.flush()
    late = make_player(experiment.environment, "late")
    evaluate(late)  # not written before the phase ends
    Experiment.objects.update(phase=2, phase_at=datetime.now(UTC))
    bump_config_version(experiment.environment)
    evaluate(player)
    found = {(row.player_id, row.phase) for row in written()}
    assert found == {(player.pk, 1), (player.pk, 2)}
    evaluate(late)
    assert len(written(player_id=late.pk)) == 1


def test_failed_write__is_repeated(
    evaluate: Callable[..., str],
    player: Player,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise OperationalError

    variant = evaluate(player)
    with monkeypatch.context() as patched:
        patched.setattr(connection, "cursor", fail)
        exposures.flush_quietly()
    assert "could not write exposures" in caplog.text
    assert [row.variant for row in written()] == [variant]


def test_other_environment__is_not_measured(player: Player, experiment: Experiment) -> None:
    """Two games may have flags with the same key, and players with the same external id."""
    other = make_environment()
    assert other.pk != experiment.environment_id
    flag_create(environment=other, key="half", document=document(), actor=ACTOR)
    assert written() == []


# --- Timeline -------------------------------------------------------------------------------------


def test_timeline__shows_when_the_variant_changed(
    experiment: Experiment, flag: Flag, player: Player
) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    served = ["disabled", "disabled", "enabled", "enabled"]
    for phase, variant in enumerate(served, 1):
        experiment.phase = phase
        make_exposure(experiment, player, variant, start + timedelta(days=phase))
    other = make_experiment(flag, "other", rule_id="other")
    make_exposure(
        other, player, "a", start, overridden=True, second_variant="b",
        second_at=start + timedelta(hours=1),
    )  # fmt: skip
    make_exposure(other, make_player(flag.environment, "someone"), "c", start)
    found = timeline(player.pk, TimelineFilter(TimelineKind.EXPOSURE)).entries
    shown = [
        (entry.at - start, entry.detail.key, entry.detail.variant)
        for entry in found
        if isinstance(entry.detail, TimelineExposure)
    ]
    assert shown == [
        (timedelta(days=3), "bigger-button", "enabled"),
        (timedelta(days=1), "bigger-button", "disabled"),
        (timedelta(hours=1), "other", "b"),
        (timedelta(0), "other", "a"),
    ]
    assert timeline(player.pk).entries == found
    assert timeline(player.pk, TimelineFilter(TimelineKind.EVENT)).entries == []


def test_player_page__links_to_the_experiment(experiment: Experiment, player: Player) -> None:
    make_exposure(experiment, player, "enabled", datetime.now(UTC))
    page = signed_in(Role.VIEWER).get(url_of(player.environment, "player_detail", player.pk))
    assert url_of(player.environment, "experiment_detail", experiment.key) in page.text


# --- OFREP ----------------------------------------------------------------------------------------


def ofrep_metadata(api: Api, player: Player) -> list[dict[str, Any]]:
    """Of the measured flag, evaluated alone and with all others."""
    body = {"context": {"targetingKey": player.external_id}}
    single = api.post(f"{OFREP}/half", body).json
    [among] = [each for each in api.post(OFREP, body).json["flags"] if each["key"] == "half"]
    assert single == among
    found: list[dict[str, Any]] = [single["metadata"], among["metadata"]]
    return found


def test_ofrep__names_the_experiment_of_players_in_an_arm(
    public_api: Api, experiment: Experiment, flag: Flag
) -> None:
    inside, outside = players_of_both(flag)
    for player in (inside, outside):
        for metadata in ofrep_metadata(public_api, player):
            assert metadata["experiment"] == experiment.key
    for metadata in ofrep_metadata(public_api, inside):
        assert metadata["bucket"] == gate(flag.salt, str(inside.pk))
    override_set(flag, inside, "enabled", actor=ACTOR)
    Experiment.objects.update(state=ExperimentState.STOPPED)
    for metadata in ofrep_metadata(public_api, inside):
        assert "experiment" not in metadata, "an override decided"
    bump_config_version(flag.environment)
    for metadata in ofrep_metadata(public_api, outside):
        assert "experiment" not in metadata, "the experiment ended"
