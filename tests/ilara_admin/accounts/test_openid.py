"""Sign-in through OpenID Connect, against a provider in a thread."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
import requests
from allauth.socialaccount.models import SocialAccount
from django.test import Client, RequestFactory
from pytest_django.fixtures import Settings

from ilara_admin.accounts import openid_provider
from ilara_admin.accounts.factors import app_add
from ilara_admin.accounts.openid import used_factor_of_provider
from ilara_admin.core.invites import invite_create
from ilara_admin.core.openid import OpenIdConfig, read_config
from ilara_admin.models import AuditEntry, Invite, Membership, Project, Role, User
from tests.factories import ACTOR, PASSWORD, make_staff
from tests.ilara_admin.accounts.test_second_factors import SECRET, code_of
from tests.openid_provider import CLIENT_ID, CLIENT_SECRET, Key, OpenIdServer, running_provider
from tests.pages import text_of

pytestmark = pytest.mark.slow

START, CALLBACK = "/sign-in/openid/", "/sign-in/openid/callback/"
MAYA_EMAIL = "maya@studio.example"
MAYA = {
    "sub": "248289761001",
    "name": "Maya Lin",
    "preferred_username": "maya",
    "email": MAYA_EMAIL,
    "email_verified": True,
}


@pytest.fixture(scope="module")
def server() -> Iterator[OpenIdServer]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def project(db: None) -> Project:
    return Project.objects.create(name="Game", slug="game")


@pytest.fixture
def provider(server: OpenIdServer, project: Project, settings: Settings) -> OpenIdServer:
    """It knows Maya, whose groups give roles in `project`."""
    settings.OPENID = config_of(server, project)
    settings.ROOT_URLCONF = "tests.ilara_admin.accounts.openid_urls"
    openid_provider.documents.clear()
    server.reset(**MAYA)
    return server


def config_of(server: OpenIdServer, project: Project) -> OpenIdConfig:
    slug = project.slug
    config = read_config(
        issuer=server.issuer,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        name="Studio login",
        roles_claim="groups",
        roles=f"bosses=owner,ops={slug}:live-ops,desk={slug}:support,x=no-project:viewer",
        checks_second_factor=False,
    )
    assert config
    return config


def leave(client: Client, **form: str) -> str:
    """Start a sign-in. Returns the address at the provider."""
    response = client.post(START, form)
    assert response.status_code == 200, text_of(response)
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', response.content.decode())
    assert found
    return unescape(found[1])


def returned(url: str) -> str:
    """The address that the provider sends the browser back to, from the root."""
    location = requests.get(url, allow_redirects=False, timeout=10).headers["Location"]
    return location.removeprefix("http://testserver")


def sign_in(client: Client | None = None, **form: str) -> Any:
    client = client or Client()
    return client.get(returned(leave(client, **form)))


def sign_in_by_password(client: Client, user: User) -> None:
    client.post("/sign-in/", {"username": user.username, "password": PASSWORD})


def user_of(client: Client) -> User | None:
    pk = client.session.get("_auth_user_id")
    return User.objects.get(pk=pk) if pk else None


def roles_of(user: User) -> dict[str, str]:
    memberships = Membership.objects.filter(user=user).select_related("project")
    return {each.project.slug: each.role for each in memberships}


def audited(user: User) -> list[tuple[str, str]]:
    entries = AuditEntry.objects.filter(object_type="staff", object_id=user.pk).order_by("id")
    return [(entry.actor_name, entry.action) for entry in entries]


# --- Accounts -------------------------------------------------------------------------------------


def test_claim_with_a_role__creates_an_account(provider: OpenIdServer, project: Project) -> None:
    provider.person["groups"] = ["ops"]
    client = Client()
    response = sign_in(client, next="/a/live/flags/")
    assert (response.status_code, response["Location"]) == (302, "/a/live/flags/")
    maya = user_of(client)
    assert maya
    assert (maya.username, maya.get_full_name(), maya.email) == (
        "maya",
        "Maya Lin",
        "maya@studio.example",
    )
    assert not maya.has_usable_password()
    assert not maya.is_owner
    assert roles_of(maya) == {project.slug: "live-ops"}
    assert audited(maya) == [
        ("OpenID Connect", "staff.created"),
        ("OpenID Connect", "staff.openid_connected"),
        ("OpenID Connect", "staff.membership_changed"),
    ]
    link = SocialAccount.objects.get()
    assert (link.provider, link.uid, link.extra_data) == (provider.issuer, MAYA["sub"], {})


def test_second_sign_in__is_the_same_account_without_new_entries(provider: OpenIdServer) -> None:
    provider.person["groups"] = ["ops"]
    first, second = Client(), Client()
    sign_in(first)
    provider.person |= {"email": "maya@elsewhere.example", "preferred_username": "mlin"}
    sign_in(second)
    maya = user_of(first)
    assert maya
    assert user_of(second) == maya
    assert len(audited(maya)) == 3


def test_taken_username__gets_another(provider: OpenIdServer) -> None:
    make_staff(Role.VIEWER, "maya")
    provider.person["groups"] = ["ops"]
    client = Client()
    sign_in(client)
    maya = user_of(client)
    assert maya
    assert maya.username != "maya"
    assert maya.username.startswith("maya")


def test_person_without_names__gets_an_account(provider: OpenIdServer) -> None:
    provider.reset(
        sub="x" * 191, groups="ops", name="ليلى\0", preferred_username="\ud800", email="no"
    )
    client = Client()
    assert sign_in(client).status_code == 302
    found = user_of(client)
    assert found
    assert (found.first_name, found.email) == ("ليلى\\u0000", "")


@pytest.mark.parametrize("groups", [None, [], ["x"], ["other"]])
def test_no_role__is_refused_without_an_account(provider: OpenIdServer, groups: Any) -> None:
    provider.person["groups"] = groups
    client = Client()
    response = sign_in(client)
    assert response.status_code == 403
    assert "Studio login knows you, but" in text_of(response)
    assert "ask an owner" in text_of(response)
    assert user_of(client) is None
    if groups != ["x"]:
        assert not User.objects.exists()


def test_changed_claim__changes_the_roles_at_the_next_sign_in(
    provider: OpenIdServer, project: Project
) -> None:
    provider.person["groups"] = ["ops"]
    client = Client()
    sign_in(client)
    maya = user_of(client)
    assert maya
    other = Project.objects.create(name="Other", slug="other")
    Membership.objects.create(user=maya, project=other, role=Role.VIEWER)  # by hand
    provider.person["groups"] = ["desk"]
    sign_in()
    assert roles_of(maya) == {project.slug: "support", other.slug: "viewer"}
    provider.person["groups"] = []
    assert sign_in().status_code == 302, "the role given by hand is enough"
    assert roles_of(maya) == {other.slug: "viewer"}
    assert audited(maya)[-1] == ("OpenID Connect", "staff.membership_changed")
    Membership.objects.all().delete()
    client = Client()
    assert "gives you no role here" in text_of(sign_in(client))
    assert user_of(client) is None


def test_owner__comes_and_goes_with_the_claim_but_the_last_one_stays(
    provider: OpenIdServer,
) -> None:
    provider.person["groups"] = ["bosses"]
    client = Client()
    sign_in(client)
    maya = user_of(client)
    assert maya
    assert maya.is_owner
    provider.person["groups"] = []
    assert sign_in().status_code == 302
    maya.refresh_from_db()
    assert maya.is_owner, "the last owner"
    User.objects.filter(pk=make_staff(Role.ADMIN).pk).update(is_owner=True)
    assert sign_in().status_code == 403
    maya.refresh_from_db()
    assert not maya.is_owner


def test_verified_address__links_the_only_account_with_it(
    provider: OpenIdServer, project: Project
) -> None:
    maya = make_staff(Role.ADMIN, "m.lin", project)
    User.objects.filter(pk=maya.pk).update(email="Maya@Studio.example")
    Membership.objects.update_or_create(user=maya, project=project, defaults={"role": Role.ADMIN})
    provider.person["groups"] = ["desk"]
    client = Client()
    sign_in(client)
    assert user_of(client) == maya
    maya.refresh_from_db()
    assert maya.has_usable_password(), "its password still works"
    assert roles_of(maya) == {project.slug: "support"}
    # The address passes to another person: the account is not theirs.
    provider.person["sub"] = "another"
    response = sign_in()
    assert response.status_code == 403
    assert "connected to another person" in text_of(response)


def test_invited_address__creates_an_account_with_the_role_of_the_invite(
    provider: OpenIdServer, project: Project
) -> None:
    other = Project.objects.create(name="Other", slug="other")
    boss = make_staff(Role.ADMIN, "boss", project, other)
    for each in (project, other):
        invite_create(
            project=each, role=Role.SUPPORT, created_by=boss, actor=ACTOR, email=MAYA_EMAIL
        )
    provider.person["email_verified"] = False
    assert sign_in().status_code == 403
    provider.person["email_verified"] = True
    client = Client()
    assert sign_in(client).status_code == 302
    maya = user_of(client)
    assert maya
    assert roles_of(maya) == {"other": "support"}, "the claims decide the roles in the first"
    assert Invite.objects.filter(accepted_by=maya).count() == 1
    Invite.objects.all().delete()
    assert sign_in().status_code == 302


@pytest.mark.parametrize("verified", [None, False, "false", 1, "yes"])
def test_unverified_address__links_no_account(provider: OpenIdServer, verified: Any) -> None:
    User.objects.filter(pk=make_staff(Role.ADMIN).pk).update(email=MAYA["email"])
    provider.person["email_verified"] = verified
    assert sign_in().status_code == 403
    assert not SocialAccount.objects.exists()


def test_verification_of_another_address__does_not_count(provider: OpenIdServer) -> None:
    User.objects.filter(pk=make_staff(Role.ADMIN).pk).update(email="boss@studio.example")
    provider.token_claims = {"email": "boss@studio.example", "email_verified": None}
    assert sign_in().status_code == 403
    provider.userinfo_claims = {"email": "boss@studio.example"}
    provider.token_claims = {"email": None, "email_verified": True}
    provider.userinfo_claims["email_verified"] = None
    assert sign_in().status_code == 403
    assert not SocialAccount.objects.exists()


def test_address_of_two_accounts__links_none(provider: OpenIdServer) -> None:
    for _ in range(2):
        User.objects.filter(pk=make_staff(Role.ADMIN).pk).update(email=MAYA["email"])
    assert sign_in().status_code == 403
    assert not SocialAccount.objects.exists()


def test_deactivated_account__stays_out(provider: OpenIdServer) -> None:
    provider.person["groups"] = ["ops"]
    client = Client()
    sign_in(client)
    User.objects.update(is_active=False)
    Membership.objects.all().delete()
    response = sign_in()
    assert response.status_code == 403
    assert "deactivated" in text_of(response)
    assert not Membership.objects.exists()
    SocialAccount.objects.all().delete()
    assert "deactivated" in text_of(sign_in()), "found by its address"
    assert not SocialAccount.objects.exists()


def test_other_issuer_with_the_same_subject__is_another_person(
    provider: OpenIdServer, settings: Settings
) -> None:
    provider.person["groups"] = ["ops"]
    first, second = Client(), Client()
    sign_in(first)
    link = SocialAccount.objects.get()
    link.provider = "https://former.example"
    link.save()
    provider.person |= {"email_verified": False, "email": "other@studio.example"}
    sign_in(second)
    assert user_of(first) != user_of(second)


def test_address_of_an_account_of_the_former_issuer__links_it_again(
    provider: OpenIdServer,
) -> None:
    provider.person["groups"] = ["ops"]
    first, second = Client(), Client()
    sign_in(first)
    SocialAccount.objects.update(provider="https://former.example")
    sign_in(second)
    assert user_of(first) == user_of(second)


# --- The protocol ---------------------------------------------------------------------------------


def test_start__has_state_nonce_pkce_and_the_scope_of_the_claim(provider: OpenIdServer) -> None:
    client = Client()
    first, second = leave(client), leave(client)
    requests.get(first, allow_redirects=False, timeout=10)
    sent = provider.sent
    assert set(sent["scope"].split()) == {"openid", "profile", "email", "groups"}
    assert sent["code_challenge_method"] == "S256"
    assert len(sent["nonce"]) >= 32
    assert sent["redirect_uri"] == f"http://testserver{CALLBACK}"
    requests.get(second, allow_redirects=False, timeout=10)
    for name in ("state", "nonce", "code_challenge"):
        assert provider.sent[name] != sent[name]
    assert provider.asked.count("/.well-known/openid-configuration") == 1, "cached"


def test_start_by_link__is_not_allowed(provider: OpenIdServer) -> None:
    assert Client().get(START).status_code == 405
    assert Client(enforce_csrf_checks=True).post(START).status_code == 403


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:1"])
def test_next__leads_to_no_other_site(provider: OpenIdServer, target: str) -> None:
    provider.person["groups"] = ["ops"]
    assert sign_in(next=target)["Location"] == "/"


def test_parameters_of_the_start__do_not_reach_the_provider(provider: OpenIdServer) -> None:
    client = Client()
    response = client.post(f"{START}?scope=admin&auth_params=prompt%3Dnone&process=connect")
    assert "admin" not in response.content.decode()
    assert "prompt" not in response.content.decode()


def test_return_in_another_browser__is_refused(provider: OpenIdServer) -> None:
    provider.person["groups"] = ["ops"]
    victim = Client()
    url = returned(leave(Client()))
    response = victim.get(url)
    assert response.status_code == 400
    assert "began in another browser" in text_of(response)
    assert user_of(victim) is None


def test_return_twice__is_refused(provider: OpenIdServer) -> None:
    provider.person["groups"] = ["ops"]
    client = Client()
    url = returned(leave(client))
    assert client.get(url).status_code == 302
    assert client.get(url).status_code == 400


type Fault = Callable[[OpenIdServer], None]


def _token(**claims: Any) -> Fault:
    return lambda provider: provider.token_claims.update(claims)


def _forged(provider: OpenIdServer) -> None:
    provider.signing = Key("first")


def _unknown_key(provider: OpenIdServer) -> None:
    provider.signing = Key("unknown")


def _unsigned(provider: OpenIdServer) -> None:
    provider.algorithm = "none"


def _by_secret(provider: OpenIdServer) -> None:
    """Signed by HMAC with what everybody knows."""
    provider.signing = Key("first", "HS256", b"x" * 32)


def _other_subject(provider: OpenIdServer) -> None:
    provider.userinfo_claims = {"sub": "another"}


def _other_issuer(provider: OpenIdServer) -> None:
    provider.document = {"issuer": "https://other.example"}


def _open_endpoint(provider: OpenIdServer) -> None:
    provider.document = {"token_endpoint": "http://login.example.com/token"}


OLD = int(time.time()) - 3600
FAULTS: dict[str, tuple[Fault, str]] = {
    "forged": (_forged, "InvalidSignatureError"),
    "unknown key": (_unknown_key, "a key that the provider does not publish"),
    "unsigned": (_unsigned, "InvalidAlgorithmError"),
    "signed by a secret": (_by_secret, "InvalidAlgorithmError"),
    "nonce": (_token(nonce="another"), "another nonce"),
    "no nonce": (_token(nonce=None), "another nonce"),
    "audience": (_token(aud="another"), "InvalidAudienceError"),
    "no audience": (_token(aud=None), "MissingRequiredClaimError"),
    "one of several audiences": (_token(aud=[CLIENT_ID, "another"]), "several audiences"),
    "party": (_token(azp="another"), "another client"),
    "issuer": (_token(iss="https://other.example"), "InvalidIssuerError"),
    "no issuer": (_token(iss=None), "MissingRequiredClaimError"),
    "expired": (_token(exp=OLD), "ExpiredSignatureError"),
    "no expiry": (_token(exp=None), "MissingRequiredClaimError"),
    "of the future": (_token(iat=OLD + 7200), "ImmatureSignatureError"),
    "no subject": (_token(sub=None), "MissingRequiredClaimError"),
    "empty subject": (_token(sub=""), "the subject is not 1 to 191"),
    "long subject": (_token(sub="x" * 192), "the subject is not 1 to 191"),
    "subject with NUL": (_token(sub="x\0"), "the subject is not 1 to 191"),
    "subject is no text": (_token(sub=7), "InvalidSubjectError"),
    "userinfo of another": (_other_subject, "another subject"),
    "issuer of the document": (_other_issuer, "another issuer than ILARA_OIDC_ISSUER"),
    "endpoint without TLS": (_open_endpoint, "the token_endpoint"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_wrong_answer__signs_nobody_in(
    name: str, provider: OpenIdServer, caplog: pytest.LogCaptureFixture
) -> None:
    fault, reason = FAULTS[name]
    provider.person["groups"] = ["bosses"]
    client = Client()
    url = returned(leave(client))
    fault(provider)
    openid_provider.documents.clear()
    response = client.get(url)
    assert response.status_code == 403
    assert "gave an answer that Ilara cannot accept" in text_of(response)
    assert reason in caplog.text
    assert not User.objects.exists()
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_new_key_of_the_provider__is_found(provider: OpenIdServer, algorithm: str) -> None:
    provider.person["groups"] = ["ops"]
    assert sign_in().status_code == 302
    key = Key(f"next {algorithm}", algorithm)
    provider.published.append(key)
    provider.signing = key
    assert sign_in().status_code == 302
    provider.published.remove(key)


def test_provider_without_userinfo__is_enough(provider: OpenIdServer) -> None:
    provider.person["groups"] = ["ops"]
    provider.document = {"userinfo_endpoint": None}
    assert sign_in().status_code == 302
    assert "/userinfo" not in provider.asked


def test_denied__says_so(provider: OpenIdServer) -> None:
    provider.error = "access_denied"
    response = sign_in()
    assert response.status_code == 403
    assert "You did not allow the sign-in at Studio login" in text_of(response)


def test_error_of_the_provider__is_logged(
    provider: OpenIdServer, caplog: pytest.LogCaptureFixture
) -> None:
    provider.error = "invalid_scope"
    assert sign_in().status_code == 403
    assert "invalid_scope" in caplog.text


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/userinfo"])
def test_provider_that_fails__is_named_and_passwords_still_work(
    provider: OpenIdServer, path: str
) -> None:
    provider.broken = path
    client = Client()
    response: Any = client.post(START)
    if response.status_code == 200:
        response = sign_in(client)
    assert response.status_code == 502
    assert "Studio login does not answer" in text_of(response)
    page = client.get("/sign-in/")
    assert "Continue with Studio login" in text_of(page)
    assert user_of(client) is None


def test_provider_that_is_away__is_named(
    provider: OpenIdServer, project: Project, settings: Settings
) -> None:
    with running_provider() as gone:
        settings.OPENID = config_of(gone, project)
    response = Client().post(START)
    assert response.status_code == 502
    assert "does not answer" in text_of(response)


def test_redirect_of_the_provider__is_not_followed(
    provider: OpenIdServer, settings: Settings
) -> None:
    settings.OPENID = replace(settings.OPENID, issuer=f"{provider.issuer}/moved")
    assert Client().post(START).status_code == 502


# --- One's own account ----------------------------------------------------------------------------


def test_own_account__is_connected_and_disconnected(provider: OpenIdServer) -> None:
    ana, client = make_staff(Role.ADMIN, "ana"), Client()
    sign_in_by_password(client, ana)
    assert "Not connected" in text_of(client.get("/account/openid/"))
    response = client.post("/account/openid/", {"act": "connect"})
    found = re.search(r'href="(http[^"]+)"', response.content.decode())
    assert found
    response = client.get(returned(unescape(found[1])))
    assert response["Location"] == "/account/openid/"
    assert SocialAccount.objects.get().user == ana
    assert audited(ana)[-1] == ("ana", "staff.openid_connected")
    assert "You can sign in with Studio login" in text_of(client.get("/account/openid/"))
    client.post("/account/openid/", {"act": "disconnect"})
    assert not SocialAccount.objects.exists()
    assert audited(ana)[-1] == ("ana", "staff.openid_disconnected")


def test_account_without_a_password__is_not_disconnected(provider: OpenIdServer) -> None:
    provider.person["groups"] = ["ops"]
    client = Client()
    sign_in(client)
    response = client.post("/account/openid/", {"act": "disconnect"}, follow=True)
    assert "Set a password first" in text_of(response)
    assert SocialAccount.objects.exists()


def test_person_of_another_account__is_not_connected(provider: OpenIdServer) -> None:
    provider.person["groups"] = ["ops"]
    sign_in()
    ana, client = make_staff(Role.ADMIN, "ana"), Client()
    sign_in_by_password(client, ana)
    response = client.post("/account/openid/", {"act": "connect"})
    found = re.search(r'href="(http[^"]+)"', response.content.decode())
    assert found
    page = client.get(returned(unescape(found[1])), follow=True)
    assert "connected to another one here" in text_of(page)
    assert SocialAccount.objects.get().user != ana


# --- Second factors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "amr", "asked"),
    [(True, ["mfa"], True), (True, ["pwd"], False), (False, ["mfa"], False)],
)
def test_second_factor_of_the_provider__counts_if_the_settings_say_so(
    provider: OpenIdServer, settings: Settings, trusted: bool, amr: list[str], asked: bool
) -> None:
    settings.OPENID = replace(settings.OPENID, checks_second_factor=trusted)
    provider.person |= {"groups": ["ops"], "amr": amr}
    client = Client()
    sign_in(client)
    user = user_of(client)
    assert user
    request = RequestFactory().get("/")
    request.session = client.session
    assert used_factor_of_provider(request, user) is asked
    assert not used_factor_of_provider(request, make_staff())


@pytest.mark.parametrize(("trusted", "amr"), [(True, ["mfa"]), (True, ["pwd"]), (False, ["mfa"])])
def test_own_second_factor__is_asked_for_unless_the_provider_asked(
    provider: OpenIdServer, settings: Settings, trusted: bool, amr: list[str]
) -> None:
    settings.OPENID = replace(settings.OPENID, checks_second_factor=trusted)
    provider.person |= {"groups": ["ops"], "amr": amr}
    client = Client()
    sign_in(client)
    maya = user_of(client)
    assert maya
    app_add(maya, secret=SECRET, code=code_of(), actor=ACTOR)
    client = Client()
    response = sign_in(client, next="/account/")
    if trusted and "mfa" in amr:
        assert response["Location"] == "/account/"
        assert user_of(client) == maya
    else:
        assert response["Location"] == "/sign-in/second-factor/"
        assert user_of(client) is None


def test_second_factor_of_the_provider__counts_for_its_own_account_only(
    provider: OpenIdServer, settings: Settings
) -> None:
    """In the session of somebody who used the provider's, another account needs its own."""
    settings.OPENID = replace(settings.OPENID, checks_second_factor=True)
    provider.person |= {"groups": ["ops"], "amr": ["mfa"]}
    ana, client = make_staff(Role.ADMIN, "ana"), Client()
    app_add(ana, secret=SECRET, code=code_of(), actor=ACTOR)
    sign_in(client)
    sign_in_by_password(client, ana)
    assert user_of(client) != ana


def test_role_that_needs_a_second_factor__is_content_with_that_of_the_provider(
    provider: OpenIdServer, settings: Settings
) -> None:
    settings.OPENID = replace(settings.OPENID, checks_second_factor=True)
    settings.ILARA_SECOND_FACTOR = "viewer"
    provider.person["groups"] = ["ops"]
    client = Client()
    sign_in(client)
    assert client.get("/account/")["Location"] == "/account/second-factor/"
    provider.person["amr"] = ["mfa"]
    sign_in(client)
    assert client.get("/account/").status_code == 200
