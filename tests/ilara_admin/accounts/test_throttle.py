"""Limits on guessing: from one network, at one account, at second factors; who still gets in."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.cookies import Morsel
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from ilara_admin.accounts.known_browsers import COOKIE, MAX_ACCOUNTS
from ilara_admin.accounts.throttle import (
    IN_KNOWN_BROWSER,
    LIMITS,
    QUARTER,
    Kind,
    attempts_forget,
    count_try,
    forgive,
)
from ilara_admin.core.staff import staff_set_password
from ilara_admin.models import Role, SignInAttempt, User
from tests.factories import ACTOR, PASSWORD, make_staff
from tests.pages import text_of
from tests.serving import database_url

pytestmark = pytest.mark.slow

PER_NETWORK, LIMIT, PER_NAME = (limit.most for limit in LIMITS[Kind.SIGN_IN])
WRONG = "wrong"
GUESSES = 1_000


def attempt(username: str, password: str = WRONG, address: str = "192.0.2.1", **more: str) -> int:
    return attempt_in(Client(), username, password, address, **more)


def attempt_in(
    client: Client, username: str, password: str = WRONG, address: str = "192.0.2.1", **more: str
) -> int:
    data = {"username": username, "password": password}
    url = reverse("sign_in")
    return client.post(url, data, headers=more, REMOTE_ADDR=address).status_code


@pytest.fixture
def ana(db: None) -> User:
    return make_staff(Role.VIEWER, "ana")


# --- Names and networks ---------------------------------------------------------------------------


def test_attempts_beyond_the_limit__are_refused_even_if_correct(ana: User) -> None:
    assert [attempt("ana") for _ in range(LIMIT)] == [422] * LIMIT
    assert attempt("ana", PASSWORD) == 429


def test_refusal__shows_when_to_try_again(ana: User) -> None:
    for _ in range(LIMIT):
        attempt("ana")
    client = Client(REMOTE_ADDR="192.0.2.1")
    response = client.post(reverse("sign_in"), {"username": "ana", "password": "wrong"})
    assert response.status_code == 429
    assert "Too many wrong passwords. Try again in 15 minutes." in text_of(response)
    assert QUARTER - 60 < int(response["Retry-After"]) <= QUARTER


def test_window__is_not_extended_by_further_attempts(ana: User) -> None:
    for _ in range(LIMIT):
        attempt("ana")
    ends_at = SignInAttempt.objects.values_list("window_ends_at", flat=True)
    before = sorted(ends_at)
    attempt("ana")
    assert sorted(ends_at.all()) == before
    SignInAttempt.objects.update(window_ends_at=timezone.now() - timedelta(seconds=1))
    assert attempt("ana") == 422
    assert attempt("ana", PASSWORD) == 302


def test_success__resets_the_count_of_the_name(ana: User) -> None:
    for _ in range(LIMIT - 1):
        attempt("ana")
    assert attempt("ana", PASSWORD) == 302
    assert [attempt("ana") for _ in range(LIMIT)] == [422] * LIMIT


def test_other_address__is_not_blocked(ana: User) -> None:
    """Otherwise anyone could lock out staff."""
    for _ in range(LIMIT + 1):
        attempt("ana")
    assert attempt("ana", PASSWORD, address="192.0.2.2") == 302


def test_name__is_counted_without_regard_to_case(ana: User) -> None:
    for index in range(LIMIT):
        attempt("ana" if index % 2 else "ANA")
    assert attempt("Ana") == 429


def test_address__is_limited_across_names(ana: User) -> None:
    statuses = [attempt(f"name-{index}") for index in range(PER_NETWORK)]
    assert statuses == [422] * PER_NETWORK
    assert attempt("ana", PASSWORD) == 429
    rows = SignInAttempt.objects.count()
    attempt("one-more")
    assert SignInAttempt.objects.count() == rows


def test_success__uncounts_one_attempt_of_the_address(ana: User) -> None:
    for index in range(PER_NETWORK - 1):
        attempt(f"name-{index}")
    assert attempt("ana", PASSWORD) == 302
    assert attempt("ana", PASSWORD) == 302
    assert attempt("ana") == 422
    assert attempt("ana", PASSWORD) == 429


def test_forwarded_header_without_a_proxy__is_ignored(ana: User) -> None:
    for index in range(LIMIT):
        attempt("ana", x_forwarded_for=f"198.51.100.{index}")
    assert attempt("ana", x_forwarded_for="198.51.100.99") == 429


def test_username__is_not_stored(ana: User) -> None:
    attempt("my-password-by-mistake")
    stored = str(list(SignInAttempt.objects.values_list()))
    assert "mistake" not in stored
    assert "192.0.2.1" not in stored


def test_job__deletes_the_rows_whose_window_is_over(ana: User) -> None:
    attempt("unknown")
    SignInAttempt.objects.update(window_ends_at=timezone.now() - timedelta(hours=1))
    attempt("ana")
    attempts_forget()
    assert SignInAttempt.objects.count() == 3  # of the address, of the name, and of both


def test_ipv6_addresses__are_counted_by_their_64(ana: User) -> None:
    for index in range(LIMIT):
        attempt("ana", address=f"2001:db8:0:1::{index}")
    assert attempt("ana", PASSWORD, address="2001:db8:0:1:ffff::") == 429
    assert attempt("ana", PASSWORD, address="2001:db8:0:2::1") == 302


def test_ipv4_mapped_address__is_the_ipv4_address(ana: User) -> None:
    for index in range(LIMIT):
        attempt("ana", address="192.0.2.1" if index % 2 else "::ffff:192.0.2.1")
    assert attempt("ana", PASSWORD) == 429


def test_one_network__cannot_use_up_the_attempts_on_an_account(ana: User) -> None:
    for _ in range(PER_NETWORK):
        attempt("ana")
    assert attempt("ana", PASSWORD, address="192.0.2.2") == 302
    assert max(SignInAttempt.objects.values_list("failures", flat=True)) == PER_NETWORK


# --- Known browsers -------------------------------------------------------------------------------


def known(user: User) -> Client:
    """A browser in which the user has signed in, without its session."""
    client = Client()
    assert attempt_in(client, user.username, PASSWORD, "198.51.100.1") == 302
    del client.cookies[settings.SESSION_COOKIE_NAME]
    return client


def lock(username: str) -> None:
    """Use up the attempts on an account over all networks."""
    for index in range(PER_NAME):
        assert count_try(Kind.SIGN_IN, coming_from(f"203.0.113.{index}"), username) is None


def coming_from(address: str, cookie: str = "") -> HttpRequest:
    request = RequestFactory().get("/", REMOTE_ADDR=address)
    request.COOKIES[COOKIE] = cookie
    return request


def test_cookie__is_out_of_reach_for_scripts_and_other_sites(ana: User, settings: Settings) -> None:
    settings.SESSION_COOKIE_SECURE = True
    cookie: Morsel[str] = known(ana).cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Lax", True)
    assert "ana" not in cookie.value


def test_wrong_password__makes_no_browser_known(ana: User) -> None:
    client = Client()
    attempt_in(client, "ana")
    assert COOKIE not in client.cookies


def test_owner_of_a_known_browser__gets_in_while_others_guess(ana: User) -> None:
    owner = known(ana)
    lock("ana")
    assert attempt("ana", PASSWORD, address="192.0.2.99") == 429
    assert attempt_in(owner, "ana", PASSWORD, "192.0.2.99") == 302


def test_known_browser__is_known_wherever_it_is_and_however_the_name_is_written(ana: User) -> None:
    owner = known(ana)
    lock("ana")
    assert attempt_in(owner, "Ana", WRONG, "2001:db8::1") == 422
    assert attempt_in(owner, "ana", PASSWORD, "192.0.2.99") == 302


def test_known_browser__is_limited(ana: User) -> None:
    stolen = known(ana)
    statuses = [attempt_in(stolen, "ana") for _ in range(IN_KNOWN_BROWSER.most + 1)]
    assert statuses == [422] * IN_KNOWN_BROWSER.most + [429]
    assert attempt("ana", PASSWORD) == 302  # the others are not affected


def test_known_browser_of_one_account__is_unknown_to_another(ana: User) -> None:
    browser = known(make_staff(Role.VIEWER, "tom"))
    lock("ana")
    assert attempt_in(browser, "ana", PASSWORD) == 429


def test_new_password__voids_known_browsers(ana: User) -> None:
    browser = known(ana)
    new = "a quite different phrase"
    staff_set_password(ana, password=new, actor=ACTOR)
    lock("ana")
    assert attempt_in(browser, "ana", new) == 429


def test_own_change_of_the_password__keeps_this_browser_known(ana: User) -> None:
    browser = Client()
    attempt_in(browser, "ana", PASSWORD)
    new = "a quite different phrase"
    data = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert browser.post(reverse("account_password"), data).status_code == 302
    del browser.cookies[settings.SESSION_COOKIE_NAME]
    lock("ana")
    assert attempt_in(browser, "ana", new) == 302


@pytest.mark.parametrize("forged", ["", ".", "x", "a.b", "é.é", "." * 5_000, "a." + "f" * 32])
def test_forged_cookie__is_an_unknown_browser(ana: User, forged: str) -> None:
    lock("ana")
    assert count_try(Kind.SIGN_IN, coming_from("192.0.2.9", forged), "ana") is not None


def test_cookie_of_another_browser__cannot_be_mixed(ana: User) -> None:
    _, mark = known(ana).cookies[COOKIE].value.split(".")
    lock("ana")
    cookie = f"another-browser.{mark}"
    assert count_try(Kind.SIGN_IN, coming_from("192.0.2.9", cookie), "ana") is not None


def known_cookie(user: User) -> str:
    client = Client()
    client.post(
        reverse("sign_in"), {"username": user.username, "password": PASSWORD},
        REMOTE_ADDR="198.51.100.1",
    )  # fmt: skip
    return client.cookies[COOKIE].value if COOKIE in client.cookies else "."


def test_cookie__keeps_the_last_accounts(db: None) -> None:
    browser = Client()
    for index in range(MAX_ACCOUNTS + 2):
        user = make_staff(Role.VIEWER, f"staff-of-one-browser-{index}")
        assert attempt_in(browser, user.username, PASSWORD) == 302
    assert len(browser.cookies[COOKIE].value.split(".")) == 1 + MAX_ACCOUNTS


# --- Other secrets --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind != Kind.LINK])
def test_each_kind__is_limited_for_an_account_over_all_networks(ana: User, kind: Kind) -> None:
    most = LIMITS[kind][-1].most
    tries = [count_try(kind, coming_from(f"203.0.113.{index}"), "ana") for index in range(most + 5)]
    assert [each is None for each in tries] == [True] * most + [False] * 5
    other = next(other for other in Kind if other not in (kind, Kind.LINK))
    assert count_try(other, coming_from("203.0.113.1"), "ana") is None  # kinds do not add up


def test_wrong_links__are_limited_by_network(db: None) -> None:
    (limit,) = LIMITS[Kind.LINK]
    tries = [count_try(Kind.LINK, coming_from("2001:db8::1")) for _ in range(limit.most + 1)]
    assert [each is None for each in tries] == [True] * limit.most + [False]
    assert count_try(Kind.LINK, coming_from("2001:db8:1::1")) is None


def test_correct_code__uncounts_one_attempt_only(ana: User) -> None:
    """Otherwise each sign-in of the owner would give who guesses new attempts."""
    request = coming_from("192.0.2.1")
    most = LIMITS[Kind.SECOND_FACTOR][-1].most
    for _ in range(most):
        assert count_try(Kind.SECOND_FACTOR, request, "ana") is None
    forgive(Kind.SECOND_FACTOR, request, "ana")
    assert count_try(Kind.SECOND_FACTOR, request, "ana") is None
    assert count_try(Kind.SECOND_FACTOR, request, "ana") is not None


def test_old_password__is_limited_and_the_session_goes_on(ana: User) -> None:
    thief = Client()
    thief.force_login(ana)
    new = "a quite different phrase"
    data = {"old_password": WRONG, "new_password1": new, "new_password2": new}
    url = reverse("account_password")
    (limit,) = LIMITS[Kind.REAUTHENTICATION]
    statuses = [thief.post(url, data).status_code for _ in range(limit.most)]
    assert statuses == [422] * limit.most
    response = thief.post(url, data | {"old_password": PASSWORD})
    assert response.status_code == 429
    assert "Too many wrong passwords. Try again in 15 minutes." in text_of(response)
    htmx = {"HX-Request": "true"}
    assert thief.post(url, data, headers=htmx).status_code == 422  # shown in the dialog
    assert thief.get(url).status_code == 200


# --- A thousand guesses ---------------------------------------------------------------------------


@contextmanager
def checked_passwords() -> Iterator[list[str]]:
    """The usernames whose password was checked and was wrong."""
    names: list[str] = []

    def note(credentials: dict[str, Any], **_: Any) -> None:
        names.append(credentials["username"])

    user_login_failed.connect(note)
    try:
        yield names
    finally:
        user_login_failed.disconnect(note)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address_of", "limit"),
    [
        (lambda index: f"2001:db8::{index:x}", LIMIT),
        (lambda index: f"2001:db8:0:{index:x}::1", PER_NAME),
    ],
    ids=["from one /64", "from many networks"],
)
def test_thousand_guesses__are_held(
    ana: User, address_of: Callable[[int], str], limit: int
) -> None:
    owner, working = known(ana), Client()
    working.force_login(ana)
    with checked_passwords() as checked:
        statuses = Counter(attempt("ana", address=address_of(index)) for index in range(GUESSES))
    assert statuses == {422: limit, 429: GUESSES - limit}
    assert len(checked) == limit  # refused attempts cost no hashing
    # The rightful user, even from the network of the guesses.
    assert attempt_in(owner, "ana", PASSWORD, address_of(0)) == 302
    assert working.get(reverse("account"), REMOTE_ADDR=address_of(0)).status_code == 200


# Guesses at a second factor, with the count of allowed ones as output.
GUESSING = """
import sys
import django
django.setup()
from concurrent.futures import ThreadPoolExecutor
from django.db import connection
from django.test import RequestFactory
from ilara_admin.accounts.throttle import Kind, count_try

first, number = int(sys.argv[1]), int(sys.argv[2])

def guess(index):
    address = f"2001:db8:{index:x}::1"
    request = RequestFactory().get("/", REMOTE_ADDR=address)
    return count_try(Kind.SECOND_FACTOR, request, "ana") is None

with ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(guess, range(first, first + number))))
"""


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_thousand_codes_in_two_processes__are_held_exactly() -> None:
    environ = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "SECRET_KEY": "x",
        "DJANGO_SETTINGS_MODULE": "ilara_admin.settings",
    }
    guessers = [
        subprocess.Popen(
            [sys.executable, "-c", GUESSING, str(half), str(GUESSES // 2)],
            cwd=settings.BASE_DIR,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        for half in (0, GUESSES // 2)
    ]
    allowed = [int(guesser.communicate()[0]) for guesser in guessers]
    assert sum(allowed) == LIMITS[Kind.SECOND_FACTOR][-1].most
