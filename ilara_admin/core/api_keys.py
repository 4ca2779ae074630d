"""Writes to API keys. Each is one transaction."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from ilara_admin.core import tokens
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import (
    Fields,
    bump_config_version,
    entry_fields,
    merge_changes,
    register_perform,
    register_permanent,
    register_undo,
)
from ilara_admin.core.diff import Path, register_text
from ilara_admin.core.guard import Act, ChangeItem, register_acts
from ilara_admin.core.networks import network_text, parse_network
from ilara_admin.core.projects import checked_name
from ilara_admin.models import (
    ApiKey,
    AuditAction,
    AuditEntry,
    Environment,
    KeyKind,
    KeyScope,
    Role,
    default_scopes,
)

MAX_NETWORKS = 50


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key with its token, which is stored only as a digest."""

    key: ApiKey
    token: str


# --- Fields ---------------------------------------------------------------------------------------


def key_fields(key: ApiKey) -> dict[str, Any]:
    """The fields that `api_key_update` changes. Public keys have no scopes."""
    found = {"name": key.name, "networks": key.networks}
    return found if key.kind == KeyKind.PUBLIC else {**found, "scopes": key.scopes}


def checked_scopes(kind: KeyKind, scopes: Iterable[str]) -> list[str]:
    """Sorted, without repetition."""
    found = sorted(set(scopes))
    if kind == KeyKind.PUBLIC:
        if found:
            raise ValidationError({"scopes": "Only secret keys have scopes."})
        return []
    if unknown := [each for each in found if each not in KeyScope.values]:
        known = ", ".join(KeyScope.values)
        raise ValidationError(
            {"scopes": f"There is no scope “{unknown[0]}”. Use some of: {known}."}
        )
    if not found:
        raise ValidationError({"scopes": "Choose at least one scope: without, the key is useless."})
    return found


def _default_scopes(kind: KeyKind) -> list[str]:
    return default_scopes() if kind == KeyKind.SECRET else []


def checked_networks(lines: Iterable[str]) -> list[str]:
    """Networks as `parse_network` writes them, in the given order. Empty lines are skipped; an
    error names the line, counted from 1."""
    found: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not (text := line.strip()):
            continue
        try:
            found.append(network_text(parse_network(text)))
        except ValueError as error:
            raise ValidationError({"networks": f"Line {number}: {error}"}) from None
    if len(found) > MAX_NETWORKS:
        raise ValidationError({"networks": f"Use at most {MAX_NETWORKS} networks."})
    return list(dict.fromkeys(found))


def _in_words(path: Path, value: Any, at: datetime) -> str | None:
    if path not in (("scopes",), ("networks",)) or not isinstance(value, list):
        return None
    return ", ".join(value) or ("none" if path == ("scopes",) else "any")


register_text(_in_words)


# --- Writes ---------------------------------------------------------------------------------------


def _key_insert(
    environment: Environment, kind: KeyKind, name: str, actor: Actor,
    *, scopes: list[str], networks: list[str], expires_in: timedelta | None = None,
) -> NewKey:  # fmt: skip
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
        scopes=scopes,
        networks=networks,
        expires_at=timezone.now() + expires_in if expires_in else None,
    )
    return NewKey(key, token)


def _audit_fields(key: ApiKey) -> dict[str, Any]:
    expires_at = key.expires_at.isoformat() if key.expires_at else None
    return {**key_fields(key), "kind": key.kind, "key": key.masked, "expires_at": expires_at}


