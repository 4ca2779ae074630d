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
from types import GenericAlias
from typing import Any
from uuid import UUID

import msgspec

from ilara_admin.core import db, tokens
from ilara_admin.core.networks import Network, parse_network
from ilara_admin.core.structs import decoder
from ilara_admin.models import Environment, KeyKind, KeyScope


@dataclass(frozen=True, slots=True)
class Key:
    """`scopes` of a public key are what the environment lets public keys do. No `networks`: it may
    be used from anywhere."""

    id: int
    secret: bool
    name: str
    expires_at: datetime | None
    revoked_at: datetime | None
    scopes: frozenset[str]
    networks: tuple[Network, ...]


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
    personal_attributes: frozenset[str]
    personal_properties: frozenset[str]
    keys: Mapping[bytes, Key]
    parts: "Parts"


@dataclass(frozen=True, slots=True, eq=False)
class CachePart[T]:
    """An app's part of each snapshot."""

    sql: str
    load: Callable[[str, "Parts"], T]

    def of(self, snapshot: Snapshot) -> T:
        return self.among(snapshot.parts)

    def among(self, parts: "Parts") -> T:
        value: T = parts[self]
        return value


type Parts = Mapping[CachePart[Any], Any]

_parts: list[CachePart[Any]] = []
_snapshots: dict[int, Snapshot] = {}
_environment_of: dict[bytes, int] = {}
_loading = threading.Lock()


def register_part[R, T](
    sql: str, row: type[R], compile: Callable[[list[R], Parts], T]
) -> CachePart[T]:
    """Add a part to the snapshots that are loaded from now on.

    `sql` is a subselect with one JSON array or NULL for the environment `e`; `row` is the type of
    its items. `compile` also gets the parts registered earlier.
    """
    decode = decoder(GenericAlias(list, (row,))).decode
    part = CachePart(sql, lambda rows, parts: compile(decode(rows), parts))
    _parts.append(part)
    return part


def of_token(token: str) -> tuple[Snapshot, Key] | None:
    """The key of this token and the snapshot of its environment, or None for an unknown token.

    Unknown keys are not cached: a new key must work at once.
    """
    digest = tokens.digest(token)
    environment_id = _environment_of.get(digest)
    if environment_id is None:
        if not tokens.is_well_formed(token):
            return None
        row = db.fetch_one(
            "SELECT environment_id FROM api_key WHERE digest = $1", [digest], safe_to_repeat=True
        )
        if row is None:
            return None
        environment_id = row[0]
        with _loading:
            # The cached snapshot may be older than the key.
            found = _snapshots.get(environment_id)
            if found is None or digest not in found.keys:
                _load(environment_id)
    snapshot = of_environment(environment_id)
    key = snapshot.keys.get(digest)
    return None if key is None else (snapshot, key)


def of_environment(environment_id: int) -> Snapshot:
    """The cached snapshot, loaded if missing. May be stale. Threads that miss it share one load:
    after a start, all requests of the first moments do."""
    snapshot = _snapshots.get(environment_id)
    if snapshot is None:
        with _loading:
            snapshot = _snapshots.get(environment_id) or _load(environment_id)
    return snapshot


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
    scopes: list[str]
    networks: list[str]


_decode_keys = decoder(list[_KeyRow]).decode
PUBLIC_SCOPES = frozenset({KeyScope.READ.value, KeyScope.TRACK.value, KeyScope.EVALUATE.value})

KEYS_SQL = """
    SELECT jsonb_agg(jsonb_build_object(
        'id', k.id, 'kind', k.kind, 'name', k.name, 'digest', encode(k.digest, 'hex'),
        'expires_at', k.expires_at, 'revoked_at', k.revoked_at,
        'scopes', k.scopes, 'networks', k.networks))
    FROM api_key k WHERE k.environment_id = e.id"""


def _load(environment_id: int) -> Snapshot:
    parts = "".join(f", ({part.sql})" for part in _parts)
    row = db.fetch_one(
        f"""SELECT e.config_version, e.slug, e.namespace, e.new_days, e.at_risk_days,
                   e.churned_days, e.currency, e.public_keys_read_email,
                   e.public_keys_restricted, e.personal_attributes, e.personal_properties,
                   p.id, p.tier, ({KEYS_SQL}){parts}
            FROM environment e JOIN project p ON p.id = e.project_id WHERE e.id = $1""",
        [environment_id],
        safe_to_repeat=True,
    )
    if row is None:
        raise LookupError(f"No environment {environment_id}.")
    (
        version, slug, namespace, new_days, at_risk_days, churned_days, currency,
        reads_email, restricted, attributes, properties, project_id, tier, key_rows, *part_rows,
    ) = row  # fmt: skip
    public_scopes = PUBLIC_SCOPES | {KeyScope.PERSONAL.value} if reads_email else PUBLIC_SCOPES
    keys = {
        bytes.fromhex(key.digest): _key(key, public_scopes)
        for key in _decode_keys(key_rows or "[]")
    }
    loaded: dict[CachePart[Any], Any] = {}
    for part, rows in zip(_parts, part_rows, strict=True):
        loaded[part] = part.load(rows or "[]", loaded)
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
        personal_attributes=frozenset(msgspec.json.decode(attributes)),
        personal_properties=frozenset(msgspec.json.decode(properties)),
        keys=keys,
        parts=loaded,
    )
    _snapshots[environment_id] = snapshot
    _environment_of.update(dict.fromkeys(keys, environment_id))
    return snapshot


def _key(row: _KeyRow, public_scopes: frozenset[str]) -> Key:
    secret = row.kind == KeyKind.SECRET
    return Key(
        id=row.id,
        secret=secret,
        name=row.name,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        scopes=frozenset(row.scopes) if secret else public_scopes,
        networks=tuple(map(parse_network, row.networks)),
    )
