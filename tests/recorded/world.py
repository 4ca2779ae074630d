"""The project of the recorded requests. Keys, ids, salts and days are fixed."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.utils import timezone

from flags.engine.document import decode_document
from flags.models import Flag
from flags.overrides import override_set
from flags.services import flag_create, flag_set_archived
from ilara_admin.core import tokens
from ilara_admin.core.api_keys import api_key_revoke
from ilara_admin.core.changes import bump_config_version
from ilara_admin.core.projects import project_create
from ilara_admin.models import ApiKey, Environment, KeyKind, Tier
from ilara_admin.starter import environment_start
from players.aliases import player_alias_link
from players.models import Player, player_id_for
from segments.lists.services import ids_add
from segments.models import Segment
from segments.services import segment_create
from tests.factories import ACTOR, make_player

NAMESPACES = {name: UUID(int=number << 64 | 0x8000 << 48) for number, name in enumerate(
    ("live", "test", "free", "restricted"), start=1)}  # fmt: skip


def fixed_token(kind: str, slug: str, letter: str) -> str:
    random = letter * tokens.RANDOM_LENGTH
    return f"{kind}_{slug}_{random}{tokens.checksum(random)}"


TOKENS = {
    "public": fixed_token("pk", "live", "A"),
    "secret": fixed_token("sk", "live", "B"),
    "revoked": fixed_token("pk", "live", "C"),
    "expired": fixed_token("pk", "live", "D"),
    "expiring": fixed_token("sk", "live", "E"),
    "other public": fixed_token("pk", "test", "F"),
    "other secret": fixed_token("sk", "test", "G"),
    "free": fixed_token("pk", "live", "H"),
    "restricted": fixed_token("pk", "live", "I"),
    "restricted secret": fixed_token("sk", "live", "J"),
    "unknown": fixed_token("pk", "live", "K"),
}


def player_id(external_id: str, namespace: str = "live") -> str:
    return str(player_id_for(NAMESPACES[namespace], external_id))


VETERAN, NEWCOMER, LOST = map(player_id, ("veteran", "newcomer", "lost"))
STRANGER = player_id("stranger", "test")

VARIANTS = [{"key": "a", "value": "A"}, {"key": "b", "value": "B"}]
LEVELS = {"operator": "AND", "conditions": [{"field": "level", "operator": ">=", "value": 40}]}
FLAGS: dict[str, dict[str, object]] = {
    "text": {"value_type": "string", "variants": VARIANTS, "default": "a", "off": "b"},
    "number": {
        "value_type": "number",
        "variants": [{"key": "low", "value": 1}, {"key": "high", "value": 2.5}],
        "default": "high",
        "off": "low",
    },
    "object": {
        "value_type": "json",
        "variants": [{"key": "only", "value": {"list": [1, None, "é"], "on": True}}],
        "default": "only",
        "off": "only",
    },
    "off": {"value_type": "string", "variants": VARIANTS, "default": "a", "off": "b",
            "enabled": False},
    "half": {
        "value_type": "string", "variants": VARIANTS, "default": "a", "off": "a",
        "rules": [{"id": "half", "variant": "b", "rollout": 50_000}],
    },
    "split": {
        "value_type": "string", "variants": VARIANTS, "default": "a", "off": "a",
        "rules": [{"id": "split", "conditions": LEVELS, "split": [
            {"variant": "a", "start": 0, "end": 30_000},
            {"variant": "b", "start": 30_000, "end": 100_000},
        ]}],
    },
    "later": {
        "value_type": "string", "variants": VARIANTS, "default": "a", "off": "a",
        "rules": [{"id": "later", "variant": "b", "start": "2090-01-01T00:00:00Z"}],
    },
    "waits": {
        "value_type": "string", "variants": VARIANTS, "default": "a", "off": "b",
        "prerequisites": [{"flag": "off", "variants": ["a"]}],
    },
    "follows": {
        "value_type": "string", "variants": VARIANTS, "default": "b", "off": "a",
        "prerequisites": [{"flag": "text", "variants": ["a"]}],
    },
    "counted": {
        "value_type": "string", "variants": VARIANTS, "default": "a", "off": "a",
        "rules": [{"id": "winner", "segment": "winners", "variant": "b"}],
    },
    "staged": {
        "value_type": "string", "variants": VARIANTS, "default": "a", "off": "a",
        "rules": [{"id": "stage", "variant": "b", "conditions": {"operator": "OR", "conditions": [
            {"field": "lifecycle_stage", "operator": "in", "value": ["new", "churned"]},
            {"field": "email_domain", "operator": "==", "value": "example.com"},
        ]}}],
    },
    "gone": {"value_type": "string", "variants": VARIANTS, "default": "a", "off": "b"},
}  # fmt: skip
SEGMENTS = {
    "winners": [{"event": "win", "operator": ">=", "value": 2, "within": "7d"}],
    "big-spenders": [{"field": "total_revenue", "operator": ">", "value": 10},
                     {"field": "is_payer", "operator": "==", "value": True}],
    "german-vips": [{"field": "country", "operator": "in", "value": ["DE", "AT"]},
                    {"field": "segment", "operator": "in", "value": ["beta-testers"]}],
    "new-version": [{"field": "client.version", "operator": "semver_gte", "value": "2.10.0"}],
    "chosen": [{"field": "external_id", "operator": "==", "value": "nobody"}],
}  # fmt: skip


def build() -> None:
    live = _environment("live", slug="live")
    _environment("test", slug="test", within=live)
    free = _environment("free", slug="live", tier=Tier.FREE)
    restricted = _environment("restricted", slug="live", public_keys_restricted=True)
    _fill(live)
    test = live.project.environments.get(slug="test")
    make_player(test, "stranger")
    make_player(free, "veteran")
    make_player(restricted, "veteran", attributes={"level": 45})
    day = timedelta(days=1)
    for name, token in TOKENS.items():
        home = {"other": test, "free": free, "restricted": restricted}.get(name.split()[0], live)
        if name != "unknown":
            _key(home, token, {"expired": -day, "expiring": day}.get(name))
    revoked = ApiKey.objects.get(digest=tokens.digest(TOKENS["revoked"]))
    api_key_revoke(revoked, actor=ACTOR)
    for each in (live, test, free, restricted):
        bump_config_version(each)


def _environment(
    name: str,
    *,
    slug: str,
    within: Environment | None = None,
    tier: Tier = Tier.ENTERPRISE,
    **columns: bool,
) -> Environment:
    project = within.project if within else project_create(
        name=f"Recorded {name}", slug=f"recorded-{name}", tier=tier, actor=ACTOR
    )  # fmt: skip
    environment = project.environments.get(slug=slug)
    changed = Environment.objects.filter(pk=environment.pk)
    changed.update(namespace=NAMESPACES[name], **columns)
    environment.refresh_from_db()
    environment_start(environment, ACTOR)
    return environment


def _key(environment: Environment, token: str, expires_in: timedelta | None) -> None:
    ApiKey.objects.create(
        environment=environment,
        kind=KeyKind.PUBLIC if token.startswith("pk") else KeyKind.SECRET,
        name="Recorded",
        prefix=token[:12],
        digest=tokens.digest(token),
        last_four=token[-4:],
        created_by_name=ACTOR.name,
        expires_at=timezone.now() + expires_in if expires_in else None,
    )


def _fill(live: Environment) -> None:
    now = datetime.now(UTC)
    veteran = make_player(
        live,
        "veteran",
        device_id="device-1",
        email="veteran@example.com",
        attributes={"level": 45, "country": "DE", "client": {"version": "2.10.3"}, "tags": ["a"]},
        first_seen_at=now - timedelta(days=90),
        last_seen_at=now - timedelta(days=2),
        active_days=20,
        session_count=31,
        purchase_count=2,
        total_revenue="14.98",
    )
    make_player(live, "newcomer", email="n@ex.example")
    make_player(
        live,
        "lost",
        first_seen_at=now - timedelta(days=200),
        last_seen_at=now - timedelta(days=60),
        active_days=5,
    )
    make_player(live, "odd/id é+%", attributes={"level": 39.5, "is_vip": True})
    player_alias_link(veteran, "veteran-alias", actor=ACTOR)
    for key, conditions in SEGMENTS.items():
        rule = {"operator": "AND", "conditions": conditions}
        segment_create(environment=live, key=key, name=key.title(), rule=rule, actor=ACTOR)
    chosen = Segment.objects.get(environment=live, key="chosen")
    ids_add(chosen, ["lost"], excluded=False, actor=ACTOR)
    for key, document in FLAGS.items():
        flag_create(
            environment=live,
            key=key,
            document=decode_document({"enabled": True, **document}),
            actor=ACTOR,
        )
    flags = {flag.key: flag for flag in Flag.objects.filter(environment=live)}
    for flag in flags.values():
        Flag.objects.filter(pk=flag.pk).update(salt=f"salt of {flag.key}")
    flag_set_archived(flags["gone"], True, actor=ACTOR)
    override_set(flags["half"], Player.objects.get(pk=NEWCOMER), "b", actor=ACTOR)
