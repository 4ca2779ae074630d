"""Writes to API keys. Each is one transaction."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from ilara_admin.core import tokens
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import (
    Fields,
    bump_config_version,
    register_perform,
    register_permanent,
)
from ilara_admin.core.guard import Act, ChangeItem, register_acts
from ilara_admin.core.projects import checked_name
from ilara_admin.models import (
    ApiKey,
    AuditAction,
    Environment,
    KeyKind,
    Role,
)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key with its token, which is stored only as a digest."""

    key: ApiKey
    token: str


def _key_insert(
    environment: Environment, kind: KeyKind, name: str, actor: Actor, expires_in: timedelta | None
) -> NewKey:
    token = tokens.new_token("pk" if kind == KeyKind.PUBLIC else "sk", environment.slug)
    start = len(f"pk_{environment.slug}_")
    key = ApiKey.objects.create(
        environment=environment,
        kind=kind,
        name=name,
        prefix=token[: start + 4],
        digest=tokens.digest(token),
        last_four=token[-4:],
        created_by=actor.user,
        created_by_name=actor.name,
        expires_at=timezone.now() + expires_in if expires_in else None,
    )
    return NewKey(key, token)


def _audit_fields(key: ApiKey) -> dict[str, Any]:
    expires_at = key.expires_at.isoformat() if key.expires_at else None
    return {"name": key.name, "kind": key.kind, "key": key.masked, "expires_at": expires_at}


def _lasting(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what is different each time a key is issued."""
    return {name: value for name, value in fields.items() if name not in ("key", "expires_at")}


def _record(action: AuditAction, key: ApiKey, actor: Actor, **details: Any) -> None:
    audit_record(
        action,
        actor,
        environment=key.environment,
        object_id=key.pk,
        object_name=f"{key.name} ({key.masked})",
        **details,
    )


@transaction.atomic
def api_key_create(
    *, environment: Environment, kind: KeyKind, name: str, actor: Actor,
    expires_in: timedelta | None = None, reason: str = "",
) -> NewKey:  # fmt: skip
    """Issue a key. The token is returned only here."""
    new = _key_insert(environment, kind, checked_name(name, "key"), actor, expires_in)
    after = _audit_fields(new.key)
    seconds = expires_in.total_seconds() if expires_in else None
    _record(
        AuditAction.API_KEY_CREATED, new.key, actor, after=after, reason=reason,
        wanted={**_lasting(after), "expires_in": seconds},
    )  # fmt: skip
    bump_config_version(environment)
    return new


@transaction.atomic
def api_key_revoke(key: ApiKey, *, actor: Actor, reason: str = "") -> ApiKey:
    """Revoke a key, in force on the next request. Revoking a revoked key changes nothing."""
    key = ApiKey.objects.select_for_update(of=("self",)).select_related(
        "environment__project"
    ).get(pk=key.pk)  # fmt: skip
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
        _record(
            AuditAction.API_KEY_REVOKED,
            key,
            actor,
            before={"revoked_at": None},
            after={"revoked_at": key.revoked_at.isoformat()},
            reason=reason,
            wanted={"revoked_at": "at once"},
        )
        bump_config_version(key.environment)
    return key


@transaction.atomic
def api_key_rotate(key: ApiKey, *, grace: timedelta, actor: Actor, reason: str = "") -> NewKey:
    """Issue a successor; this key expires after `grace`, or at its own expiry if that is sooner.

    Raises ValidationError if the key is expired or revoked.
    """
    key = ApiKey.objects.select_for_update(of=("self",)).select_related(
        "environment__project"
    ).get(pk=key.pk)  # fmt: skip
    now = timezone.now()
    if key.state_at(now) not in ("active", "expiring"):
        raise ValidationError(f"The key {key.masked} has expired or is revoked. Create a new one.")
    new = _key_insert(key.environment, KeyKind(key.kind), key.name, actor, None)
    before = _audit_fields(key)
    ends_at = now + grace
    key.expires_at = min(key.expires_at, ends_at) if key.expires_at else ends_at
    key.save(update_fields=["expires_at"])
    old, changed = changed_fields(before, _audit_fields(key))
    _record(
        AuditAction.API_KEY_ROTATED,
        key,
        actor,
        before=old,
        after={**changed, "successor": new.key.masked},
        reason=reason,
        wanted={"grace": grace.total_seconds()},
    )
    bump_config_version(key.environment)
    return new


register_permanent(
    {
        AuditAction.API_KEY_CREATED: "Issuing a key cannot be undone. Revoke the key instead.",
        AuditAction.API_KEY_ROTATED: "A rotation cannot be undone. Issue a new key instead.",
        AuditAction.API_KEY_REVOKED: "Revoking a key cannot be undone. Issue a new key instead.",
    }
)


# --- The guard of environments --------------------------------------------------------------------

register_acts("api_key", lambda action, before, after, whole: frozenset({Act.KEYS}))


def _none(item: ChangeItem, environment: Environment) -> Fields:
    """There is nothing to compare: a new key has no row yet."""
    return {}


def _key(item: ChangeItem, environment: Environment) -> ApiKey:
    keys = ApiKey.objects.select_for_update(of=("self",)).filter(environment=environment)
    return keys.get(pk=item.object_id)


def _present(item: ChangeItem, environment: Environment) -> Fields:
    key = _key(item, environment)
    revoked_at = key.revoked_at.isoformat() if key.revoked_at else None
    now = {**_audit_fields(key), "revoked_at": revoked_at}
    return {name: now[name] for name in item.before or {} if name in now}


def _create(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> NewKey:
    wanted = dict(item.after or {})
    seconds, kind = wanted.pop("expires_in"), KeyKind(wanted.pop("kind"))
    return api_key_create(
        environment=environment, kind=kind, **wanted, actor=actor, reason=reason,
        expires_in=timedelta(seconds=seconds) if seconds else None,
    )  # fmt: skip


def _rotate(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> NewKey:
    grace = timedelta(seconds=(item.after or {})["grace"])
    return api_key_rotate(_key(item, environment), grace=grace, actor=actor, reason=reason)


def _revoke(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> ApiKey:
    return api_key_revoke(_key(item, environment), actor=actor, reason=reason)


register_perform(AuditAction.API_KEY_CREATED, role=Role.ADMIN, current=_none, make=_create)
register_perform(AuditAction.API_KEY_ROTATED, role=Role.ADMIN, current=_present, make=_rotate)
register_perform(AuditAction.API_KEY_REVOKED, role=Role.ADMIN, current=_present, make=_revoke)
