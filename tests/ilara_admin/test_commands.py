"""Commands: output, changes and errors."""

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from django.core.management import call_command, get_commands
from django.core.management.base import CommandError

from events import partitions
from ilara_admin.core.api_keys import NewKey, api_key_create
from ilara_admin.core.audit import Actor
from ilara_admin.core.projects import project_create
from ilara_admin.core.tokens import digest, is_well_formed
from ilara_admin.management.help import IlaraManagement
from ilara_admin.management.resolve import api_key_of, duration, environment_of
from ilara_admin.models import (
    ApiKey,
    AuditAction,
    AuditEntry,
    Environment,
    KeyKind,
    Project,
    Role,
    Tier,
    User,
)

ACTOR = Actor("Tests")
PASSWORD = "correct horse battery"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_password_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ILARA_STAFF_PASSWORD", raising=False)


@pytest.fixture
def project() -> Project:
    return project_create(name="Game", slug="game", actor=ACTOR)


@pytest.fixture
def live(project: Project) -> Environment:
    return project.environments.get(slug="live")


@pytest.fixture
def key(live: Environment) -> NewKey:
    return api_key_create(environment=live, kind=KeyKind.SECRET, name="Server", actor=ACTOR)


def run(*args: str) -> tuple[str, str]:
    """The output of the command: (stdout, stderr)."""
    out, err = io.StringIO(), io.StringIO()
    call_command(*args, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def refusal(*args: str) -> str:
    with pytest.raises(CommandError) as error:
        run(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- Arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90m", timedelta(minutes=90)),
        ("24h", timedelta(days=1)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(days=14)),
        ("0", timedelta()),
        ("0h", timedelta()),
    ],
)
def test_duration__reads_number_and_unit(text: str, span: timedelta) -> None:
    assert duration(text) == span


@pytest.mark.parametrize("text", ["", "24", "h", "1y", "-1h", "1.5h", "999999d", "٣d", "1 h"])
def test_invalid_duration__is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="is not a time span"):
        duration(text)


def test_environment__is_found_by_its_path(live: Environment) -> None:
    assert environment_of("game/live") == live


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("game", "“game” is not PROJECT/ENV"),
        ("/live", "is not PROJECT/ENV"),
        ("game/", "is not PROJECT/ENV"),
        ("gone/live", "No project “gone”. Projects: game."),
        ("game/prod", "game has no environment “prod”. It has: live, test."),
        ("game/live/x", "game has no environment “live/x”"),
    ],
)
def test_unknown_environment__is_reported(project: Project, path: str, message: str) -> None:
    with pytest.raises(CommandError) as error:
        environment_of(path)
    assert message in str(error.value)


def test_key__is_found_by_id_masked_form_prefix_last_four_and_token(key: NewKey) -> None:
    stored = key.key
    dotted = stored.masked.replace("…", "...")
    for text in (str(stored.pk), stored.masked, dotted, stored.prefix, stored.last_four, key.token):
        assert api_key_of(text) == stored


def test_unknown_key__is_refused(key: NewKey) -> None:
    for text in ("", "987654321", "9" * 40, "sk_live_", "none", key.token[:-1], f"{key.token}x"):
        with pytest.raises(CommandError, match="No key matches"):
            api_key_of(text)


def test_last_four_of_two_keys__lists_their_ids(key: NewKey, live: Environment) -> None:
    other = api_key_create(environment=live, kind=KeyKind.PUBLIC, name="Client", actor=ACTOR).key
    ApiKey.objects.filter(pk=other.pk).update(last_four=key.key.last_four)
    with pytest.raises(CommandError, match="Several keys") as error:
        api_key_of(key.key.last_four)
    assert f"{key.key.pk} (game/live" in str(error.value)
    assert f"{other.pk} (game/live" in str(error.value)


# --- Help ---------------------------------------------------------------------------------------


def test_help__lists_every_command_of_ours_with_its_purpose() -> None:
    text = IlaraManagement(["manage.py", "help"]).main_help_text()
    ours = [name for name, app in get_commands().items() if app == "ilara_admin"]
    assert {"serve", "setup"} <= set(ours)
    for name in (*ours, "migrate"):
        (line,) = re.findall(rf"^  {name} +([A-Z].*)", text, re.MULTILINE)
        assert len(line) > 10
    assert max(map(len, text.splitlines())) <= 100


# --- API keys -----------------------------------------------------------------------------------


