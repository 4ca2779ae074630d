"""Sign-in and the account page."""

import pytest
from django.test import Client
from django.urls import reverse

from ilara_admin.accounts.account import time_zones
from ilara_admin.models import AuditEntry, Environment, Role, SignInAttempt, User
from tests.factories import PASSWORD, make_staff
from tests.pages import HTMX, signed_in, text_of, url_of

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
