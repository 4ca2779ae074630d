"""The per-process cache of an environment: settings, keys, and compiled flags and segments.

A snapshot is immutable and has the environment's `config_version`. Every statement under /v1 also
reads that version; if it differs, the snapshot is reloaded and the request restarts from
authentication. So a change is in force on the next request, in every process, without polling.

Loading is one SQL statement, so settings, version and parts are consistent.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from ilara_admin.core import db
from ilara_admin.models import Environment


@dataclass(frozen=True, slots=True)
class Key:
    id: int
    secret: bool
    name: str
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    environment_id: int
    version: int
    slug: str
    project_id: int
    tier: str
    namespace: UUID
    new_days: int
    at_risk_days: int
    churned_days: int
    currency: str
    public_keys_read_email: bool
    public_keys_restricted: bool
    keys: Mapping[bytes, Key]
    parts: Mapping[str, Any]


class Part(NamedTuple):
    """An app's part of the snapshot: a subselect with one JSON value for the environment `e`, and a
    function that compiles it. `compile` also gets the parts registered earlier."""

    sql: str
    compile: Callable[[Any, Mapping[str, Any]], Any]


PARTS: dict[str, Part] = {}
_snapshots: dict[int, Snapshot] = {}
_environment_of: dict[bytes, int] = {}
_loading = threading.Lock()


def register(name: str, sql: str, compile: Callable[[Any, Mapping[str, Any]], Any]) -> None:
    PARTS[name] = Part(sql, compile)


def of_digest(digest: bytes) -> Snapshot | None:
    """The snapshot of the environment of this key, or None for an unknown key.

    Unknown keys are not cached: a new key must work at once.
    """
    environment_id = _environment_of.get(digest)
    if environment_id is None:
        row = db.fetch_one(
            "SELECT environment_id FROM api_key WHERE digest = $1", [digest], safe_to_repeat=True
        )
        if row is None:
            return None
        environment_id = row[0]
        # The cached snapshot may be older than the key.
        snapshot = _snapshots.get(environment_id)
        if snapshot is None or digest not in snapshot.keys:
            return load(environment_id)
    return of_environment(environment_id)


def of_environment(environment_id: int) -> Snapshot:
    """The cached snapshot, loaded if missing. May be stale."""
    return _snapshots.get(environment_id) or load(environment_id)


def at_version(environment: Environment) -> Snapshot:
    """The snapshot that /v1 would use, for a caller that has just read the environment's row."""
    snapshot = of_environment(environment.pk)
    return snapshot if snapshot.version == environment.config_version else reload(snapshot)


def reload(stale: Snapshot) -> Snapshot:
    """A snapshot newer than `stale`. Threads with the same stale snapshot share one load."""
    with _loading:
        current = _snapshots.get(stale.environment_id)
        if current is not None and current is not stale:
            return current
        return _load(stale.environment_id)


def load(environment_id: int) -> Snapshot:
    with _loading:
        return _load(environment_id)


def clear_cache() -> None:
    """Empty the cache."""
    _snapshots.clear()
    _environment_of.clear()


class _KeyRow(msgspec.Struct):
    id: int
    kind: str
    name: str
    digest: str
    expires_at: datetime | None
    revoked_at: datetime | None


KEYS_SQL = """
    SELECT jsonb_agg(jsonb_build_object(
        'id', k.id, 'kind', k.kind, 'name', k.name, 'digest', encode(k.digest, 'hex'),
        'expires_at', k.expires_at, 'revoked_at', k.revoked_at))
    FROM api_key k WHERE k.environment_id = e.id"""


def _load(environment_id: int) -> Snapshot:
    parts = "".join(f", ({part.sql})" for part in PARTS.values())
    row = db.fetch_one(
        f"""SELECT e.config_version, e.slug, e.namespace, e.new_days, e.at_risk_days,
                   e.churned_days, e.currency, e.public_keys_read_email,
                   e.public_keys_restricted, p.id, p.tier, ({KEYS_SQL}){parts}
            FROM environment e JOIN project p ON p.id = e.project_id WHERE e.id = $1""",
        [environment_id],
        safe_to_repeat=True,
    )
    if row is None:
        raise LookupError(f"No environment {environment_id}.")
    (
        version, slug, namespace, new_days, at_risk_days, churned_days, currency,
        reads_email, restricted, project_id, tier, key_rows, *part_rows,
    ) = row  # fmt: skip
    keys = {
        bytes.fromhex(key.digest): Key(
            key.id, key.kind == "secret", key.name, key.expires_at, key.revoked_at
        )
        for key in msgspec.json.decode(key_rows or "[]", type=list[_KeyRow])
    }
    compiled: dict[str, Any] = {}
    for (name, part), rows in zip(PARTS.items(), part_rows, strict=True):
        compiled[name] = part.compile(msgspec.json.decode(rows or "[]"), compiled)
    snapshot = Snapshot(
        environment_id=environment_id,
        version=version,
        slug=slug,
        project_id=project_id,
        tier=tier,
        namespace=namespace,
        new_days=new_days,
        at_risk_days=at_risk_days,
        churned_days=churned_days,
        currency=currency,
        public_keys_read_email=reads_email,
        public_keys_restricted=restricted,
        keys=keys,
        parts=compiled,
    )
    _snapshots[environment_id] = snapshot
    _environment_of.update(dict.fromkeys(keys, environment_id))
    return snapshot
