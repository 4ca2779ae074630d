"""Sign-in, its limit on failed attempts, and the account page."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from ilara_admin.accounts import sign_in
from ilara_admin.accounts.account import time_zones
from ilara_admin.accounts.sign_in import FAILURES_PER_ADDRESS, FAILURES_PER_NAME, WINDOW_SECONDS
from ilara_admin.core.client_address import client_address
from ilara_admin.models import AuditEntry, Environment, Role, SignInAttempt, User
from tests.factories import PASSWORD, make_staff
from tests.homes import HANG_SECONDS
from tests.pages import HTMX, signed_in, text_of, url_of

LIMIT = FAILURES_PER_NAME
WRONG = "wrong"


def attempt(username: str, password: str = WRONG, address: str = "192.0.2.1", **more: str) -> int:
    data = {"username": username, "password": password}
    url = reverse("sign_in")
    return Client(REMOTE_ADDR=address).post(url, data, headers=more).status_code


@pytest.fixture
def ana(db: None) -> User:
    return make_staff(Role.VIEWER, "ana")


# --- Sign-in --------------------------------------------------------------------------------------


def test_correct_password__signs_in(ana: User) -> None:
    assert attempt("ana", PASSWORD) == 302


@pytest.mark.parametrize(("name", "password"), [("ana", "wrong"), ("unknown", PASSWORD)])
def test_wrong_name_and_wrong_password__get_the_same_error(
    ana: User, name: str, password: str
) -> None:
    response = Client().post(reverse("sign_in"), {"username": name, "password": password})
    assert response.status_code == 422
    page = text_of(response)
    assert "Wrong username or password" in page
    assert password not in page


def test_empty_form__is_not_counted(ana: User) -> None:
    assert Client().post(reverse("sign_in"), {"username": "ana"}).status_code == 422
    assert not SignInAttempt.objects.exists()


def test_page__is_not_cached_by_browsers(db: None) -> None:
    assert "no-store" in Client().get(reverse("sign_in"))["Cache-Control"]


# --- Failed attempts ------------------------------------------------------------------------------


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
    assert WINDOW_SECONDS - 60 < int(response["Retry-After"]) <= WINDOW_SECONDS


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


@pytest.mark.parametrize(
    ("proxies", "header", "found"),
    [
        (0, "203.0.113.9", "192.0.2.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        (2, "1.1.1.1, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (2, "203.0.113.9", "192.0.2.1"),
        (1, "", "192.0.2.1"),
        (1, "1.1.1.1,", "192.0.2.1"),
    ],
)
def test_address__is_the_one_seen_by_the_outermost_proxy(
    proxies: int, header: str, found: str, settings: Settings
) -> None:
    settings.PROXIES = proxies
    request = RequestFactory().get("/", headers={"x-forwarded-for": header})
    request.META["REMOTE_ADDR"] = "192.0.2.1"
    assert client_address(request) == found


def test_name__is_counted_without_regard_to_case(ana: User) -> None:
    for index in range(LIMIT):
        attempt("ana" if index % 2 else "ANA")
    assert attempt("Ana") == 429


def test_address__is_limited_across_names(ana: User) -> None:
    statuses = [attempt(f"name-{index}") for index in range(FAILURES_PER_ADDRESS)]
    assert statuses == [422] * FAILURES_PER_ADDRESS
    assert attempt("ana", PASSWORD) == 429
    rows = SignInAttempt.objects.count()
    attempt("one-more")
    assert SignInAttempt.objects.count() == rows


def test_success__uncounts_one_attempt_of_the_address(ana: User) -> None:
    for index in range(FAILURES_PER_ADDRESS - 1):
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


def test_expired_rows__are_deleted_by_the_next_success(ana: User) -> None:
    attempt("unknown")
    SignInAttempt.objects.update(window_ends_at=timezone.now() - timedelta(hours=1))
    attempt("ana", PASSWORD, address="192.0.2.9")
    assert SignInAttempt.objects.count() == 1  # that of the address


@pytest.mark.django_db(transaction=True)
def test_concurrent_attempts__cannot_exceed_the_limit() -> None:
    results: list[bool] = []

    def guess() -> None:
        try:
            results.append(sign_in.count_try("ana", "192.0.2.1") is None)
        finally:
            connection.close()

    threads = [threading.Thread(target=guess) for _ in range(LIMIT + 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=HANG_SECONDS)
    assert results.count(True) == LIMIT
    assert results.count(False) == 6


# --- The account ----------------------------------------------------------------------------------


def test_account__is_linked_from_every_page(environment: Environment) -> None:
    page = text_of(signed_in(Role.VIEWER).get(url_of(environment, "key_list")))
    assert f'<a href="{reverse("account")}">' in page


def test_account__shows_the_last_visited_environment(environment: Environment) -> None:
    client = signed_in(Role.VIEWER)
    client.get(f"/{environment.project.slug}/test/keys/")
    page = text_of(client.get(reverse("account")))
    assert f'href="/{environment.project.slug}/test/players/"' in page


def test_account__opens_without_any_project(db: None) -> None:
    assert signed_in(Role.VIEWER).get(reverse("account")).status_code == 200


def test_name_and_zone__are_stored_and_audited(environment: Environment) -> None:
    client = signed_in(Role.VIEWER)
    data = {"name": "Ana Reyes", "time_zone": "Asia/Tokyo"}
    assert client.post(reverse("account"), data)["Location"] == reverse("account")
    page = text_of(client.get(reverse("account")))
    assert "Ana Reyes</strong>" in page
    assert "Account saved." in page
    assert '<option value="Asia/Tokyo" selected>' in page
    entry = AuditEntry.objects.get(action="staff.updated")
    assert entry.after == {"name": "Ana Reyes", "time_zone": "Asia/Tokyo"}


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "utc", "Etc/GMT+5"])
def test_unknown_zone__is_refused(db: None, zone: str) -> None:
    data = {"name": "", "time_zone": zone}
    response = signed_in(Role.VIEWER).post(reverse("account"), data)
    assert response.status_code == 422
    assert 'id="id_time_zone_error"' in text_of(response)


def test_zones__are_places_and_utc() -> None:
    assert time_zones()[0] == "UTC"
    assert {"Europe/Lisbon", "America/Argentina/Ushuaia"} <= set(time_zones())
    assert not {"EST", "posixrules", "Etc/GMT+5"} & set(time_zones())


NEW_PASSWORD = {
    "old_password": PASSWORD,
    "new_password1": "another long password",
    "new_password2": "another long password",
}


def test_own_password__is_changed_and_ends_other_sessions_only(ana: User) -> None:
    here, there = Client(), Client()
    here.force_login(ana)
    there.force_login(ana)
    response = here.post(reverse("account_password"), NEW_PASSWORD, headers=HTMX)
    assert response["HX-Redirect"] == reverse("account")
    assert here.get(reverse("account")).status_code == 200
    assert there.get(reverse("account")).status_code == 302
    assert attempt("ana", "another long password") == 302
    entry = AuditEntry.objects.get(action="staff.updated")
    assert (entry.actor_name, entry.after) == ("ana", {"password": "changed"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"old_password": "guess"},
        {"new_password2": "something else entirely"},
        {"new_password1": "short", "new_password2": "short"},
        {"new_password1": "password123", "new_password2": "password123"},
    ],
)
def test_password_change__is_refused(ana: User, wrong: dict[str, str]) -> None:
    client = Client()
    client.force_login(ana)
    assert client.post(reverse("account_password"), NEW_PASSWORD | wrong).status_code == 422
    assert attempt("ana", PASSWORD) == 302