def test_api_key_create__prints_the_token_alone(live: Environment) -> None:
    out, err = run(
        "api_key_create", "game/live", "public", "--name", "Unity", "--expires-in", "30d"
    )
    token = out.removesuffix("\n")
    assert is_well_formed(token)
    assert token not in err
    key = ApiKey.objects.get(digest=digest(token))
    assert (key.environment, key.kind, key.name) == (live, "public", "Unity")
    assert key.expires_at
    assert timedelta(days=29) < key.expires_at - datetime.now(UTC) < timedelta(days=31)
    entry = AuditEntry.objects.get(action=AuditAction.API_KEY_CREATED)
    assert entry.actor_name == "manage.py api_key_create"


def test_api_key_create__refuses_in_one_line(live: Environment) -> None:
    assert "No project" in refusal("api_key_create", "x/live", "public", "--name", "a")
    assert "1 to 100" in refusal("api_key_create", "game/live", "public", "--name", " ")
    assert "time span" in refusal(
        "api_key_create", "game/live", "public", "--name", "a", "--expires-in", "soon"
    )
    assert not ApiKey.objects.exists()


def test_api_key_create_and_rotate__take_scopes_and_networks(live: Environment) -> None:
    new = ("api_key_create", "game/live", "secret", "--name", "a")
    out, _ = run(*new, "--scope", "track", "--scope", "read", "--network", "10.0.0.0/8")
    old = live.api_keys.get()
    assert (old.scopes, old.networks) == (["read", "track"], ["10.0.0.0/8"])
    kept = ApiKey.objects.get(digest=digest(run("api_key_rotate", str(old.pk))[0].strip()))
    assert (kept.scopes, kept.networks) == (["read", "track"], ["10.0.0.0/8"])
    out, _ = run("api_key_rotate", str(kept.pk), "--scope", "stream", "--network", "2001:DB8::1")
    other = ApiKey.objects.get(digest=digest(out.strip()))
    assert (other.scopes, other.networks) == (["stream"], ["2001:db8::1"])
    assert "Line 1: “10.0.0.1/8”" in refusal(*new, "--network", "10.0.0.1/8")
    public = ("api_key_create", "game/live", "public", "--name", "a", "--scope", "read")
    assert "Only secret keys" in refusal(*public)


def test_api_key_list__aligns_and_shows_no_token(key: NewKey, project: Project) -> None:
    test = project.environments.get(slug="test")
    api_key_create(environment=test, kind=KeyKind.PUBLIC, name="A longer name", actor=ACTOR)
    out, _ = run("api_key_list")
    head, first, second = out.splitlines()
    names = "ID ENVIRONMENT KIND NAME KEY STATE SCOPES NETWORKS CREATED LAST USED BY FROM"
    assert head.split() == names.split()
    assert head.index("KEY") == first.index("sk_live_") == second.index("pk_test_")
    assert key.key.masked in first
    assert key.token not in out
    assert first.split()[-3:] == ["never", "-", "-"]
    assert "evaluate,personal,read,stream,track  any " in first
    assert head.index("SCOPES") == second.index("-  ")
    assert len(run("api_key_list", "game")[0].splitlines()) == 3
    assert len(run("api_key_list", "game/test")[0].splitlines()) == 2
    assert "No project" in refusal("api_key_list", "x")


def test_api_key_list_without_keys__shows_the_command(project: Project) -> None:
    assert "api_key_create" in run("api_key_list")[1]


def test_api_key_rotate__prints_the_new_token_and_expires_the_old(key: NewKey) -> None:
    out, err = run("api_key_rotate", key.key.masked, "--grace", "2h", "--reason", "leaked")
    token = out.removesuffix("\n")
    assert is_well_formed(token)
    assert token != key.token
    assert key.key.masked in err
    old = ApiKey.objects.get(pk=key.key.pk)
    assert old.expires_at
    assert timedelta(hours=1) < old.expires_at - datetime.now(UTC) <= timedelta(hours=2)
    assert AuditEntry.objects.get(action=AuditAction.API_KEY_ROTATED).reason == "leaked"


def test_api_key_rotate_without_grace__expires_the_old_at_once(key: NewKey) -> None:
    run("api_key_rotate", str(key.key.pk), "--grace", "0")
    assert ApiKey.objects.get(pk=key.key.pk).state_at(datetime.now(UTC)) == "expired"
    assert "has expired or is revoked" in refusal("api_key_rotate", str(key.key.pk))


