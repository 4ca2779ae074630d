"""The list of players: filters, columns, orders and pages, as the page shows them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from urllib.parse import unquote

import pytest
from django.db.models import F
from django.test import Client

from ilara_admin.models import Environment, Role, SavedView
from ilara_admin.pages.player_filters import Filters, document_of, scope_of
from ilara_admin.pages.player_list import query_of
from players.lifecycle import Stage, Thresholds, stage_at
from players.models import Player
from segments import player_search
from segments.lists.services import ids_add
from segments.models import Segment
from segments.player_search import Search, keys_of, search
from tests.factories import ACTOR, make_player
from tests.pages import squeezed, text_of, url_of

type SignIn = Callable[..., Client]
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


@pytest.fixture
def viewer(staff_client: SignIn) -> Client:
    return staff_client(Role.VIEWER)


@pytest.fixture
def support(staff_client: SignIn) -> Client:
    return staff_client(Role.SUPPORT)


def page(client: Client, environment: Environment, query: str = "") -> str:
    return squeezed(text_of(client.get(url_of(environment, "player_list") + query)))


def ids_in(html: str) -> list[str]:
    return re.findall(r'<td><a class="mono" href="[^"]+">([^<]*)</a></td>', html)


@pytest.fixture
def three(environment: Environment) -> list[Player]:
    """Three players, the one seen last first."""
    now = datetime.now(UTC)
    return [
        make_player(
            environment, name, last_seen_at=now - timedelta(days=3 * number),
            first_seen_at=now - timedelta(days=20 - number), attributes=attributes,
            email=f"{name}@example.com", device_id=f"device-{name}",
        )
        for number, (name, attributes) in enumerate([
            ("ada", {"country": "PT", "level": 40, "nick": "Countess", "vip": True}),
            ("bob", {"country": "DE", "level": "40"}),
            ("cyd", {"country": "PT", "level": 7, "nick": "Cy"}),
        ])
    ]  # fmt: skip


def test_narrow_windows__hide_a_column_with_its_header(
    viewer: Client, environment: Environment, three: list[Player]
) -> None:
    html = page(viewer, environment, "?columns=stage,seen,first,days,revenue")
    rows = re.findall("<tr>.*?</tr>", html, re.DOTALL)
    minor = [
        ['data-col="minor"' in cell for cell in re.findall("<t[hd][^>]*>", row)] for row in rows
    ]
    assert minor == [[False] * 4 + [True] * 3] * (1 + len(three))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?country=PT", ["ada", "cyd"]),
        ("?attribute=level&value=40", ["ada", "bob"]),
        ("?attribute=level&test=least&value=8", ["ada"]),
        ("?attribute=level&test=most&value=40&attribute2=nick&test2=set", ["ada", "cyd"]),
        ("?attribute=vip&value=true", ["ada"]),
        ("?within=4", ["ada", "bob"]),
        ("?stage=new", []),
        ("?payer=no&sort=id", ["ada", "bob", "cyd"]),
        ("?sort=-id", ["cyd", "bob", "ada"]),
        ("?sort=seen", ["cyd", "bob", "ada"]),
        ("?sort=-first", ["cyd", "bob", "ada"]),
        ("?segment=beta-testers", ["ada", "bob"]),  # by the rule, and on the list
        ("?segment=gone", []),
    ],
)
def test_filters_and_orders(
    query: str, expected: list[str], viewer: Client, three: list[Player], environment: Environment
) -> None:
    segment = Segment.objects.select_related("environment__project").get(
        environment=environment, key="beta-testers"
    )
    ids_add(segment, ["bob"], excluded=False, actor=ACTOR)
    assert ids_in(page(viewer, environment, query)) == expected


def test_days__are_those_of_the_account(
    viewer: Client, three: list[Player], environment: Environment
) -> None:
    day = (three[1].last_seen_at - timedelta(days=1)).date().isoformat()
    assert ids_in(page(viewer, environment, f"?since={day}")) == ["ada", "bob"]
    assert ids_in(page(viewer, environment, f"?until={day}")) == ["cyd"]


def test_invalid_filter__is_named_and_not_applied(
    viewer: Client, three: list[Player], environment: Environment
) -> None:
    html = page(viewer, environment, "?attribute=level&test=least&value=high&since=tomorrow")
    assert len(ids_in(html)) == 3
    assert "level: “is at least” needs a number, such as 40." in html
    assert "Seen from: Enter a valid date." in html
    assert "Remove filter level" not in html


def test_chip__removes_its_condition_only(
    viewer: Client, three: list[Player], environment: Environment
) -> None:
    html = page(viewer, environment, "?attribute=level&test=least&value=8&country=PT&columns=seen")
    chip = re.search(r'href="([^"]+)" aria-label="Remove filter level', html)
    assert chip
    left = chip[1].partition("?")[2].replace("&amp;", "&")
    assert sorted(left.split("&")) == ["columns=seen", "country=PT"]


def test_columns__are_those_of_the_address(
    support: Client, three: list[Player], environment: Environment
) -> None:
    html = page(support, environment, "?columns=email,.level,.none")
    assert re.findall(r'<th scope="col"[^>]*>([^<]+)</th>', html) == ["E-mail", "level", "none"]
    assert "<bdi>ada@example.com</bdi>" in html
    assert ">Stage</th>" not in html
    assert "example.com" not in page(support, environment)


def test_columns_form__keeps_the_filters(
    viewer: Client, three: list[Player], environment: Environment
) -> None:
    url = url_of(environment, "player_columns") + "?query=stage%3Dnew%26columns%3D.nick"
    html = text_of(viewer.get(url))
    assert re.search(r'value="\.nick"[^>]*checked', html)
    assert 'value=".country"' in html
    response = viewer.post(url, {"shown": ["seen", ".level"], "more": "stats.wins, a b"})
    list_url = url_of(environment, "player_list")
    assert unquote(unquote(response["Location"])) == (
        f"{list_url}?columns=seen,.level,.stats.wins,.a b&stage=new"
    )
    refused = viewer.post(url, {"shown": [], "more": "a..b"})
    assert refused.status_code == 422
    assert "no empty part" in text_of(refused)


def test_viewers__see_no_personal_data_and_cannot_narrow_it_down(
    viewer: Client, support: Client, three: list[Player], environment: Environment
) -> None:
    Environment.objects.filter(pk=environment.pk).update(personal_attributes=["nick", "level"])
    query = "?columns=email,device,.nick,.level"
    html = page(viewer, environment, query)
    assert "a***@example.com" in html
    for secret in ("ada@", "device-ada", "Countess", "<bdi>40</bdi>"):
        assert secret not in html
        assert secret in page(support, environment, query)
    refused = page(viewer, environment, "?attribute=level&test=least&value=8")
    assert "compare for equality only" in refused
    assert len(ids_in(refused)) == 3
    assert ids_in(page(support, environment, "?attribute=level&test=least&value=8")) == ["ada"]


def test_search_that_ends_early__says_so_and_continues(
    viewer: Client, three: list[Player], environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(player_search, "FIRST_CHUNK_SIZE", 1)
    monkeypatch.setattr(player_search, "MOST", 1)
    html = page(viewer, environment, "?attribute=nick&value=Cy")
    words = " ".join(html.split())
    assert "Looked at 1 player, those seen last first; 0 of them match." in words
    for _ in range(4):
        following = re.search(r'href="([^"]+)">Look further</a>', html)
        if not following:
            break
        html = squeezed(text_of(viewer.get(following[1].replace("&amp;", "&"))))
        if ids_in(html):
            assert ids_in(html) == ["cyd"]
            return
    raise AssertionError("the player was passed over")


def test_pages__lead_there_and_back(viewer: Client, environment: Environment) -> None:
    for number in range(120):
        make_player(environment, f"p{number:03}")
    html, pages = page(viewer, environment, "?sort=id"), []
    while True:
        pages.append(ids_in(html))
        following = re.search(r'rel="next" href="([^"]+)"', html)
        if not following:
            break
        html = squeezed(text_of(viewer.get(following[1].replace("&amp;", "&"))))
    assert [len(each) for each in pages] == [50, 50, 20]
    for expected in pages[1::-1]:
        previous = re.search(r'rel="prev" href="([^"]+)"', html)
        assert previous
        html = squeezed(text_of(viewer.get(previous[1].replace("&amp;", "&"))))
        assert ids_in(html) == expected
    assert len(ids_in(page(viewer, environment, "?sort=id&after=made-up"))) == 50


def test_view__keeps_filters_order_and_columns(
    viewer: Client, three: list[Player], environment: Environment
) -> None:
    query = "attribute=level&columns=.level&sort=id&test=set"
    url = url_of(environment, "saved_view_new", "player_list")
    response = viewer.post(f"{url}?query={query.replace('&', '%26')}", {"name": "Levels"})
    assert response["Location"] == f"{url_of(environment, 'player_list')}?{query}"
    assert SavedView.objects.get(name="Levels").query == query
    html = page(viewer, environment, f"?{query}")
    assert re.search(r'aria-current="page"><bdi>Levels</bdi>', html)


# --- The stage, as rule and scope -----------------------------------------------------------------


def around(days: int) -> list[timedelta]:
    """Durations at a threshold and on both sides of it."""
    edge = timedelta(days=days)
    return [edge - MOMENT, edge, edge + MOMENT]


@pytest.mark.parametrize(
    "thresholds",
    [
        Thresholds(),
        Thresholds(new_days=3, at_risk_days=5, churned_days=14),
        Thresholds(new_days=20, at_risk_days=7, churned_days=7),
        Thresholds(new_days=1, at_risk_days=30, churned_days=10),
    ],
)
def test_stage_filter__agrees_with_stage_at(
    environment: Environment, thresholds: Thresholds
) -> None:
    Environment.objects.filter(pk=environment.pk).update(
        new_days=thresholds.new_days, at_risk_days=thresholds.at_risk_days,
        churned_days=thresholds.churned_days, config_version=F("config_version") + 1,
    )  # fmt: skip
    environment.refresh_from_db()
    silences = [
        timedelta(0),
        *around(thresholds.at_risk_days),
        *around(thresholds.churned_days),
        *around(thresholds.new_days),
    ]
    players = [
        make_player(
            environment,
            f"p{number}",
            last_seen_at=NOW - last,
            first_seen_at=NOW - last - first,
            returned_at=None if back is None else NOW - back,
        )
        for number, (last, first, back) in enumerate(
            product(silences, [timedelta(0), *around(thresholds.new_days)], [None, *silences])
        )
    ]
    for stage in Stage:
        filters = Filters(stage=stage)
        wanted = Search(
            environment.pk,
            query_of(environment, document_of(filters), NOW),
            keys_of("-seen"),
            scope_of(filters, thresholds, NOW),
        )
        found = {place.id for place in search(wanted, None, len(players)).places}
        assert found == {
            each.pk for each in players if stage_at(each.history, thresholds, NOW) is stage
        }
