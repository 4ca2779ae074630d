"""Services of the shared models: each checks, writes, audits and increments the version."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from ilara_admin.core import api_keys, projects, tokens
from ilara_admin.core.audit import Actor, changed_fields, request_id
from ilara_admin.core.staff import staff_create
from ilara_admin.models import (
    MEMBER_ROLES,
    ApiKey,
    AuditEntry,
    Environment,
    KeyKind,
    Project,
    Role,
    Tier,
    User,
)
from ilara_admin.web.routes import all_pages
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


def test_environments__have_different_namespaces() -> None:
    one, two = projects.project_create(name="G", slug="g", actor=ACTOR).environments.all()
    assert one.namespace != two.namespace


@pytest.mark.parametrize("slug", sorted(projects.RESERVED_SLUGS - {"_components"}))
def test_reserved_slug__is_refused(slug: str) -> None:
    with pytest.raises(ValidationError, match="is reserved"):
        projects.project_create(name="Game", slug=slug, actor=ACTOR)
    assert not Project.objects.filter(slug=slug).exists()


def test_paths_of_the_dashboard__are_reserved() -> None:
    first = {page.route.partition("/")[0] for page in all_pages()}
    fixed = {segment for segment in first if segment and "<" not in segment}
    assert "sign-in" in fixed
    assert fixed <= projects.RESERVED_SLUGS


@pytest.mark.parametrize("slug", ["", "Game", "-game", "game-", "a_b", "a/b", "é", "x" * 41, "g\n"])
def test_invalid_slug__is_refused(slug: str) -> None:
    with pytest.raises(ValidationError, match="lowercase letters"):
        projects.project_create(name="Game", slug=slug, actor=ACTOR)


def test_existing_slug__is_refused() -> None:
    projects.project_create(name="Game", slug="game", actor=ACTOR)
    with pytest.raises(ValidationError, match="“game” already exists"):
        projects.project_create(name="Other", slug="game", actor=ACTOR)


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
def test_name_that_is_empty_or_too_long__is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="1 to 100 characters"):
        projects.project_create(name=name, slug="game", actor=ACTOR)
    project = projects.project_create(name="Game", slug="game", actor=ACTOR)
    with pytest.raises(ValidationError, match="1 to 100 characters"):
        projects.project_update(project, name=name, actor=ACTOR)


def test_changed_tier__is_audited_and_increments_every_version() -> None:
    project = make_environment().project
    before = [version_of(environment) for environment in project.environments.all()]
    projects.project_update(project, tier=Tier.FREE, actor=ACTOR, reason="trial over")
    after = [version_of(environment) for environment in project.environments.all()]
    assert after == [version + 1 for version in before]
    entry = last_entry()
    assert entry.action == "project.updated"
    assert (entry.before, entry.after) == ({"tier": "enterprise"}, {"tier": "free"})
    assert entry.reason == "trial over"


def test_concurrent_project_changes__are_both_stored() -> None:
    project = make_environment().project
    stale = Project.objects.get(pk=project.pk)
    projects.project_update(project, name="Renamed", actor=ACTOR)
    projects.project_update(stale, tier=Tier.PRO, actor=ACTOR)
    stored = Project.objects.get(pk=project.pk)
    assert (stored.name, stored.tier) == ("Renamed", "pro")
    assert last_entry().after == {"tier": "pro"}


def test_update_without_changes__writes_nothing() -> None:
    environment = make_environment()
    version, entries = version_of(environment), AuditEntry.objects.count()
    projects.project_update(environment.project, tier=Tier.ENTERPRISE, actor=ACTOR)
    assert (version_of(environment), AuditEntry.objects.count()) == (version, entries)


def test_existing_environment_slug__is_refused(environment: Environment) -> None:
    with pytest.raises(ValidationError, match="“live” already exists"):
        projects.environment_create(project=environment.project, slug="live", actor=ACTOR)


# --- Keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "prefix"), [("public", "pk_live_"), ("secret", "sk_live_")])
def test_new_key__stores_only_the_digest(kind: str, prefix: str, environment: Environment) -> None:
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
    scopes = ["evaluate", "personal", "read", "stream", "track"]
    assert entry.after == {
        "name": "Test",
        "kind": kind,
        "key": key.masked,
        "expires_at": None,
        "networks": [],
        **({"scopes": scopes} if kind == "secret" else {}),
    }
    assert entry.environment == environment
    assert entry.project == environment.project


def test_token__is_not_in_the_audit_log(environment: Environment) -> None:
    new = make_key(environment)
    rotated = api_keys.api_key_rotate(new.key, grace=timedelta(hours=1), actor=ACTOR)
    entries = str(list(AuditEntry.objects.values()))
    for token in (new.token, rotated.token):
        assert token[12:-4] not in entries


@pytest.mark.parametrize("name", ["", " ", "x" * 101])
def test_key_with_an_invalid_name__is_refused(name: str, environment: Environment) -> None:
    with pytest.raises(ValidationError, match="1 to 100 characters"):
        api_keys.api_key_create(
            environment=environment, kind=KeyKind.PUBLIC, name=name, actor=ACTOR
        )


def test_revoked_key__is_audited_with_time_and_reason(environment: Environment) -> None:
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


def test_key_revoked_twice__keeps_the_first_time(environment: Environment) -> None:
    key = make_key(environment).key
    first = api_keys.api_key_revoke(key, actor=ACTOR)
    version, entries = version_of(environment), AuditEntry.objects.count()
    assert api_keys.api_key_revoke(key, actor=ACTOR).revoked_at == first.revoked_at
    assert (version_of(environment), AuditEntry.objects.count()) == (version, entries)


def test_rotated_key__has_a_successor_and_a_grace_period(environment: Environment) -> None:
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


def test_earlier_expiry__is_kept(environment: Environment) -> None:
    key = make_key(environment, expires_in=timedelta(hours=1)).key
    api_keys.api_key_rotate(key, grace=timedelta(days=7), actor=ACTOR)
    assert ApiKey.objects.get(pk=key.pk).expires_at == key.expires_at


def test_revoked_or_expired_key__cannot_be_rotated(environment: Environment) -> None:
    revoked = api_keys.api_key_revoke(make_key(environment).key, actor=ACTOR)
    expired = make_key(environment, expires_in=timedelta(seconds=-1)).key
    for key in (revoked, expired):
        with pytest.raises(ValidationError, match="has expired or is revoked"):
            api_keys.api_key_rotate(key, grace=timedelta(0), actor=ACTOR)


def test_state_of_a_key__changes_at_its_expiry() -> None:
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
    user = staff_create(username="sam", password=PASSWORD, actor=ACTOR)
    assert user.check_password(PASSWORD)
    assert last_entry().after == {"username": "sam", "is_owner": False}
    assert PASSWORD not in str(last_entry().after)


def test_existing_username__is_refused() -> None:
    staff_create(username="sam", password=PASSWORD, actor=ACTOR)
    with pytest.raises(ValidationError, match="“sam” already exists"):
        staff_create(username="sam", password=PASSWORD, actor=ACTOR)


def test_roles__include_the_previous_ones() -> None:
    may = {role: [other for other in Role if account(role).may(other, 1)] for role in Role}
    assert may == {
        Role.VIEWER: [Role.VIEWER],
        Role.SUPPORT: [Role.VIEWER, Role.SUPPORT],
        Role.LIVE_OPS: [Role.VIEWER, Role.SUPPORT, Role.LIVE_OPS],
        Role.ADMIN: list(MEMBER_ROLES),
        Role.OWNER: list(Role),
    }


def test_role__is_that_of_the_project() -> None:
    for role in MEMBER_ROLES:
        assert not account(role).may(Role.VIEWER, 2)
        assert not account(role).may(Role.VIEWER, None)
    assert account(Role.OWNER).may(Role.OWNER, None)
    assert account(Role.OWNER).may(Role.ADMIN, Project(pk=2))
    for role in (Role.ADMIN, Role.OWNER):
        assert not account(role, is_active=False).may(Role.VIEWER, 1)


def account(role: Role, **fields: Any) -> User:
    """An account with this role in the project 1."""
    user = User(is_owner=role is Role.OWNER, **fields)
    user.roles = {} if user.is_owner else {1: role}
    return user


def test_deleted_staff__keep_their_name_as_actor(environment: Environment) -> None:
    user = make_staff(username="sam")
    key = api_keys.api_key_create(
        environment=environment, kind=KeyKind.PUBLIC, name="k", actor=Actor.of_user(user)
    ).key
    user.delete()
    key.refresh_from_db()
    assert (key.created_by, key.created_by_name) == (None, "sam")
    entry = last_entry()
    assert (entry.actor_user, entry.actor_name) == (None, "sam")


def test_audit_entry__has_the_request_id(environment: Environment) -> None:
    token = request_id.set("trace-1")
    try:
        make_key(environment)
    finally:
        request_id.reset(token)
    assert last_entry().request_id == "trace-1"


def test_changed_fields__are_only_those_that_differ() -> None:
    assert changed_fields({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "d": 4}) == (
        {"b": 2, "c": 3},
        {"b": 5, "d": 4},
    )


def test_failed_transaction__keeps_the_version(environment: Environment) -> None:
    version = version_of(environment)
    with pytest.raises(ValidationError):
        api_keys.api_key_create(environment=environment, kind=KeyKind.PUBLIC, name="", actor=ACTOR)
    assert version_of(environment) == version
