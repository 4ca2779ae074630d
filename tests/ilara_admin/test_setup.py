"""The first start in production: `setup`, and the start page without a project."""

import re

import pytest
from django.db import connection
from django.test import Client

from events import partitions
from flags.models import Flag
from ilara_admin.core.projects import RESERVED_SLUGS, project_create, slug_from
from ilara_admin.core.tokens import digest
from ilara_admin.models import ApiKey, AuditEntry, Environment, Project, Role, User
from tests.factories import ACTOR, make_staff
from tests.ilara_admin.test_commands import refusal, run
from tests.pages import signed_in, text_of, tone_of

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
TOKEN = re.compile(r"\b[ps]k_(?:live|test)_\w+")


@pytest.fixture(autouse=True)
def no_password_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ILARA_STAFF_PASSWORD", raising=False)


def state() -> list[object]:
    """What `setup` creates."""
    return [
        list(model.objects.order_by("pk").values_list("pk", flat=True))
        for model in (User, Project, Environment, ApiKey, Flag, AuditEntry)
    ]


# --- The command ----------------------------------------------------------------------------------


def test_setup__creates_admin_project_environments_and_keys() -> None:
    out, _ = run("setup")
    assert "  owner        admin created\n" in out
    assert "  project      my-game created, tier enterprise: live, test\n" in out
    password = re.search(r"  sign in      admin / (\S+)\n", out)
    assert password
    assert User.objects.get(username="admin", is_owner=True).check_password(password[1])
    keys = {ApiKey.objects.get(digest=digest(token)) for token in TOKEN.findall(out)}
    assert {(key.environment.slug, key.kind) for key in keys} == {
        (slug, kind) for slug in ("live", "test") for kind in ("public", "secret")
    }
    assert "the password and the keys: they are not shown again" in out
    assert partitions.ensure() == []


def test_setup_again__changes_nothing_and_says_what_is_there() -> None:
    named = ("--project", "Skyforge: Dawn", "--admin", "ada")
    assert "skyforge-dawn created" in run("setup", *named)[0]
    before = state()
    for options in (named, ()):
        out, _ = run("setup", *options)
        assert "  owner        ada found\n" in out
        assert "  project      skyforge-dawn found, tier enterprise: live, test\n" in out
        assert re.search(r"  keys         4; issue .*\n .* api_key_create skyforge-dawn/live ", out)
        assert not TOKEN.search(out)
        assert "sign in" not in out
    assert state() == before


def test_given_password__is_set_and_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ILARA_STAFF_PASSWORD", PASSWORD)
    out, _ = run("setup", "--admin", "ada")
    assert User.objects.get(username="ada").check_password(PASSWORD)
    assert PASSWORD not in out
    assert "  store        the keys: they" in out


def test_weak_password__changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ILARA_STAFF_PASSWORD", "short")
    assert "at least 10 characters" in refusal("setup")
    assert state() == [[]] * 6


def test_setup__adds_what_is_missing() -> None:
    make_staff(Role.SUPPORT)
    project_create(name="Game", slug="game", actor=ACTOR)
    out, _ = run("setup")
    assert "admin created" in out
    assert "game found" in out
    assert "  keys         0; " in out
    assert "second created" in run("setup", "--project", "Second")[0]
    assert Project.objects.count() == 2


def test_slug__is_the_given_one() -> None:
    assert "sky created" in run("setup", "--project", "Skyforge", "--slug", "sky")[0]
    assert "slug: " not in refusal("setup", "--slug", "No Slug")


def test_database_without_all_tables__says_to_migrate() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'flags'")
    assert "migrate` first" in refusal("setup")
    assert state() == [[]] * 6


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My game", "my-game"),
        ("  Ünder_score! ", "under-score"),
        ("游戏", "game"),
        ("Staff", "staff-game"),
        ("x" * 100, "x" * 40),
        ("x" * 39 + " y", "x" * 39),
    ],
)
def test_slug__resembles_the_name(name: str, slug: str) -> None:
    assert slug_from(name) == slug


def test_reserved_slug__is_avoided() -> None:
    for word in RESERVED_SLUGS - {"_components"}:
        project_create(name=word, slug=slug_from(word), actor=ACTOR)


# --- The start page -------------------------------------------------------------------------------


def test_owner__creates_the_first_project_and_gets_to_its_keys() -> None:
    client = signed_in(Role.OWNER)
    page = text_of(client.get("/"))
    assert "Create your first project" in page
    assert "Cancel" not in page
    response = client.post("/", {"name": "Skyforge"})
    assert response["Location"] == "/skyforge/live/keys/"
    assert tone_of(response) == "ok"
    environments = Environment.objects.filter(project__slug="skyforge")
    assert sorted(environments.values_list("slug", flat=True)) == ["live", "test"]
    assert Flag.objects.count() == 4
    assert client.get(response["Location"]).status_code == 200
    assert client.get("/")["Location"] == "/skyforge/live/"
    assert client.post("/", {"name": "Another"})["Location"] == "/skyforge/live/"
    assert Project.objects.count() == 1


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "\u200b"])
def test_invalid_name__shows_the_form_again(name: str) -> None:
    response = signed_in(Role.OWNER).post("/", {"name": name})
    assert response.status_code == 422
    assert 'id="id_name_error"' in text_of(response)
    assert not Project.objects.exists()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
def test_account_without_a_project__learns_who_can_help(role: Role) -> None:
    owner = make_staff(Role.OWNER)
    client = signed_in(role)
    for response in (client.get("/"), client.post("/", {"name": "Skyforge"})):
        page = text_of(response)
        assert "You are not a member of any project yet." in page
        assert f"<bdi>{owner}</bdi>" in page
        assert "<form" not in page.partition("<main")[2].partition("</main>")[0]
    assert not Project.objects.exists()


def test_other_methods__are_refused() -> None:
    assert signed_in(Role.ADMIN).put("/").status_code == 405
    assert Client().get("/")["Location"].startswith("/sign-in/")
