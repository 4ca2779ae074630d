"""Attacks on the dashboard: forged posts, session fixation, frames, redirects, ids of other
environments, privilege escalation, leaked secrets."""

import re
from collections.abc import Mapping

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from ilara_admin.core.projects import project_create
from ilara_admin.models import ApiKey, AuditEntry, Environment, Membership, Role, User
from ilara_admin.web.routes import SCOPE
from tests.factories import ACTOR, PASSWORD, World, make_environment, make_key, make_staff
from tests.pages import PAGES, address, ask, signed_in, text_of, url_of
from tests.processes import django_output

POSTED = [name for name, page in PAGES.items() if "POST" in getattr(page.view, "methods", ())]
SHOWN = [name for name, page in PAGES.items() if "GET" in getattr(page.view, "methods", ())]


# --- Forged requests ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", POSTED)
def test_post_without_a_csrf_token__is_refused_and_changes_nothing(name: str, world: World) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.members[Role.OWNER])
    before = AuditEntry.objects.count()
    url, _ = address(PAGES[name], world)
    response = client.post(url, {"typed": world.key.name})
    assert response.status_code == 403
    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize("name", ["sign_in", "sign_out", "theme"])
def test_post_to_an_open_page_without_a_csrf_token__is_refused(name: str, db: None) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.post(reverse(name), {"theme": "dark"}).status_code == 403


def test_no_view__is_csrf_exempt() -> None:
    assert not [page.name for page in PAGES.values() if getattr(page.view, "csrf_exempt", False)]


# --- Sessions and cookies -------------------------------------------------------------------------


def sign_in(client: Client, user: User) -> None:
    client.post(reverse("sign_in"), {"username": user.username, "password": PASSWORD})


def test_signing_in__gives_the_session_a_new_key(client: Client, db: None) -> None:
    """Prevents session fixation."""
    session = client.session
    session["planted"] = True
    session.save()
    planted = session.session_key
    assert planted
    client.cookies[settings.SESSION_COOKIE_NAME] = planted
    sign_in(client, make_staff())
    assert client.session.session_key != planted
    assert not Session.objects.filter(session_key=planted).exists()


def test_signing_in__gives_a_new_csrf_token(db: None) -> None:
    client = Client()
    client.get(reverse("sign_in"))
    before = client.cookies[settings.CSRF_COOKIE_NAME].value
    sign_in(client, make_staff())
    assert client.cookies[settings.CSRF_COOKIE_NAME].value != before


def test_signing_out__ends_the_session_on_the_server(db: None) -> None:
    client = signed_in()
    key = client.session.session_key
    client.post(reverse("sign_out"))
    assert not Session.objects.filter(session_key=key).exists()


def test_cookies__are_httponly_and_samesite(client: Client, db: None) -> None:
    client.get(reverse("sign_in"))
    sign_in(client, make_staff())
    client.post(reverse("theme"), {"theme": "dark"})
    assert set(client.cookies) == {
            "ilara_session", "ilara_csrf", "ilara_theme", "ilara_known",
        }  # fmt: skip
    for cookie in client.cookies.values():
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"


@pytest.mark.slow
@pytest.mark.parametrize(("https", "secure"), [("1", True), ("0", False)])
def test_https__makes_cookies_secure_and_redirects(https: str, secure: bool) -> None:
    code = (
        "from django.conf import settings as s; print([s.SESSION_COOKIE_SECURE, "
        "s.CSRF_COOKIE_SECURE, s.SECURE_SSL_REDIRECT, s.SECURE_HSTS_SECONDS > 0])"
    )
    assert django_output(code, ILARA_HTTPS=https).strip() == str([secure] * 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "header"),
    [
        ("", "max-age=31536000"),
        ("includeSubDomains,preload", "max-age=31536000; includeSubDomains; preload"),
    ],
)
def test_hsts__is_for_this_host_unless_set(given: str, header: str) -> None:
    code = (
        "from django.http import HttpResponse; "
        "from django.middleware.security import SecurityMiddleware; "
        "from django.test import RequestFactory; "
        "request = RequestFactory().get('/', secure=True); "
        "response = SecurityMiddleware(lambda request: HttpResponse())(request); "
        "print(response['Strict-Transport-Security'])"
    )
    assert django_output(code, ILARA_HTTPS="1", ILARA_HSTS=given).strip() == header


# --- URLs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["flags/%00/", "segments/%00/", "events/1/?at=2026-01-01", "segments/?q=%00"]
)
def test_impossible_url__does_not_crash(path: str, world: World) -> None:
    client = Client()
    client.force_login(world.members[Role.ADMIN])
    response = client.get(url_of(world.environment, "overview") + path)
    assert response.status_code == (200 if "q=" in path else 404)


