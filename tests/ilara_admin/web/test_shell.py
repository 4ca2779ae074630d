"""Request ids, required sign-in, time zones, theme, navigation and error pages."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.utils import timezone
from django_htmx.middleware import HtmxDetails

from ilara_admin.middleware import LoginMiddleware, TimeZoneMiddleware, request_id
from ilara_admin.models import Environment, Project, Role, User
from ilara_admin.pages.errors_and_theme import server_error
from ilara_admin.web.context_processors import Shell
from tests.factories import make_environment, make_staff
from tests.pages import signed_in, squeezed, text_of, url_of


@pytest.mark.parametrize("header", ["a", "A-z_0.9", "x" * 64])
def test_safe_request_id__is_kept(header: str) -> None:
    assert request_id(header) == header


@pytest.mark.parametrize("header", [None, "", "a b", "a\n", "x" * 65, "<b>", "é"])
def test_any_other_request_id__is_replaced(header: str | None) -> None:
    assert len(request_id(header)) == 32
    assert request_id(header) != request_id(header)


def test_every_response_has_the_request_id(client: Client) -> None:
    assert client.get("/nope/", headers={"X-Request-Id": "abc"})["X-Request-Id"] == "abc"
    assert len(client.get("/nope/")["X-Request-Id"]) == 32


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(timezone.get_current_timezone()))


def anonymous_response(**headers: str) -> HttpResponse:
    request = RequestFactory().get("/game/live/flags/?q=1", headers=headers)
    request.user = AnonymousUser()
    request.htmx = HtmxDetails(request)  # type: ignore[attr-defined]
    response = LoginMiddleware(page).process_view(request, page, (), {})
    assert isinstance(response, HttpResponse)
    return response


def test_anonymous_user__is_redirected_to_sign_in_and_back() -> None:
    response = anonymous_response()
    assert response.status_code == 302
    assert response["Location"] == "/sign-in/?next=/game/live/flags/%3Fq%3D1"


@pytest.mark.parametrize(
    ("current", "to"),
    [
        ("http://testserver/game/live/players/?a=1", "/game/live/players/%3Fa%3D1"),
        ("https://evil.example/x", "/"),
    ],
)
def test_anonymous_user_with_htmx__returns_to_the_page_not_the_fragment(
    current: str, to: str
) -> None:
    response = anonymous_response(**{"HX-Request": "true", "HX-Current-URL": current})
    assert response.status_code == 200
    assert response["HX-Redirect"] == f"/sign-in/?next={to}"


@pytest.mark.parametrize(
    ("zone", "used"), [("Europe/Lisbon", "Europe/Lisbon"), ("No/Where", "UTC"), ("../x", "UTC")]
)
def test_times_are_in_the_users_zone(zone: str, used: str) -> None:
    request = RequestFactory().get("/")
    request.user = User(time_zone=zone)
    assert TimeZoneMiddleware(page)(request).content == used.encode()  # type: ignore[attr-defined]
    assert str(timezone.get_current_timezone()) == "UTC"


def test_theme__is_stored_in_a_cookie_which_system_deletes(client: Client) -> None:
    response = client.post("/preferences/theme/", {"theme": "dark", "next": "/x/?y=1"})
    assert response["Location"] == "/x/?y=1"
    assert response.cookies["ilara_theme"].value == "dark"
    assert response.cookies["ilara_theme"]["httponly"]
    assert client.post("/preferences/theme/", {"theme": "mauve"}).cookies == {}
    response = client.post("/preferences/theme/", {"theme": "system"})
    assert response.cookies["ilara_theme"]["max-age"] == 0


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "javascript:x", ""])
def test_theme__never_redirects_to_another_host(client: Client, to: str) -> None:
    response = client.post(
        "/preferences/theme/", {"theme": "dark", "next": to}, headers={"Referer": to}
    )
    assert response["Location"] == "/"


def shell_of(path: str, role: Role = Role.VIEWER, slug: str = "live") -> Shell:
    request = RequestFactory().get(path)
    request.user = user = User(pk=1)
    project = Project(pk=1, slug="game", name="Game")
    environment = Environment(project=project, slug=slug)
    request.__dict__.update(project=project, environment=environment)
    user.roles = {project.pk: role}
    return Shell(request)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/game/live/", "Overview"),
        ("/game/live/flags/", "Flags"),
        ("/game/live/flags/x/edit/", "Flags"),
        ("/game/live/keys/", "API keys"),
        ("/game/live/find/", None),
    ],
)
def test_navigation__marks_the_current_section(path: str, label: str | None) -> None:
    shell = shell_of(path)
    items = [*shell.navigation, *shell.settings_navigation]
    assert [item.label for item in items if item.current] == ([label] if label else [])
    assert shell.find_url == "/game/live/find/"


def test_staff_page__is_in_the_navigation_for_admins_only() -> None:
    labels = {item.label for item in shell_of("/game/live/", Role.LIVE_OPS).settings_navigation}
    assert "Staff" not in labels
    labels = {item.label for item in shell_of("/game/live/", Role.ADMIN).settings_navigation}
    assert "Staff" in labels


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "kept", "elsewhere"),
    [
        ("flags/", "flags/", "flags/"),
        ("flags/new_tutorial/", "flags/new_tutorial/", "flags/"),
        ("flags/new_tutorial/rules/?from=3", "flags/new_tutorial/", "flags/"),
        ("flags/a%20b/", "flags/a%20b/", "flags/"),
        ("flags/+new/", "flags/", "flags/"),
        ("segments/whales/lists/?list=exclude", "segments/whales/", "segments/"),
        ("players/0190d1f0-0000-7000-8000-000000000000/", "players/", "players/"),
        ("flags/?state=on&after=x&q=a%26b", "flags/?state=on&q=a%26b", "flags/?state=on&q=a%26b"),
        ("keys/new/?x=1", "keys/", "keys/"),
        ("find/?q=x", "", ""),
    ],
)
def test_switcher__keeps_the_place(path: str, kept: str, elsewhere: str) -> None:
    """The flag or segment in the same project, the section in others, the filters of a list."""
    project = Project.objects.create(name="Game", slug="game")
    other = Project.objects.create(name="Other", slug="other")
    live = Environment.objects.create(project=project, slug="live")
    Environment.objects.create(project=project, slug="test")
    Environment.objects.create(project=other, slug="live")
    request = RequestFactory().get(f"/game/live/{path}")
    request.user = make_staff(Role.VIEWER)
    Project.objects.create(name="Hidden", slug="hidden").environments.create(slug="live")
    request.__dict__.update(project=project, environment=live)
    switcher = Shell(request).switcher
    assert switcher
    assert (switcher.project, switcher.environment) == ("Game", "live")
    assert [name for name, _ in switcher.projects] == ["Game", "Other"]
    links = [(link.url, link.current) for _, each in switcher.projects for link in each]
    assert links == [
        (f"/game/live/{kept}", True),
        (f"/game/test/{kept}", False),
        (f"/other/live/{elsewhere}", False),
    ]


def test_shell_outside_an_environment__renders(rf: RequestFactory) -> None:
    shell = Shell(rf.get("/flags/"))
    assert (shell.navigation, shell.find_url, shell.home_url) == ((), "", "/")


@pytest.mark.django_db
@pytest.mark.parametrize("slug", ["live", "test"])
def test_page__shows_the_environment(slug: str) -> None:
    shell, request = shell_of("/game/live/", slug=slug), RequestFactory().get("/game/live/")
    request.environment = Environment(project=shell.project, slug=slug)  # type: ignore[attr-defined]
    html = render_to_string("base.html", {"shell": shell, "request": request})
    assert f'<body class="shell" data-env="{slug}">' in html
    assert f'<span class="env" data-env="{slug}">{slug.capitalize()}</span>' in html
    assert f"Game {slug} · Ilara</title>" in squeezed(html)


def test_error_pages__render_without_context_and_show_the_request_id(client: Client) -> None:
    for name in ("400", "403", "403_csrf", "404", "500"):
        assert "<h1>" in render_to_string(f"{name}.html")
    assert b'request <span class="mono">abc</span>' in (
        client.get("/nope/", headers={"X-Request-Id": "abc"}).content
    )
    request = RequestFactory().get("/")
    request.id = "abc"  # type: ignore[attr-defined]
    response = server_error(request)
    assert response.status_code == 500
    assert b"abc" in response.content


def test_error_pages__keep_the_navigation_and_say_who_can_help(environment: Environment) -> None:
    boss = make_staff(username="boss")
    make_staff(Role.OWNER, "owner-of-all")
    make_staff(Role.ADMIN, "admin-elsewhere", make_environment().project)
    viewer = signed_in(Role.VIEWER)
    here = url_of(environment, "overview")
    back = f"http://testserver{here}flags/"
    for path, status, text in (
        ("staff/", 403, "This needs the role admin."),
        ("nowhere/", 404, "Page not found"),
        ("flags/nothing/", 404, "No such flag."),
        ("audit/export/", 405, "This address only takes the data of a form."),
    ):
        response = viewer.get(here + path, headers={"Referer": back})
        html = text_of(response)
        assert response.status_code == status
        assert text in html
        assert f'<a class="btn" data-tone="primary" href="{back}">Back</a>' in html
        assert 'aria-label="Main"' in html
        assert "Search from this page" in html
        assert (boss.username in html) is (status == 403)
    assert response["Allow"] == "POST"
    html = text_of(viewer.get(here + "staff/"))
    assert f"You have the role viewer in {environment.project}." in html
    assert f"An admin of {environment.project} can give you another role:" in html
    assert "admin-elsewhere" not in html
    html = text_of(viewer.get(here + "settings/projects/new/"))
    assert "An owner can give you another role:" in html
    assert "owner-of-all" in html
    for client, path in ((viewer, "/nowhere/"), (Client(), here + "nowhere/")):
        assert 'aria-label="Main"' not in text_of(client.get(path))
    refused = viewer.get(here + "staff/", headers={"HX-Request": "true", "Referer": back})
    assert text_of(refused) == "This needs the role admin."


def test_referrer_of_another_site__is_not_the_way_back(environment: Environment) -> None:
    url = url_of(environment, "overview") + "nowhere/"
    for referrer in ("https://evil.example/", "javascript:alert(1)", f"http://testserver{url}"):
        html = text_of(signed_in(Role.VIEWER).get(url, headers={"Referer": referrer}))
        assert ">Back</a>" not in html


def test_failed_csrf_check__shows_what_to_do() -> None:
    response = Client(enforce_csrf_checks=True).post("/preferences/theme/")
    assert response.status_code == 403
    assert b"This form has expired" in response.content


def test_pages_forbid_inline_code(client: Client) -> None:
    policy = client.get("/sign-in/")["Content-Security-Policy"]
    assert "unsafe" not in policy
