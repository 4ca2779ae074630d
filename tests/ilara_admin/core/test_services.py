"""Writes to what all apps share: each checks, writes, audits and bumps the version."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.urls import get_resolver

from ilara_admin.core import api_keys, projects, tokens
from ilara_admin.core.audit import Actor, changed_fields, request_id
from ilara_admin.models import (
    ApiKey,
    AuditEntry,
    Environment,
    KeyKind,
    Project,
    Role,
    Tier,
    User,
)
from tests.factories import ACTOR, PASSWORD, make_environment, make_key, make_staff

pytestmark = pytest.mark.django_db


def version_of(environment: Environment) -> int:
    return Environment.objects.get(pk=environment.pk).config_version


def last_entry() -> AuditEntry:
    return AuditEntry.objects.order_by("-id")[0]


# --- Projects -------------------------------------------------------------------------------------


def test_new_project__has_live_and_test_and_no_keys() -> None:
    project = projects.project_create(name="Game", slug="game", actor=ACTOR, reason="launch")
    assert [environment.slug for environment in project.environments.all()] == ["live", "test"]
    assert not ApiKey.objects.filter(environment__project=project).exists()
    entry = AuditEntry.objects.get(action="project.created")
    assert entry.after == {"name": "Game", "slug": "game", "tier": "enterprise"}
    assert (entry.actor_name, entry.reason, entry.object_id) == ("Ada", "launch", str(project.pk))


def test_environments__have_namespaces_of_their_own() -> None:
    one, two = projects.project_create(name="G", slug="g", actor=ACTOR).environments.all()
    assert one.namespace != two.namespace


@pytest.mark.parametrize("slug", sorted(projects.RESERVED_SLUGS - {"_components"}))
def test_slug_that_is_an_address__is_refused(slug: str) -> None:
    with pytest.raises(ValidationError, match="address of the dashboard"):
        projects.project_create(name="Game", slug=slug, actor=ACTOR)
    assert not Project.objects.filter(slug=slug).exists()


def test_addresses_of_the_dashboard__are_all_reserved() -> None:
    first = {str(item.pattern).partition("/")[0] for item in get_resolver().url_patterns}
    fixed = {segment for segment in first if segment and "<" not in segment}
    assert "sign-in" in fixed
    assert fixed <= projects.RESERVED_SLUGS


@pytest.mark.parametrize("slug", ["", "Game", "-game", "game-", "a_b", "a/b", "é", "x" * 41, "g\n"])
def test_slug_of_another_form__is_refused(slug: str) -> None:
    with pytest.raises(ValidationError, match="lower-case letters"):
        projects.project_create(name="Game", slug=slug, actor=ACTOR)


def test_slug_that_is_taken__is_refused() -> None:
    projects.project_create(name="Game", slug="game", actor=ACTOR)
    with pytest.raises(ValidationError, match="already a project"):
        projects.project_create(name="Other", slug="game", actor=ACTOR)


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
def test_name_of_no_or_too_many_characters__is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="1 to 100 characters"):
        projects.project_create(name=name, slug="game", actor=ACTOR)
    project = projects.project_create(name="Game", slug="game", actor=ACTOR)
    with pytest.raises(ValidationError, match="1 to 100 characters"):
        projects.project_update(project, name=name, actor=ACTOR)


def test_changed_tier__is_audited_and_bumps_every_environment() -> None:
    project = make_environment().project
    before = [version_of(environment) for environment in project.environments.all()]
    projects.project_update(project, tier=Tier.FREE, actor=ACTOR, reason="trial over")
    after = [version_of(environment) for environment in project.environments.all()]
    assert after == [version + 1 for version in before]
    entry = last_entry()
    assert entry.action == "project.updated"
    assert (entry.before, entry.after) == ({"tier": "enterprise"}, {"tier": "free"})
    assert entry.reason == "trial over"


def test_project_changed_by_somebody_else__keeps_their_change() -> None:
    project = make_environment().project
    stale = Project.objects.get(pk=project.pk)
    projects.project_update(project, name="Renamed", actor=ACTOR)
    projects.project_update(stale, tier=Tier.PRO, actor=ACTOR)
    stored = Project.objects.get(pk=project.pk)
    assert (stored.name, stored.tier) == ("Renamed", "pro")
    assert last_entry().after == {"tier": "pro"}


def test_change_that_changes_nothing__leaves_no_trace() -> None:
    environment = make_environment()
    version, entries = version_of(environment), AuditEntry.objects.count()
    projects.project_update(environment.project, tier=Tier.ENTERPRISE, actor=ACTOR)
    assert (version_of(environment), AuditEntry.objects.count()) == (version, entries)


def test_environment_slug_that_is_taken__is_refused(environment: Environment) -> None:
    with pytest.raises(ValidationError, match="already an environment"):
        projects.environment_create(project=environment.project, slug="live", actor=ACTOR)


# --- Keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "prefix"), [("public", "pk_live_"), ("secret", "sk_live_")])
def test_new_key__keeps_only_the_digest(kind: str, prefix: str, environment: Environment) -> None:
    version = version_of(environment)
    new = make_key(environment, KeyKind(kind), reason="for the client")
    key = ApiKey.objects.get(pk=new.key.pk)
    assert new.token.startswith(prefix)
    assert bytes(key.digest) == tokens.digest(new.token)
    assert (key.prefix, key.last_four) == (new.token[:12], new.token[-4:])
    assert key.masked == f"{new.token[:12]}…{new.token[-4:]}"
    assert version_of(environment) == version + 1
    entry = last_entry()
    assert (entry.action, entry.reason) == ("api_key.created", "for the client")
    assert entry.after == {
        "name": "Test",
        "kind": kind,
        "key": key.masked,
        "expires_at": None,
    }
    assert entry.environment == environment
    assert entry.project == environment.project


def test_token__stands_in_no_audit_entry(environment: Environment) -> None:
    new = make_key(environment)
    rotated = api_keys.api_key_rotate(new.key, grace=timedelta(hours=1), actor=ACTOR)
    told = str(list(AuditEntry.objects.values()))
    for token in (new.token, rotated.token):
        assert token[12:-4] not in told


@pytest.mark.parametrize("name", ["", " ", "x" * 101])
def test_key_without_a_proper_name__is_refused(name: str, environment: Environment) -> None:
    with pytest.raises(ValidationError, match="1 to 100 characters"):
        api_keys.api_key_create(
            environment=environment, kind=KeyKind.PUBLIC, name=name, actor=ACTOR
        )


def test_revoked_key__says_when_and_why(environment: Environment) -> None:
    key = make_key(environment).key
    version = version_of(environment)
    revoked = api_keys.api_key_revoke(key, actor=ACTOR, reason="leaked")
    assert revoked.revoked_at is not None
    assert revoked.state_at(datetime.now(UTC)) == "revoked"
    entry = last_entry()
    assert (entry.action, entry.reason) == ("api_key.revoked", "leaked")
    assert entry.before == {"revoked_at": None}
    assert entry.after == {"revoked_at": revoked.revoked_at.isoformat()}
    assert version_of(environment) == version + 1


def test_key_revoked_again__keeps_its_first_time(environment: Environment) -> None:
    key = make_key(environment).key
    first = api_keys.api_key_revoke(key, actor=ACTOR)
    version, entries = version_of(environment), AuditEntry.objects.count()
    assert api_keys.api_key_revoke(key, actor=ACTOR).revoked_at == first.revoked_at
    assert (version_of(environment), AuditEntry.objects.count()) == (version, entries)


def test_rotated_key__has_a_successor_and_a_grace(environment: Environment) -> None:
    old = make_key(environment, KeyKind.SECRET).key
    version = version_of(environment)
    new = api_keys.api_key_rotate(old, grace=timedelta(hours=24), actor=ACTOR)
    old.refresh_from_db()
    assert old.expires_at is not None
    left = old.expires_at - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < left <= timedelta(hours=24)
    assert old.state_at(datetime.now(UTC)) == "expiring"
    assert (new.key.kind, new.key.name, new.key.expires_at) == ("secret", "Test", None)
    assert new.token.startswith("sk_live_")
    entry = last_entry()
    assert entry.action == "api_key.rotated"
    assert entry.before == {"expires_at": None}
    assert entry.after == {"expires_at": old.expires_at.isoformat(), "successor": new.key.masked}
    assert version_of(environment) == version + 1


def test_expiry_that_comes_sooner__stays(environment: Environment) -> None:
    key = make_key(environment, expires_in=timedelta(hours=1)).key
    api_keys.api_key_rotate(key, grace=timedelta(days=7), actor=ACTOR)
    assert ApiKey.objects.get(pk=key.pk).expires_at == key.expires_at


def test_key_out_of_use__cannot_be_rotated(environment: Environment) -> None:
    revoked = api_keys.api_key_revoke(make_key(environment).key, actor=ACTOR)
    expired = make_key(environment, expires_in=timedelta(seconds=-1)).key
    for key in (revoked, expired):
        with pytest.raises(ValidationError, match="no longer in use"):
            api_keys.api_key_rotate(key, grace=timedelta(0), actor=ACTOR)


def test_state_of_a_key__turns_at_the_very_moment_of_its_expiry() -> None:
    end = datetime(2026, 1, 1, tzinfo=UTC)
    key = ApiKey(expires_at=end)
    assert key.state_at(end - timedelta(microseconds=1)) == "expiring"
    assert key.state_at(end) == "expired"
    assert ApiKey().state_at(end) == "active"
    assert ApiKey(expires_at=end, revoked_at=end).state_at(end) == "revoked"


def test_usable_keys__are_neither_revoked_nor_expired(environment: Environment) -> None:
    good = make_key(environment).key
    soon = make_key(environment, expires_in=timedelta(hours=1)).key
    make_key(environment, expires_in=timedelta(seconds=-1))
    api_keys.api_key_revoke(make_key(environment).key, actor=ACTOR)
    assert list(ApiKey.objects.usable_at(datetime.now(UTC))) == [good, soon]


# --- Staff and the audit log ----------------------------------------------------------------------


def test_new_member_of_staff__can_sign_in_and_is_audited() -> None:
    user = make_staff(Role.SUPPORT, "sam")
    assert user.check_password(PASSWORD)
    assert last_entry().after == {"username": "sam", "role": "support"}
    assert PASSWORD not in str(last_entry().after)


def test_username_that_is_taken__is_refused() -> None:
    make_staff(username="sam")
    with pytest.raises(ValidationError, match="already a member of staff"):
        make_staff(username="sam")


def test_roles__include_those_before_them() -> None:
    may = {role: [other for other in Role if User(role=role).may(other)] for role in Role}
    assert may == {
        Role.VIEWER: [Role.VIEWER],
        Role.SUPPORT: [Role.VIEWER, Role.SUPPORT],
        Role.LIVE_OPS: [Role.VIEWER, Role.SUPPORT, Role.LIVE_OPS],
        Role.ADMIN: list(Role),
    }
    assert not User(role=Role.ADMIN, is_active=False).may(Role.VIEWER)


def test_actor__keeps_the_name_of_a_member_of_staff_who_leaves(environment: Environment) -> None:
    user = make_staff(username="sam")
    key = api_keys.api_key_create(
        environment=environment, kind=KeyKind.PUBLIC, name="k", actor=Actor.of_user(user)
    ).key
    user.delete()
    key.refresh_from_db()
    assert (key.created_by, key.created_by_name) == (None, "sam")
    entry = last_entry()
    assert (entry.actor_user, entry.actor_name) == (None, "sam")


def test_entries_of_one_request__carry_its_id(environment: Environment) -> None:
    token = request_id.set("trace-1")
    try:
        make_key(environment)
    finally:
        request_id.reset(token)
    assert last_entry().request_id == "trace-1"


def test_changes__keep_only_what_differs() -> None:
    assert changed_fields({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "d": 4}) == (
        {"b": 2, "c": 3},
        {"b": 5, "d": 4},
    )


def test_version__moves_only_when_the_transaction_does(environment: Environment) -> None:
    version = version_of(environment)
    with pytest.raises(ValidationError):
        api_keys.api_key_create(environment=environment, kind=KeyKind.PUBLIC, name="", actor=ACTOR)
    assert version_of(environment) == version
