"""A forgotten password: the request by e-mail, the link of an owner, and the page of the link."""

import re

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from ilara_admin.accounts.mails import send_resets
from ilara_admin.accounts.reset_links import reset_path, user_of
from ilara_admin.accounts.throttle import LIMITS, Kind
from ilara_admin.core.staff import staff_set_password
from ilara_admin.models import AuditEntry, Environment, Role, User
from tests.factories import ACTOR, PASSWORD, make_staff
from tests.mails import IN_MEMORY, queued
from tests.pages import HTMX, message_of, signed_in, text_of, url_of

pytestmark = pytest.mark.slow

NEW = "a quite different phrase"
TWICE = {"new_password1": NEW, "new_password2": NEW}


@pytest.fixture
def mails(settings: Settings) -> None:
    settings.MAILERS = IN_MEMORY


@pytest.fixture
def ana(db: None) -> User:
    user = make_staff(Role.VIEWER, "ana")
    user.email = "Ana@example.com"
    user.save()
    return user


def sign_in(username: str, password: str) -> int:
    data = {"username": username, "password": password}
    return Client().post(reverse("sign_in"), data).status_code


# --- By e-mail ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("mails")
def test_link__arrives_and_sets_a_new_password_once(ana: User) -> None:
    working = Client()
    working.force_login(ana)
    Client().post(reverse("reset_request"), {"username": "ana"})
    (args,) = queued("send_resets")
    assert args["user_ids"] == [ana.pk]
    send_resets(**args)
    (message,) = mail.outbox
    assert message.to == ["Ana@example.com"]
    found = re.search(r"http://testserver(/sign-in/reset/\S+)", str(message.body))
    assert found
    link = found[1]

    browser = Client()
    page = browser.get(link)
    assert page["Referrer-Policy"] == "same-origin"
    assert "no-store" in page["Cache-Control"]
    assert "<strong>ana</strong>" in text_of(page)
    response = browser.post(link, TWICE)
    assert response["Location"] == reverse("sign_in")
    assert sign_in("ana", PASSWORD) == 422
    assert sign_in("ana", NEW) == 302
    assert working.get(reverse("account")).status_code == 302  # signed out
    assert browser.get(link).status_code == 404
    entry = AuditEntry.objects.get(action="staff.updated")
    assert (entry.actor_user, entry.after) == (ana, {"password": "changed"})
    assert entry.reason == "By a one-time link"


@pytest.mark.usefixtures("mails")
def test_answer__does_not_show_whether_there_is_an_account(ana: User) -> None:
    make_staff(Role.VIEWER, "without-address")
    gone = make_staff(Role.VIEWER, "gone")
    User.objects.filter(pk=gone.pk).update(is_active=False, email="gone@example.com")
    sso = make_staff(Role.VIEWER, "sso")
    sso.set_unusable_password()
    sso.email = "sso@example.com"
    sso.save()
    answers = set()
    for index, typed in enumerate(
        ["ana", "ANA@EXAMPLE.COM", "unknown", "x@y.example", "without-address", "gone", "sso"]
    ):
        client = Client(REMOTE_ADDR=f"192.0.2.{index}")
        response = client.post(reverse("reset_request"), {"username": typed})
        answers.add((response.status_code, response["Location"], message_of(response)))
    assert len(answers) == 1
    for args in queued("send_resets"):
        send_resets(**args)
    assert [message.to for message in mail.outbox] == [["Ana@example.com"]]


@pytest.mark.usefixtures("mails")
def test_each_request__queues_one_job(ana: User) -> None:
    """Otherwise the time of the answer would show whether there is an account."""
    Client().post(reverse("reset_request"), {"username": "unknown"})
    assert [args["user_ids"] for args in queued("send_resets")] == [[]]


@pytest.mark.usefixtures("mails")
def test_requests__are_limited_also_for_unknown_names(db: None) -> None:
    most = LIMITS[Kind.RESET_REQUEST][-1].most
    for index in range(most + 1):
        client = Client(REMOTE_ADDR=f"192.0.2.{index}")
        response = client.post(reverse("reset_request"), {"username": "unknown"})
    assert response.status_code == 429
    assert "Too many requests. Try again in 60 minutes." in text_of(response)


