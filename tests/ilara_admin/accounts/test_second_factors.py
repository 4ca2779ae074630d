"""Second factors: signing in with codes, adding, removing, what a role needs."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core.cache import cache
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django.fixtures import Settings

from ilara_admin.accounts.factors import APP, CODES, app_add, factors_of, recovery_codes_make
from ilara_admin.accounts.passkeys import can_have_passkeys
from ilara_admin.core.audit import Actor
from ilara_admin.core.staff import staff_set_password, staff_update
from ilara_admin.models import AuditEntry, Environment, Role, User
from tests.factories import ACTOR, PASSWORD, make_staff
from tests.pages import HTMX, text_of, url_of
from tests.processes import django_output

pytestmark = pytest.mark.slow

SECRET = "JBSWY3DPEHPK3PXP"


def code_of(secret: str = SECRET, steps: int = 0) -> str:
    """The code of an app now, or in so many steps of 30 seconds."""
    code: str = format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps))
    return code


@pytest.fixture
def ana(db: None) -> User:
    """With an app; the code of the step before has been used."""
    user = make_staff(Role.VIEWER, "ana")
    app_add(user, secret=SECRET, code=code_of(steps=-1), actor=ACTOR)
    return user


def password_step(client: Client, **more: str) -> Any:
    data = {"username": "ana", "password": PASSWORD, **more}
    return client.post(reverse("sign_in"), data)


def code_step(client: Client, code: str) -> Any:
    return client.post(reverse("second_factor"), {"code": code})


def is_signed_in(client: Client) -> bool:
    return client.get(reverse("account")).status_code == 200


# --- Signing in -----------------------------------------------------------------------------------


def test_password__leads_to_the_second_factor(ana: User, client: Client) -> None:
    response = password_step(client, next="/account/")
    assert response["Location"] == reverse("second_factor")
    assert not is_signed_in(client)
    assert "authenticator app" in text_of(client.get(reverse("second_factor")))
    response = code_step(client, code_of())
    assert response["Location"] == "/account/"
    assert is_signed_in(client)


def test_wrong_code__does_not_sign_in(ana: User, client: Client) -> None:
    password_step(client)
    for code in ("", "000", "abcdef", "😀", "9" * 40):
        response = code_step(client, code)
        assert response.status_code == 422
        assert 'id="id_code_error"' in text_of(response)
    assert not is_signed_in(client)


def test_code__works_once(ana: User) -> None:
    code, first, second = code_of(), Client(), Client()
    password_step(first)
    password_step(second)
    assert code_step(first, code).status_code == 302
    assert code_step(second, code).status_code == 422
    assert code_step(second, code_of(steps=1)).status_code == 302


def test_second_step__needs_the_first(ana: User, client: Client) -> None:
    assert client.get(reverse("second_factor"))["Location"] == reverse("sign_in")
    assert code_step(client, code_of())["Location"] == reverse("sign_in")
    assert not is_signed_in(client)


@pytest.mark.parametrize(
    "change",
    [
        lambda user: staff_set_password(user, password="another long password", actor=ACTOR),
        lambda user: staff_update(user, is_active=False, actor=ACTOR),
    ],
)
def test_second_step__is_void_after_a_change(
    change: Callable[[User], object], ana: User, client: Client
) -> None:
    make_staff()
    password_step(client)
    change(ana)
    assert code_step(client, code_of())["Location"] == reverse("sign_in")
    assert not is_signed_in(client)


def test_recovery_code__signs_in_once_and_is_audited(ana: User) -> None:
    code = recovery_codes_make(ana, actor=ACTOR)[3]
    for status in (302, 422):
        client = Client()
        password_step(client)
        assert code_step(client, f"{code[:4]}-{code[4:]}").status_code == status
    assert factors_of(ana).codes_left == 9
    entry = AuditEntry.objects.get(action="staff.recovery_code_used")
    assert (entry.actor_name, entry.object_name) == ("ana", "ana")


def test_secrets__are_encrypted(ana: User, settings: Settings) -> None:
    stored = str(list(Authenticator.objects.values_list("data")))
    assert SECRET not in stored
    for each in Authenticator.objects.all():
        assert not set(each.data) - {"secret", "seed", "used_mask"}


def test_codes_of_another_secret_key__are_wrong(
    ana: User, client: Client, settings: Settings
) -> None:
    from ilara_admin.accounts import adapters

    settings.SECRET_KEY = "another" * 9
    adapters.cipher.cache_clear()
    try:
        password_step(client)
        assert code_step(client, code_of()).status_code == 422
    finally:
        adapters.cipher.cache_clear()


def test_used_codes__are_known_to_all_processes(ana: User) -> None:
    cache.set("used", "123456")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM cache_entry WHERE cache_key LIKE '%:used'")
        assert cursor.fetchone()[0] == 1


# --- Adding ---------------------------------------------------------------------------------------


@pytest.fixture
def ben(db: None) -> User:
    return make_staff(Role.OWNER, "ben")


def signed_in_by_password(user: User) -> Client:
    client = Client()
    client.post(reverse("sign_in"), {"username": user.username, "password": PASSWORD})
    return client


def add_app(client: Client) -> Any:
    page = text_of(client.get(reverse("account_app_add")))
    assert "<svg" in page
    secret = client.session["mfa.totp.secret"]
    return client.post(reverse("account_app_add"), {"code": code_of(secret)})


def test_app__is_added_with_recovery_codes(ben: User, environment: Environment) -> None:
    client = signed_in_by_password(ben)
    response = add_app(client)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    page = text_of(response)
    factors = factors_of(ben)
    assert factors.app
    assert factors.codes
    for code in factors.codes.wrap().get_unused_codes():
        assert f"{code[:4]}-{code[4:]}" in page
    added = AuditEntry.objects.get(action="staff.factor_added")
    assert added.after == {"second factor": "authenticator app"}
    assert AuditEntry.objects.filter(action="staff.recovery_codes_made").exists()
    assert "10 left" in text_of(client.get(reverse("account_security")))


def test_wrong_code__adds_no_app(ben: User) -> None:
    client = signed_in_by_password(ben)
    client.get(reverse("account_app_add"))
    response = client.post(reverse("account_app_add"), {"code": "12"})
    assert response.status_code == 422
    assert "This code is wrong" in text_of(response)
    assert not factors_of(ben).count


def test_old_sign_in__must_confirm_who_it_is(ben: User) -> None:
    client = Client()
    client.force_login(ben)
    url = reverse("account_app_add")
    response = client.get(url)
    assert (
        response["Location"] == f"{reverse('account_identity')}?next=%2Faccount%2Fsecurity%2Fapp%2F"
    )
    identity = response["Location"]
    assert client.post(identity, {"password": "guess"}).status_code == 422
    assert client.get(url).status_code == 302
    assert client.post(identity, {"password": PASSWORD})["Location"] == url
    assert client.get(url).status_code == 200


def test_identity__does_not_lead_elsewhere(ben: User) -> None:
    client = Client()
    client.force_login(ben)
    for url in ("https://evil.example/", "//evil.example", "javascript:alert(1)"):
        response = client.post(
            f"{reverse('account_identity')}?next={url}", {"password": PASSWORD}
        )  # fmt: skip
        assert response["Location"] == reverse("account_security")


# --- Removing -------------------------------------------------------------------------------------


def test_last_factor__takes_the_codes_and_other_sessions_with_it(ben: User) -> None:
    here, there = signed_in_by_password(ben), signed_in_by_password(ben)
    add_app(here)
    app = factors_of(ben).app
    assert app
    url = reverse("account_factor_remove", args=[app.pk])
    assert "your only second factor" in text_of(here.get(url))
    assert here.post(url, headers=HTMX)["HX-Redirect"] == reverse("account_security")
    assert not Authenticator.objects.filter(user=ben).exists()
    assert here.get(reverse("account")).status_code == 200
    assert there.get(reverse("account")).status_code == 302
    entry = AuditEntry.objects.get(action="staff.factor_removed")
    assert entry.before == {"second factor": "authenticator app"}


def test_factor_of_another_account__cannot_be_removed(ana: User, ben: User) -> None:
    app = factors_of(ana).app
    assert app
    client = signed_in_by_password(ben)
    assert client.post(reverse("account_factor_remove", args=[app.pk])).status_code == 404
    assert Authenticator.objects.filter(user=ana, type=APP).exists()


def test_new_recovery_codes__replace_the_old_ones(ana: User, client: Client) -> None:
    password_step(client)
    code_step(client, code_of())
    old = factors_of(ana).codes
    assert old
    page = text_of(client.post(reverse("account_recovery_codes")))
    (new,) = Authenticator.objects.filter(user=ana, type=CODES)
    code = old.wrap().get_unused_codes()[0]
    assert f"{code[:4]}-{code[4:]}" not in page
    code = new.wrap().get_unused_codes()[0]
    assert f"{code[:4]}-{code[4:]}" in page


# --- What a role needs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "role", "needed"),
    [
        ("", Role.ADMIN, False),
        ("admin", Role.ADMIN, True),
        ("admin", Role.LIVE_OPS, False),
        ("viewer", Role.VIEWER, True),
    ],
)
def test_role__needs_a_second_factor(
    setting: str, role: Role, needed: bool, settings: Settings, environment: Environment
) -> None:
    settings.ILARA_SECOND_FACTOR = setting
    client = signed_in_by_password(make_staff(role))
    response = client.get(url_of(environment, "overview"))
    assert response.status_code == (302 if needed else 200)
    if needed:
        assert response["Location"] == reverse("second_factor_needed")
        assert client.get("/")["Location"] == reverse("second_factor_needed")
        assert client.get(url_of(environment, "palette"), headers=HTMX)["HX-Redirect"]
        assert "Your role needs a second factor" in text_of(client.get(response["Location"]))


def test_adding_one__opens_the_pages(
    ben: User, settings: Settings, environment: Environment
) -> None:
    settings.ILARA_SECOND_FACTOR = "admin"
    client = signed_in_by_password(ben)
    page = url_of(environment, "overview")
    assert client.get(page).status_code == 302
    assert f'href="{reverse("home")}">I have saved them' in text_of(add_app(client))
    assert client.get(page).status_code == 200


def test_session_before_the_factor__must_show_it(
    ben: User, settings: Settings, environment: Environment
) -> None:
    settings.ILARA_SECOND_FACTOR = "admin"
    client = signed_in_by_password(ben)
    app_add(ben, secret=SECRET, code=code_of(steps=-1), actor=Actor.of_user(ben))
    needed = reverse("second_factor_needed")
    for name in ("account_security", "account_app_add", "account_passkey_add"):
        assert client.get(reverse(name))["Location"] == needed
    identity = client.get(needed)["Location"]
    page = text_of(client.get(identity))
    assert 'name="password"' not in page
    assert client.post(identity, {"password": PASSWORD}).status_code == 422
    assert client.post(identity, {"code": code_of()})["Location"] == "/"
    assert client.get(url_of(environment, "overview")).status_code == 200


def test_needed_factor__cannot_be_removed_if_it_is_the_last(ben: User, settings: Settings) -> None:
    settings.ILARA_SECOND_FACTOR = "admin"
    client = signed_in_by_password(ben)
    add_app(client)
    app = factors_of(ben).app
    assert app
    response = client.post(reverse("account_factor_remove", args=[app.pk]))
    assert response.status_code == 422
    assert "Your role needs a second factor" in text_of(response)
    assert factors_of(ben).app


# --- A lost phone ---------------------------------------------------------------------------------


def test_reset__removes_all_factors_and_ends_sessions(
    ana: User, ben: User, environment: Environment
) -> None:
    theirs, mine = Client(), signed_in_by_password(ben)
    password_step(theirs)
    code_step(theirs, code_of())
    assert is_signed_in(theirs)
    page = text_of(mine.get(url_of(environment, "staff_member", ana.pk)))
    assert "<dd>Authenticator app</dd>" in page
    url = url_of(environment, "staff_factors_reset", ana.pk)
    assert "Reset second factors of ana" in text_of(mine.get(url))
    assert mine.post(url, {"reason": " "}).status_code == 422
    mine.post(url, {"reason": "Lost the phone"})
    assert not Authenticator.objects.filter(user=ana).exists()
    assert not is_signed_in(theirs)
    entry = AuditEntry.objects.get(action="staff.factor_removed")
    assert (entry.before, entry.reason) == (
        {"second factors": "authenticator app"},
        "Lost the phone",
    )
    assert is_signed_in(signed_in_by_password(ana))
    page = text_of(mine.get(url_of(environment, "audit_list")))
    assert "removed a second factor of the staff account" in page


def test_reset__of_an_account_without_factors_changes_nothing(
    ben: User, environment: Environment
) -> None:
    client = signed_in_by_password(ben)
    url = url_of(environment, "staff_factors_reset", ben.pk)
    assert client.post(url).status_code == 302
    assert not AuditEntry.objects.filter(action="staff.factor_removed").exists()


# --- Passkeys: tests/browser/test_accounts.py has their use ---------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        "", "{", "1", '"x"', "[]", "{}", "null", '{"response": 1}', '{"id": "a", "rawId": "b"}',
        '{"response": {"userHandle": "zzzzzzzzzzzzzz"}}',
        '{"id": "YQ", "rawId": "YQ", "type": "public-key", "response": {"clientDataJSON": "YQ", '
        '"authenticatorData": "YQ", "signature": "YQ", "userHandle": "MQ", '
        '"attestationObject": "YQ"}}',
    ],
)  # fmt: skip
def test_made_up_answer__is_refused(answer: str, ana: User, ben: User) -> None:
    client = Client(SERVER_NAME="localhost")
    url = reverse("passkey_sign_in")
    assert client.post(url).json()["challenge"]
    if answer:
        response = client.post(url, {"credential": answer})
        assert response["Location"] == reverse("sign_in")
    password_step(client)
    assert client.post(reverse("second_factor"), {"credential": answer}).status_code == 422
    assert not is_signed_in(client)
    adding = Client(SERVER_NAME="localhost")
    adding.force_login(ben)
    identity, url = reverse("account_identity"), reverse("account_passkey_add")
    assert adding.post(identity, {"credential": answer}).status_code == 422
    assert adding.get(url).status_code == 302
    adding.post(identity, {"password": PASSWORD})
    assert "data-question" in text_of(adding.get(url))
    assert adding.post(url, {"name": "x", "credential": answer}).status_code == 422


@pytest.mark.parametrize(
    ("host", "secure", "possible"),
    [
        ("localhost:8000", False, True),
        ("ilara.example", True, True),
        ("ilara.example", False, False),
        ("127.0.0.1:8000", False, False),
        ("[::1]:8000", True, False),
    ],
)
def test_passkeys__need_a_name_and_a_secure_connection(
    host: str, secure: bool, possible: bool, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    request = RequestFactory(SERVER_NAME=host).get("/", secure=secure, headers={"host": host})
    assert can_have_passkeys(request) is possible


@pytest.mark.slow
def test_web_process__loads_the_parts_for_factors_when_needed() -> None:
    """They take ten megabytes."""
    code = (
        "import sys, django; django.setup(); import ilara_admin.urls; "
        "print([name for name in ('fido2', 'cryptography', 'qrcode') if name in sys.modules])"
    )
    assert django_output(code).strip() == "[]"
