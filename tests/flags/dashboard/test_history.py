"""The history of a flag: its pages, a revision, the comparison of two."""

import re
from collections.abc import Iterator
from copy import deepcopy

import msgspec
import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from flags.models import Flag, FlagRevision
from flags.services import flag_set_details, flag_set_enabled, flag_update
from ilara_admin.models import Role
from tests.factories import ACTOR, make_environment
from tests.pages import HTMX, signed_in, squeezed, text_of, url_of


@pytest.fixture(scope="module")
def shared_flag(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Flag]:
    """Built once in a transaction; each test runs in a savepoint."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield make_flag()
        transaction.set_rollback(True)


@pytest.fixture
def flag(shared_flag: Flag, db: None) -> Flag:
    return deepcopy(shared_flag)


def make_flag() -> Flag:
    """Revision 1 serves `beta-testers` all of `enabled`, revisions 2 to 25 a percentage."""
    flag = Flag.objects.select_related("environment__project").get(
        environment=make_environment(), key="new_tutorial"
    )
    rule = flag.spec.rules[0].id
    for number in range(1, 25):
        document = flag.spec.with_rollout(rule, number * 1_000)
        flag, _ = flag_update(flag, document=document, base_revision=number, actor=ACTOR)
    return flag


@pytest.fixture
def client(db: None) -> Client:
    return signed_in(Role.LIVE_OPS)


def shown(html: str) -> list[int]:
    return [int(number) for number in re.findall(r'id="revision-(\d+)"', html)]


def test_long_history__is_paged(flag: Flag, client: Client) -> None:
    url = url_of(flag.environment, "flag_detail", flag.key)
    html, found = text_of(client.get(url)), []
    while True:
        found.append(shown(html))
        following = re.search(r'rel="next" href="[^"?]*(\?[^"#]*)#history"', html)
        if not following:
            break
        html = text_of(client.get(url + following[1], headers=HTMX))
        assert "<html" not in html
    assert [number for page in found for number in page] == list(range(25, 0, -1))
    assert [len(page) for page in found] == [10, 10, 5]
    assert "created the flag" in html
    back = re.search(r'rel="prev" href="[^"?]*(\?[^"#]*)#history"', html)
    assert back
    assert shown(text_of(client.get(url + back[1]))) == found[1]
    html = text_of(client.get(url + back[1], headers=HTMX))
    back = re.search(r'rel="prev" href="[^"?]*(\?[^"#]*)#history"', html)
    assert back
    assert shown(text_of(client.get(url + back[1], headers=HTMX))) == found[0]


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "9" * 12, ""])
def test_wrong_place_in_the_history__shows_its_start(
    flag: Flag, client: Client, wrong: str
) -> None:
    url = url_of(flag.environment, "flag_detail", flag.key)
    assert shown(text_of(client.get(url, {"history": wrong})))[:1] == [25]


def test_place_after_the_newest_revision__shows_the_newest(flag: Flag, client: Client) -> None:
    url = url_of(flag.environment, "flag_detail", flag.key)
    html = text_of(client.get(url, {"history": "26"}))
    assert shown(html)[:1] == [25]
    assert 'rel="prev"' not in html


def change(before: int, after: int) -> str:
    """The difference of two revisions as HTML."""
    texts = (f"{percent} % of beta-testers get enabled" for percent in (before, after))
    return "<del>{}</del> → <ins>{}</ins>".format(*texts)


def test_revision__shows_what_it_changed_and_the_flag_as_it_was(flag: Flag, client: Client) -> None:
    flag_set_details(flag, {"owner": "Ada", "tags": ["late"]}, actor=ACTOR, reason="Handed over")
    url = url_of(flag.environment, "flag_revision", flag.key, 5)
    html = squeezed(text_of(client.get(url)))
    assert change(3, 4) in html
    assert "beta-testers" in html
    assert "Ada" not in html.partition("<main")[2].replace("Ada, ", "")
    restore = url_of(flag.environment, "flag_restore", flag.key, 5)
    assert f"{restore}?from=26" in html
    newest = text_of(client.get(url_of(flag.environment, "flag_revision", flag.key, 26)))
    assert "Handed over" in newest
    assert "late" in newest
    assert "/restore/" not in newest
    viewer = text_of(signed_in(Role.VIEWER).get(url))
    assert "/restore/" not in viewer
    missing = client.get(url_of(flag.environment, "flag_revision", flag.key, 27))
    assert missing.status_code == 404


def test_revision_that_cannot_be_read__is_shown_as_json(flag: Flag, client: Client) -> None:
    FlagRevision.objects.filter(flag=flag, number=3).update(document={"enabled": "maybe"})
    html = text_of(client.get(url_of(flag.environment, "flag_revision", flag.key, 3)))
    assert "This revision cannot be read." in html
    assert "maybe" in html


def test_any_two_revisions__are_compared_in_their_order(flag: Flag, client: Client) -> None:
    url = url_of(flag.environment, "flag_compare", flag.key)
    assert change(2, 9) in text_of(client.get(url, {"a": 3, "b": 10}))
    assert change(9, 2) in text_of(client.get(url, {"a": 10, "b": 3}))
    assert change(23, 24) in text_of(client.get(url))
    assert "They do not differ." in text_of(client.get(url, {"a": 4, "b": 4}))
    for wrong in ("99", "0", "x", ""):
        html = text_of(client.get(url, {"a": wrong, "b": 3}))
        assert 'class="errorlist"' in html
    assert "There are revisions 1 to 25." in text_of(client.get(url, {"a": 26, "b": 3}))


def test_compared_revisions_that_differ_in_details_and_state__say_so(
    flag: Flag, client: Client
) -> None:
    flag, _ = flag_set_details(flag, {"tags": ["shop"], "owner": "Ada"}, actor=ACTOR)
    flag, _ = flag_set_enabled(flag, False, actor=ACTOR)
    renamed = msgspec.structs.replace(flag.spec, default="enabled")
    flag_update(flag, document=renamed, base_revision=27, actor=ACTOR)
    url = url_of(flag.environment, "flag_compare", flag.key)
    html = text_of(client.get(url, {"a": 25, "b": 28}))
    for change in (
        "<del>none</del> → <ins>shop</ins>",
        "<del>none</del> → <ins>Ada</ins>",
        "<del>on</del> → <ins>off</ins>",
        "<del>disabled</del> → <ins>enabled</ins>",
    ):
        assert change in html


def test_page_of_a_flag__needs_as_many_queries_for_1_revision_as_for_25(
    flag: Flag, client: Client
) -> None:
    few = url_of(flag.environment, "flag_detail", "new-feature")
    many = url_of(flag.environment, "flag_detail", flag.key)
    numbers = []
    for url in (few, many):
        client.get(url)  # the session keeps what was opened last
        with CaptureQueriesContext(connection) as queries:
            client.get(url)
        numbers.append(len(queries))
    assert numbers[0] == numbers[1] <= 14