# --- Headers --------------------------------------------------------------------------------------


def assert_guarded(headers: Mapping[str, str]) -> None:
    get = headers.__getitem__
    assert get("X-Frame-Options") == "DENY"
    assert get("X-Content-Type-Options") == "nosniff"
    assert get("Referrer-Policy") == "same-origin"
    policy = get("Content-Security-Policy")
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_page__forbids_frames_and_inline_scripts(name: str, world: World) -> None:
    client = Client()
    client.force_login(world.members[Role.OWNER])
    url, _ = address(PAGES[name], world)
    response = ask(client, "GET", url)
    assert_guarded(response.headers)
    page = text_of(response) if not response.streaming else ""
    assert not re.search(r'<script(?![^>]* nonce=")', page)
    assert not re.search(r'\sstyle="|\son[a-z]+="', page)


@pytest.mark.parametrize("path", ["/sign-in/", "/nowhere/", "/v1x/", "/static/x.css"])
def test_open_and_missing_pages__forbid_frames_and_inline_scripts(
    path: str, client: Client, db: None
) -> None:
    assert_guarded(client.get(path).headers)


def test_refusals__forbid_frames_and_inline_scripts(db: None) -> None:
    environment = make_environment()
    refused = signed_in(Role.VIEWER).get(url_of(environment, "staff_list"))
    assert refused.status_code == 403
    assert_guarded(refused.headers)


# --- Redirects ------------------------------------------------------------------------------------

FOREIGN = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "javascript:alert(1)",
    "http:///evil.example",
    " https://evil.example",
]


@pytest.mark.parametrize("target", FOREIGN)
def test_next_of_the_sign_in__redirects_to_no_other_site(target: str, db: None) -> None:
    client = Client()
    data = {"username": make_staff().username, "password": PASSWORD, "next": target}
    response = client.post(f"{reverse('sign_in')}?next={target}", data)
    assert response.status_code == 302
    assert response["Location"] == "/"


def test_next_of_the_sign_in__redirects_to_a_page_of_the_site(db: None) -> None:
    data = {"username": make_staff().username, "password": PASSWORD, "next": "/a/live/flags/?q=1"}
    assert Client().post(reverse("sign_in"), data)["Location"] == "/a/live/flags/?q=1"


@pytest.mark.parametrize("target", FOREIGN)
def test_next_of_the_theme__redirects_to_no_other_site(target: str, client: Client) -> None:
    response = client.post(reverse("theme"), {"theme": "dark", "next": target})
    assert response["Location"] == "/"


# --- Ids and roles --------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(db: None) -> Environment:
    return make_environment()


@pytest.mark.parametrize("name", ["key_edit", "key_rotate", "key_revoke"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_key_of_another_environment__is_404(
    name: str, method: str, world: World, elsewhere: Environment
) -> None:
    client = signed_in()
    data = {"typed": world.key.name, "grace": "0"}
    response = getattr(client, method)(url_of(elsewhere, name, world.key.pk), data)
    assert response.status_code == 404
    key = ApiKey.objects.get(pk=world.key.pk)
    assert (key.revoked_at, key.expires_at) == (None, None)


# Staff and API operations do not belong to an environment; all other objects in URLs do. These
# parameters name no object of an environment.
PLACES = {"project", "environment", "other", "action", "page", "token"}
NAMED = [
    name
    for name, page in PAGES.items()
    if set(page.parameters) - PLACES
    and page.route.startswith(SCOPE)
    and page.section not in ("staff", "developers")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_object_of_another_environment__is_404(name: str, world: World) -> None:
    here = project_create(name="Empty", slug="empty", actor=ACTOR).environments.get(slug="live")
    url, _ = address(PAGES[name], world)
    theirs = world.environment.project.slug
    moved = url.replace(f"/{theirs}/", f"/{here.project.slug}/", 1)
    for method in PAGES[name].view.methods:
        assert ask(signed_in(Role.OWNER), method, moved).status_code == 404


def test_environment_of_another_project__is_404(world: World, elsewhere: Environment) -> None:
    extra = make_environment(slug="test")
    mixed = reverse("key_list", args=[extra.project.slug, "nowhere"])
    assert signed_in().get(mixed).status_code == 404


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUPPORT, Role.LIVE_OPS])
def test_lower_role__cannot_become_admin(role: Role, world: World) -> None:
    member = world.members[role]
    client = Client()
    client.force_login(member)
    data = {"name": "x", "email": "", "role": "admin", "time_zone": "UTC"}
    data |= {"is_superuser": "on", "is_owner": "on"}
    environment = world.environment
    for name in ("staff_member", "staff_edit"):
        assert client.post(url_of(environment, name, member.pk), data).status_code == 403
    assert client.post(url_of(environment, "staff_add"), data).status_code == 403
    new = data | {"username": "second", "password": PASSWORD}
    assert client.post(url_of(environment, "staff_new"), new).status_code == 403
    # The form of the own account ignores role and permissions.
    assert client.post(reverse("account"), data).status_code == 302
    member.refresh_from_db()
    assert member.role_in(environment.project) is role
    assert (member.is_superuser, member.is_staff) == (False, False)
    assert not User.objects.filter(username="second").exists()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUPPORT, Role.LIVE_OPS])