def test_without_mail__the_page_names_the_other_way(db: None) -> None:
    page = text_of(Client().get(reverse("sign_in")))
    assert "Ask an owner" in page
    assert reverse("reset_request") not in page
    for response in (
        Client().get(reverse("reset_request")),
        Client().post(reverse("reset_request"), {"username": "ana"}),
    ):
        assert response.status_code == 404


@pytest.mark.usefixtures("mails")
def test_with_mail__the_sign_in_page_links_to_it(db: None) -> None:
    assert reverse("reset_request") in text_of(Client().get(reverse("sign_in")))
    assert Client().get(reverse("reset_request")).status_code == 200


# --- By an owner ----------------------------------------------------------------------------------


def test_link_of_an_owner__is_shown_once_and_audited(environment: Environment, ana: User) -> None:
    owner = signed_in(Role.OWNER)
    url = url_of(environment, "staff_reset_link", ana.pk)
    assert "second factors stay" in text_of(owner.get(url))
    response = owner.post(url, {"reason": "Lost phone"}, headers=HTMX)
    assert "no-store" in response["Cache-Control"]
    found = re.search(r"http://testserver(/sign-in/reset/[^<\"\s]+)", text_of(response))
    assert found
    assert sign_in("ana", PASSWORD) == 302  # unchanged until the link is used
    ana.refresh_from_db()
    entry = AuditEntry.objects.get(action="staff.reset_link_created")
    assert (entry.object_name, entry.reason, entry.after) == ("ana", "Lost phone", None)


def test_own_reset__is_a_change_of_the_password(environment: Environment, ana: User) -> None:
    me = make_staff(Role.OWNER)
    client = Client()
    client.force_login(me)
    response = client.get(url_of(environment, "staff_reset_link", me.pk))
    assert response["Location"] == reverse("account_password")


def test_deactivated_account__gets_no_link(environment: Environment, ana: User) -> None:
    User.objects.filter(pk=ana.pk).update(is_active=False)
    response = signed_in(Role.OWNER).post(url_of(environment, "staff_reset_link", ana.pk))
    assert response.status_code == 302
    assert "Reactivate the account first" in message_of(response)


# --- The link -------------------------------------------------------------------------------------


def test_weak_password__is_refused_and_the_link_still_works(ana: User) -> None:
    link = reset_path(ana)
    for weak in ("short", "1234567890", "ana@example.com", "Password2026!"):
        response = Client().post(link, {"new_password1": weak, "new_password2": weak})
        assert response.status_code == 422
    assert Client().post(link, TWICE | {"new_password2": "another phrase"}).status_code == 422
    assert Client().post(link, TWICE).status_code == 302


@pytest.mark.parametrize("why", ["used", "changed", "signed in", "deactivated", "other e-mail"])
def test_link__ends_with_what_it_is_for(ana: User, why: str) -> None:
    token = reset_path(ana).split("/")[-2]
    assert user_of(token) == ana
    if why == "used":
        Client().post(reset_path(ana), TWICE)
    elif why == "changed":
        staff_set_password(ana, password=NEW, actor=ACTOR)
    elif why == "signed in":
        sign_in("ana", PASSWORD)
    elif why == "deactivated":
        User.objects.filter(pk=ana.pk).update(is_active=False)
    else:
        User.objects.filter(pk=ana.pk).update(email="other@example.com")
    assert user_of(token) is None
    response = Client().post(reverse("reset", args=[token]), TWICE)
    assert response.status_code == 404
    assert "This link does not work" in text_of(response)


def test_link__expires(ana: User, settings: Settings) -> None:
    token = reset_path(ana).split("/")[-2]
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert user_of(token) is None


@pytest.mark.parametrize(
    "token", ["x", "-", "1-", "é-1", "zzzzzzzzzzzzz-abc", "0-a-b", "1-abc-" + "0" * 32, "9" * 500]
)
def test_made_up_link__is_refused(ana: User, token: str) -> None:
    assert user_of(token) is None


def test_link_of_one_account__does_not_work_for_another(ana: User) -> None:
    tom = make_staff(Role.VIEWER, "tom")
    number, _, rest = reset_path(ana).split("/")[-2].partition("-")
    assert user_of(f"{number}-{rest}") == ana
    theirs = reset_path(tom).split("/")[-2].partition("-")[0]
    assert user_of(f"{theirs}-{rest}") is None
