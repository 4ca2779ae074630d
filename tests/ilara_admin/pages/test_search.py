"""The find box."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from flags.engine.document import Rule, boolean_document
from flags.services import flag_create
from ilara_admin.models import Environment, Role
from segments.services import segment_create
from tests.factories import ACTOR, make_environment, make_experiment, make_player

RULE = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]}


@pytest.fixture
def viewer(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.VIEWER)


def base(environment: Environment) -> str:
    return f"/{environment.project.slug}/{environment.slug}/"


def led_to(client: Client, environment: Environment, q: str) -> str:
    """The path that the find box redirects to, or "" for a page of results."""
    response = client.get(f"{base(environment)}find/", {"q": q})
    return (
        response["Location"].removeprefix(base(environment)) if response.status_code == 302 else ""
    )


def results(client: Client, environment: Environment, q: str) -> str:
    response = client.get(f"{base(environment)}find/", {"q": q})
    assert response.status_code == 200
    return response.content.decode().partition("<main")[2]


def test_exact_name__redirects_to_its_page(viewer: Client, environment: Environment) -> None:
    player = make_player(environment, "player 1/2")
    assert led_to(viewer, environment, "player 1/2") == f"players/{player.pk}/"
    assert led_to(viewer, environment, f" {player.pk} ") == f"players/{player.pk}/"
    assert led_to(viewer, environment, str(player.pk).upper()) == f"players/{player.pk}/"
    assert led_to(viewer, environment, "\u00a0player 1/2\u200b ") == f"players/{player.pk}/"
    assert led_to(viewer, environment, "new_tutorial") == "flags/new_tutorial/"
    assert led_to(viewer, environment, "beta-testers") == "segments/beta-testers/"


def test_key_of_a_flag__is_not_that_of_its_experiment(
    viewer: Client, environment: Environment
) -> None:
    document = boolean_document(rules=(Rule(id="r", variant="enabled", rollout=50_000),))
    flag = flag_create(environment=environment, key="shop", document=document, actor=ACTOR)
    make_experiment(flag, "shop")
    make_experiment(flag, "price", state="stopped")
    make_experiment(flag, "shop-r-1", kind="rollout", state="stopped")
    assert led_to(viewer, environment, "shop") == "flags/shop/"
    assert led_to(viewer, environment, "price") == "experiments/price/"
    shown = results(viewer, environment, "sho")
    assert "experiments/shop/" in shown
    assert "running" in shown
    assert "shop-r-1" not in shown
    viewer.get(f"{base(environment)}experiments/price/")
    assert "experiments/price/" in viewer.get(f"{base(environment)}palette/").content.decode()


def test_name_of_several_objects__lists_them(viewer: Client, environment: Environment) -> None:
    make_player(environment, "new_tutorial")
    html = results(viewer, environment, "new_tutorial")
    assert "flags/new_tutorial/" in html
    assert "players/" in html


def test_part_of_a_name__lists_matches(viewer: Client, environment: Environment) -> None:
    make_player(environment, "newbie")
    make_player(environment, "renewed")
    html = results(viewer, environment, "new")
    assert ">newbie<" in html
    assert ">renewed<" not in html
    assert "flags/new-feature/" in html
    assert "flags/new_tutorial/" in html
    assert "segments/beta-testers/" in results(viewer, environment, "TESTER")


@pytest.mark.parametrize("q", ["zzz", "a\0b", "x" * 5000, "%", "<script>alert(1)</script>", "\\"])
def test_no_match__is_shown(q: str, viewer: Client, environment: Environment) -> None:
    make_player(environment, "a")
    html = results(viewer, environment, q)
    assert "Nothing found" in html
    assert "<script>alert" not in html


@pytest.mark.parametrize("q", ["", "   "])
def test_empty_query__shows_help(q: str, viewer: Client, environment: Environment) -> None:
    assert "Enter what a ticket names" in results(viewer, environment, q)


def test_other_environments__are_not_searched(viewer: Client, environment: Environment) -> None:
    other = make_environment()
    stranger = make_player(other, "stranger")
    segment_create(environment=other, key="elsewhere", name="", rule=RULE, actor=ACTOR)
    for q in ("stranger", str(stranger.pk), "elsewhere"):
        assert "Nothing found" in results(viewer, environment, q)


def test_find__needs_as_many_queries_for_many_rows_as_for_one(
    viewer: Client, environment: Environment
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            results(viewer, environment, "thing")
        return len(captured)

    def make(number: int) -> None:
        make_player(environment, f"thing-{number}")
        key = f"thing-{number}"
        segment_create(environment=environment, key=key, name="", rule=RULE, actor=ACTOR)
        flag_create(environment=environment, key=key, document=boolean_document(), actor=ACTOR)

    make(0)
    queries()
    one = queries()
    for number in range(1, 20):
        make(number)
    assert queries() == one
    assert "players/?q=thing" in results(viewer, environment, "thing")