def _lasting(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what is different each time a key is issued."""
    return {name: value for name, value in fields.items() if name not in ("key", "expires_at")}


def _limits(key: ApiKey) -> dict[str, Any]:
    """What a successor is issued with."""
    return {name: value for name, value in key_fields(key).items() if name != "name"}


def _record(action: AuditAction, key: ApiKey, actor: Actor, **details: Any) -> AuditEntry:
    return audit_record(
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
    expires_in: timedelta | None = None, scopes: Iterable[str] | None = None,
    networks: Iterable[str] = (), reason: str = "",
) -> NewKey:  # fmt: skip
    """Issue a key. The token is returned only here. Without `scopes`, a secret key gets the default
    ones."""
    new = _key_insert(
        environment,
        kind,
        checked_name(name, "key"),
        actor,
        scopes=_default_scopes(kind) if scopes is None else checked_scopes(kind, scopes),
        networks=checked_networks(networks),
        expires_in=expires_in,
    )
    after = _audit_fields(new.key)
    seconds = expires_in.total_seconds() if expires_in else None
    _record(
        AuditAction.API_KEY_CREATED, new.key, actor, after=after, reason=reason,
        wanted={**_lasting(after), "expires_in": seconds},
    )  # fmt: skip
    bump_config_version(environment)
    return new


@transaction.atomic
def api_key_update(
    key: ApiKey, fields: Fields, *, actor: Actor, seen: Fields | None = None, reason: str = ""
) -> AuditEntry | None:
    """Change the name, scopes or networks of a key, in force on the next request.

    Returns None if nothing changed. Raises Conflict if a field differs from `seen`, and
    ValidationError if the key is expired or revoked.
    """
    key = _locked(key.pk)
    _check_usable(key)
    before = key_fields(key)
    wanted: dict[str, Any] = {name: value for name, value in fields.items() if name in before}
    if "name" in wanted:
        wanted["name"] = checked_name(wanted["name"], "key")
    if "networks" in wanted:
        wanted["networks"] = checked_networks(wanted["networks"])
    if "scopes" in wanted:
        wanted["scopes"] = checked_scopes(KeyKind(key.kind), wanted["scopes"])
    mine = merge_changes("api_key", key.pk, key.name, seen=seen, now=before, wanted=wanted)
    old, new = changed_fields(before, {**before, **mine})
    if not new:
        return None
    for name, value in new.items():
        setattr(key, name, value)
    key.save(update_fields=list(new))
    entry = _record(AuditAction.API_KEY_UPDATED, key, actor, before=old, after=new, reason=reason)
    bump_config_version(key.environment)
    return entry


def _locked(pk: int | str) -> ApiKey:
    keys = ApiKey.objects.select_for_update(of=("self",))
    return keys.select_related("environment__project").get(pk=pk)


def _check_usable(key: ApiKey) -> None:
    if key.state_at(timezone.now()) not in ("active", "expiring"):
        raise ValidationError(f"The key {key.masked} has expired or is revoked. Create a new one.")


@transaction.atomic
def api_key_revoke(key: ApiKey, *, actor: Actor, reason: str = "") -> ApiKey:
    """Revoke a key, in force on the next request. Revoking a revoked key changes nothing."""
    key = _locked(key.pk)
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
def api_key_rotate(
    key: ApiKey, *, grace: timedelta, actor: Actor, scopes: Iterable[str] | None = None,
    networks: Iterable[str] | None = None, reason: str = "",
) -> NewKey:  # fmt: skip
    """Issue a successor with the same scopes and networks, unless others are given; this key
    expires after `grace`, or at its own expiry if that is sooner.

    Raises ValidationError if the key is expired or revoked.
    """
    key, kind = _locked(key.pk), KeyKind(key.kind)
    _check_usable(key)
    new = _key_insert(
        key.environment,
        kind,
        key.name,
        actor,
        scopes=key.scopes if scopes is None else checked_scopes(kind, scopes),
        networks=key.networks if networks is None else checked_networks(networks),
    )
    before = _audit_fields(key)
    ends_at = timezone.now() + grace
    key.expires_at = min(key.expires_at, ends_at) if key.expires_at else ends_at
    key.successor = new.key
    key.save(update_fields=["expires_at", "successor"])
    old, changed = changed_fields(before, _audit_fields(key))
    _record(
        AuditAction.API_KEY_ROTATED,
        key,
        actor,
        before=old,
        after={**changed, "successor": new.key.masked},
        reason=reason,
        wanted={"grace": grace.total_seconds(), **_limits(new.key)},
    )
    bump_config_version(key.environment)
    return new


# --- Undo -----------------------------------------------------------------------------------------


def _now(entry: AuditEntry) -> Fields:
    return entry_fields(entry, key_fields(_locked(entry.object_id)))


def _restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    key = ApiKey.objects.get(pk=entry.object_id)
    return api_key_update(key, entry.before or {}, actor=actor, reason=reason)


register_undo(AuditAction.API_KEY_UPDATED, role=Role.ADMIN, current=_now, restore=_restore)
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
    wanted = dict(item.after or {})
    grace = timedelta(seconds=wanted.pop("grace"))
    return api_key_rotate(
        _key(item, environment), grace=grace, **wanted, actor=actor, reason=reason
    )


def _revoke(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> ApiKey:
    return api_key_revoke(_key(item, environment), actor=actor, reason=reason)


register_perform(AuditAction.API_KEY_CREATED, role=Role.ADMIN, current=_none, make=_create)
register_perform(AuditAction.API_KEY_ROTATED, role=Role.ADMIN, current=_present, make=_rotate)
register_perform(AuditAction.API_KEY_REVOKED, role=Role.ADMIN, current=_present, make=_revoke)