def test_api_key_revoke__revokes_once(key: NewKey) -> None:
    assert "Revoked" in run("api_key_revoke", key.token)[0]
    assert ApiKey.objects.get(pk=key.key.pk).revoked_at
    assert "already revoked" in run("api_key_revoke", key.token)[0]
    assert AuditEntry.objects.filter(action=AuditAction.API_KEY_REVOKED).count() == 1


# --- Projects, staff, partitions ----------------------------------------------------------------


def test_project_set__changes_tier_and_name(project: Project) -> None:
    out, _ = run("project_set", "game", "--tier", "free", "--name", "My Game")
    assert out == "game: “My Game”, tier free.\n"
    project.refresh_from_db()
    assert (project.tier, project.name) == (Tier.FREE, "My Game")


def test_project_set_without_options__is_refused(project: Project) -> None:
    assert "--tier" in refusal("project_set", "game")
    assert "No project" in refusal("project_set", "other", "--tier", "free")


def test_staff_create__reads_the_password_from_the_variable(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ILARA_STAFF_PASSWORD", PASSWORD)
    role = ("--project", "game", "--role", "live-ops")
    out, _ = run("staff_create", "eva", *role, "--email", "eva@example.com")
    assert PASSWORD not in out
    user = User.objects.get(username="eva")
    assert (user.role_in(project), user.email) == (Role.LIVE_OPS, "eva@example.com")
    assert "as live-ops of game" in out
    assert user.check_password(PASSWORD)
    assert "already" in refusal("staff_create", "eva", "--owner")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--role", "admin"),
        ("--project", "game"),
        ("--owner", "--project", "game", "--role", "admin"),
        ("--owner", "--role", "viewer"),
    ],
)
def test_staff_create__needs_an_owner_or_a_role_in_a_project(options: tuple[str, ...]) -> None:
    assert "Pass either --owner, or --project and --role." in refusal(
        "staff_create", "eva", *options
    )


def test_staff_create__makes_an_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ILARA_STAFF_PASSWORD", PASSWORD)
    assert "as an owner" in run("staff_create", "eva", "--owner")[0]
    assert User.objects.get(username="eva").is_owner
    assert "No project" in refusal("staff_create", "bo", "--project", "x", "--role", "admin")


@pytest.fixture
def terminal() -> Iterator[mock.Mock]:
    """A terminal; the mock's side effect is what is typed."""
    with (
        mock.patch("sys.stdin.isatty", return_value=True),
        mock.patch("getpass.getpass") as typed,
    ):
        yield typed


def test_staff_create__prompts_twice(terminal: mock.Mock) -> None:
    terminal.side_effect = [PASSWORD, PASSWORD]
    run("staff_create", "eva", "--owner")
    assert User.objects.get(username="eva").check_password(PASSWORD)


def test_two_different_passwords__change_nothing(terminal: mock.Mock) -> None:
    terminal.side_effect = [PASSWORD, "another password"]
    assert "differ" in refusal("staff_create", "eva", "--owner")
    assert not User.objects.exists()


def test_no_password_and_no_terminal__error_names_the_option() -> None:
    with mock.patch("sys.stdin", io.StringIO()):
        assert "--password-stdin" in refusal("staff_create", "eva", "--owner")


def test_staff_password__reads_standard_input() -> None:
    user = User.objects.create_user("eva", password="the old password")
    before = user.get_session_auth_hash()
    with mock.patch("sys.stdin", io.StringIO(f"{PASSWORD}\n")):
        run("staff_password", "eva", "--password-stdin")
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert user.get_session_auth_hash() != before
    entry = AuditEntry.objects.get(action=AuditAction.STAFF_UPDATED)
    assert PASSWORD not in str((entry.before, entry.after))


def test_weak_staff_password__is_refused() -> None:
    User.objects.create_user("eva", password="the old password")
    for weak in ("short", "password1234", ""):
        with mock.patch("sys.stdin", io.StringIO(f"{weak}\n")):
            assert "This password is too" in refusal("staff_password", "eva", "--password-stdin")
    assert "No staff account" in refusal("staff_password", "adam")


def test_partitions__creates_missing_ones_and_lists_all() -> None:
    out, _ = run("partitions")
    today = partitions.name_of(datetime.now(UTC).date())
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert set(lines) == {"PARTITION", *(part.name for part in partitions.describe())}
    assert today in lines
    assert len(lines) >= 1 + partitions.DAYS_AHEAD + 1 + 1
    assert not any(line.endswith("new") for line in run("partitions")[0].splitlines())