def test_lower_role__cannot_create_revoke_or_rotate_keys(role: Role, world: World) -> None:
    client = Client()
    client.force_login(world.members[role])
    before = ApiKey.objects.count()
    for name, args in (
        ("key_create", []),
        ("key_rotate", [world.key.pk]),
        ("key_revoke", [world.key.pk]),
    ):
        data = {"name": "x", "kind": "secret", "grace": "0", "typed": world.key.name}
        assert client.post(url_of(world.environment, name, *args), data).status_code == 403
    assert ApiKey.objects.count() == before
    assert ApiKey.objects.get(pk=world.key.pk).revoked_at is None


def test_removed_role__is_in_force_on_the_next_request(world: World) -> None:
    client = Client()
    client.force_login(world.members[Role.ADMIN])
    url = url_of(world.environment, "staff_list")
    assert client.get(url).status_code == 200
    Membership.objects.filter(user=world.members[Role.ADMIN]).update(role=Role.VIEWER)
    assert client.get(url).status_code == 403
    Membership.objects.filter(user=world.members[Role.ADMIN]).delete()
    assert client.get(url).status_code == 404


def test_admin__cannot_become_an_owner_or_touch_accounts(world: World) -> None:
    member = world.members[Role.ADMIN]
    client = Client()
    client.force_login(member)
    owner = world.members[Role.OWNER]
    for name in ("staff_edit", "staff_reset_link", "staff_deactivate"):
        for pk in (member.pk, owner.pk):
            url = url_of(world.environment, name, pk)
            assert client.post(url, {"is_owner": "on", "password": PASSWORD}).status_code == 403
    url = url_of(world.environment, "staff_member", member.pk)
    assert client.post(url, {"role": "owner"}).status_code == 422
    assert not User.objects.get(pk=member.pk).is_owner


# --- Secrets --------------------------------------------------------------------------------------

TOKEN = re.compile(r"[ps]k_live_[0-9A-Za-z]{36}")


def everything_stored() -> str:
    """All stored audit entries, keys and sessions, as text."""
    entries = [str(row) for row in AuditEntry.objects.values_list()]
    keys = [str(row) for row in ApiKey.objects.values_list()]
    sessions = [str(session.get_decoded()) for session in Session.objects.all()]
    return "\n".join(entries + keys + sessions)


@pytest.mark.parametrize("kind", ["public", "secret"])
def test_token__is_shown_once_and_not_stored(
    kind: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    client = signed_in()
    environment = world.environment
    issued = client.post(
        url_of(environment, "key_create"), {"name": "New", "kind": kind, "scopes": ["track"]}
    )
    tokens = set(TOKEN.findall(text_of(issued)))
    assert len(tokens) == 1
    token = tokens.pop()
    assert "no-store" in issued["Cache-Control"]

    for name in [name for name in SHOWN if PAGES[name].section in {"keys", "audit", "developers"}]:
        url, _ = address(PAGES[name], world)
        assert not TOKEN.search(text_of(client.get(url)))
    assert token not in everything_stored()
    assert token not in caplog.text


def test_token_of_a_rotation__is_not_stored(world: World) -> None:
    old = make_key(world.environment)
    url = url_of(world.environment, "key_rotate", old.key.pk)
    tokens = set(TOKEN.findall(text_of(signed_in().post(url, {"grace": "24"}))))
    assert len(tokens) == 1
    assert old.token not in tokens
    assert not TOKEN.search(everything_stored())


def test_generated_password__is_not_stored(world: World) -> None:
    client = signed_in()
    data = {"username": "ana", "role": "viewer", "password": ""}
    shown = text_of(client.post(url_of(world.environment, "staff_new"), data))
    found = re.search(r'aria-label="Copy the password"', shown)
    assert found
    password = re.findall(r'data-copy="([^"]+)"', shown)[-1]
    assert User.objects.get(username="ana").check_password(password)
    assert password not in everything_stored()
    assert password not in text_of(client.get(url_of(world.environment, "staff_list")))
