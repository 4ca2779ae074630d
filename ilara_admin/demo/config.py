"""The segments, metrics and flags of the sample game, with their history.

Each change goes through the services, oldest first, with a sample author, and is then backdated.
Existing segments, metrics and flags with the same keys stay unchanged.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.utils import timezone
from msgspec.structs import replace

from flags import services as flag_services
from flags.details import Link
from flags.engine.bucketing import reweight
from flags.engine.document import (
    EVERYBODY,
    FlagDocument,
    Prerequisite,
    Ramp,
    Rule,
    ScheduleStep,
    ValueType,
    Variant,
    boolean_document,
)
from flags.models import Flag, FlagRevision, Metric
from flags.results.metrics import metric_create
from flags.shadow import flag_archive_later
from ilara_admin.core.audit import Actor
from ilara_admin.models import AuditEntry, Environment
from segments.models import Segment
from segments.services import segment_create

ANA, BEN, CHLOE, DEV = (f"{name} (sample)" for name in ("Ana", "Ben", "Chloe", "Dev"))


def _all(*conditions: dict[str, Any] | tuple[str, str, Any], operator: str = "AND") -> Any:
    """A group of conditions. A tuple is (field, operator, value)."""
    return {
        "operator": operator,
        "conditions": [
            dict(zip(("field", "operator", "value"), part, strict=True))
            if isinstance(part, tuple) else part
            for part in conditions
        ],
    }  # fmt: skip


# Key, name, description, rule.
SEGMENTS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("whales", "Whales", "Spent 100 or more.", _all(("total_revenue", ">=", 100))),
    ("payers", "Payers", "At least one purchase.", _all(("is_payer", "==", True))),
    ("lapsing-payers", "Lapsing payers", "Payers who have been inactive for a week or more.",
     _all(("is_payer", "==", True), ("lifecycle_stage", "in", ["at_risk", "churned"]))),
    ("android-players", "Android players", "The client reports the platform android.",
     _all(("platform", "==", "android"))),
    ("new-players", "New players", "First seen less than a week ago.",
     _all(("lifecycle_stage", "==", "new"))),
    ("europe", "Europe", "Served from Frankfurt.",
     _all(("country", "in", ["DE", "GB", "FR", "PL", "ES", "TR"]))),
    ("engaged-core", "Engaged core", "20 or more sessions, level 30 or VIP, and not churned.",
     _all(("session_count", ">=", 20),
          _all(("level", ">=", 30), ("is_vip", "==", True), operator="OR"),
          _all(("lifecycle_stage", "==", "churned"), operator="NOT"))),
    ("stuck", "Stuck", "Retries levels repeatedly and completes at most one a week.",
     _all({"event": "level_fail", "operator": ">=", "value": 3, "within": "7d",
           "where": _all(("retry_count", ">=", 3))},
          {"event": "level_complete", "operator": "<=", "value": 1, "within": "7d"})),
    ("personal-care", "Personal care", "Whales and the engaged core, before they lapse.",
     _all(("segment", "in", ["whales", "engaged-core"]),
          ("segment", "not_in", ["lapsing-payers"]))),
    ("old-builds", "Old builds", "Active in the last 14 days on a version before 2.1.0.",
     _all(("app_version", "semver_lt", "2.1.0"), ("last_seen_at", "within_last", "14d"))),
)  # fmt: skip


# Key, name, direction, unit, definition.
METRICS: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("sessions", "Sessions per player", "up", "sessions", {"kind": "sessions"}),
    ("revenue", "Revenue per player", "up", "", {"kind": "revenue", "percentile": 99.9}),
    ("payer-conversion", "Payer conversion", "up", "", {"kind": "payers"}),
    ("day-1-retention", "Day-1 retention", "up", "", {"kind": "retention", "window_days": 1}),
    ("level-completions", "Level completions", "up", "levels",
     {"kind": "count", "event": "level_complete", "window_days": 7}),
    ("level-failures", "Failed levels", "down", "levels", {"kind": "count", "event": "level_fail"}),
)  # fmt: skip


# --- Flag documents and edits ---------------------------------------------------------------------


def _on(*rules: Rule) -> FlagDocument:
    return boolean_document(enabled=True, rules=rules)


def _valued(value_type: ValueType, variants: dict[str, Any], *rules: Rule) -> FlagDocument:
    """The first variant is the default and the off value."""
    first = next(iter(variants))
    return FlagDocument(
        value_type=value_type, default=first, off=first, enabled=True, rules=rules,
        variants=tuple(Variant(key=key, value=value) for key, value in variants.items()),
    )  # fmt: skip


def _split(**percents: int) -> Rule:
    return _reweighted(Rule(id="experiment", name="Experiment", split=()), percents)


def _reweighted(rule: Rule, percents: dict[str, int]) -> Rule:
    weights = {variant: percent * 1000 for variant, percent in percents.items()}
    return replace(rule, split=reweight(rule.split or (), weights))


type Edit = Callable[[FlagDocument], FlagDocument]


def _first(**fields: Any) -> Edit:
    return lambda document: replace(
        document, enabled=True, rules=(replace(document.rules[0], **fields), *document.rules[1:])
    )


def _weights(**percents: int) -> Edit:
    return lambda document: replace(document, rules=(_reweighted(document.rules[0], percents),))


def _add(rule: Rule) -> Edit:
    return lambda document: replace(document, rules=(*document.rules, rule))


CLOUD = boolean_document(
    enabled=True,
    rules=(Rule(id="everyone", name="Everyone", variant="enabled", rollout=10_000),),
)
MATCHMAKER = _on(Rule(id="all", name="Everyone", variant="enabled"))
WINTER = _on(Rule(id="all", name="Everyone", variant="enabled"))
SHOP = boolean_document(rules=(Rule(id="everyone", name="Everyone", variant="enabled", rollout=0),))
ADS = _on(
    Rule(id="payers", name="Never for payers", segment="payers", variant="disabled"),
    Rule(id="rest", name="Everyone else", variant="enabled", rollout=50_000),
)
VULKAN = _on(
    Rule(id="recent", name="Recent builds", segment="android-players", variant="enabled",
         conditions=_all(("app_version", "in", ["2.1.3", "2.2.0"])), rollout=10_000)
)  # fmt: skip
COPY = _valued(
    ValueType.STRING,
    {"control": "Welcome!", "story": "Your village needs you.", "short": "Tap to begin."},
    _split(control=90, story=5, short=5),
)
REGION = _valued(
    ValueType.STRING,
    {"us-east": "us-east", "eu-central": "eu-central", "sa-east": "sa-east"},
    Rule(id="eu", name="Europe", segment="europe", variant="eu-central"),
)
BRAZIL = Rule(id="br", name="Brazil", conditions=_all(("country", "==", "BR")), variant="sa-east")
ENERGY = _valued(
    ValueType.NUMBER,
    {"normal": 10, "quick": 6, "instant": 2.5},
    Rule(id="whales", name="Whales", segment="whales", variant="instant"),
    Rule(id="new", name="First week", segment="new-players", variant="quick", rollout=50_000),
)
PRICE = _valued(ValueType.NUMBER, {"regular": 4.99, "lower": 2.99}, _split(regular=50, lower=50))
BONUS = _valued(
    ValueType.JSON,
    {
        "standard": {"coins": 100, "gems": 1, "streak_days": 7},
        "generous": {"coins": 400, "gems": 10, "streak_days": 5},
    },
    Rule(id="back", name="Win them back", segment="lapsing-payers", variant="generous"),
)
CORE = Rule(
    id="core", name="Core players", segment="engaged-core", variant="generous", rollout=20_000
)


def _raids(today: datetime) -> FlagDocument:
    """A flag with a prerequisite and a scheduled rollout."""
    steps = [
        ScheduleStep(today + timedelta(day), share) for day, share in ((2, 50_000), (5, 100_000))
    ]
    rule = Rule(id="raids", name="Everyone, in steps", variant="enabled", rollout=10_000,
                steps=tuple(steps))  # fmt: skip
    needed = Prerequisite("match-region", ("eu-central", "us-east"))
    return replace(_on(rule), prerequisites=(needed,))


SEGMENT_DAYS = 28  # since then there are segments
METRIC_DAYS = 27.6
SHADOW_DAYS = 7
# In how many days a flag should end.
ENDS = {"cloud-saves": -20, "new-shop": 45, "onboarding-copy": 20, "starter-price": 30}
TAGS: dict[str, tuple[str, ...]] = {
    "cloud-saves": ("accounts",), "legacy-matchmaker": ("servers",),
    "daily-bonus": ("economy", "retention"), "energy-minutes": ("economy",),
    "guild-raids": ("season-3", "social"), "interstitial-ads": ("ads", "economy"),
    "match-region": ("servers",), "new-shop": ("economy", "shop"),
    "onboarding-copy": ("onboarding", "season-3"), "starter-price": ("economy", "shop"),
    "vulkan-renderer": ("android",), "winter-event": ("event",),
}  # fmt: skip
LINKS: dict[str, tuple[Link, ...]] = {
    "onboarding-copy": (
        {"label": "Ticket", "url": "https://tracker.example/GAME-812"},
        {"label": "Design", "url": "https://design.example/onboarding"},
    ),
}


# --- History --------------------------------------------------------------------------------------


class DemoStep(NamedTuple):
    """One revision of a flag. `what` is the name, description and document of a new flag; an edit
    of the document; the number of the revision to restore; `off`; `archive`; or `shadow`, to
    archive it in SHADOW_DAYS."""

    days_ago: float
    author: str
    key: str
    what: tuple[str, str, FlagDocument] | Edit | int | str
    reason: str = ""


def history(now: datetime) -> tuple[DemoStep, ...]:
    today = now.replace(hour=9, minute=0, second=0, microsecond=0)
    ramp = Ramp(40_000, EVERYBODY, today - timedelta(1), today + timedelta(6))
    return (
        DemoStep(86.4, DEV, "cloud-saves", ("Cloud saves", "Saves follow the account.", CLOUD)),
        DemoStep(74.3, DEV, "cloud-saves", _first(rollout=EVERYBODY), "No save was lost"),
        DemoStep(62.5, BEN, "legacy-matchmaker", ("Old matchmaker", "Used before version 2.1.",
               MATCHMAKER)),
        DemoStep(27.3, ANA, "winter-event", ("Winter event", "Snow, sleighs, a quest.", WINTER)),
        DemoStep(26.9, DEV, "match-region", ("Match region", "Where matches are hosted.", REGION)),
        DemoStep(24.2, ANA, "onboarding-copy", ("Onboarding copy", "The first sentence.", COPY)),
        DemoStep(22.1, BEN, "new-shop", ("New shop", "The shop with larger tiles.", SHOP)),
        DemoStep(21.8, BEN, "new-shop", _first(rollout=5_000), "Check crash rates first"),
        DemoStep(20.4, DEV, "match-region", _add(BRAZIL), "The São Paulo region is available"),
        DemoStep(19.6, CHLOE, "daily-bonus", ("Daily bonus", "The daily login reward.", BONUS)),
        DemoStep(18.3, CHLOE, "energy-minutes", ("Energy refill", "Minutes per point.", ENERGY)),
        DemoStep(17.0, ANA, "onboarding-copy", _weights(control=50, story=25, short=25), "Stable"),
        DemoStep(14.5, BEN, "new-shop", _first(rollout=50_000), "Crash rates are flat"),
        DemoStep(14.2, DEV, "new-shop", 2, "Checkout is slow at 50 %"),
        DemoStep(12.7, ANA, "winter-event", "off", "The event has ended"),
        DemoStep(12.1, DEV, "vulkan-renderer", ("Vulkan renderer", "Android only.", VULKAN)),
        DemoStep(10.4, CHLOE, "starter-price", ("Starter price", "In USD, as shown.", PRICE)),
        DemoStep(9.2, BEN, "interstitial-ads", ("Interstitial ads", "Between two levels.", ADS)),
        DemoStep(7.9, CHLOE, "daily-bonus", _add(CORE), "Reward the core, carefully"),
        DemoStep(6.6, DEV, "vulkan-renderer", _first(rollout=40_000), "No more black screens"),
        DemoStep(5.8, BEN, "new-shop", _first(rollout=10_000), "Checkout is fixed"),
        DemoStep(4.7, ANA, "onboarding-copy", _weights(control=40, story=40, short=20)),
        DemoStep(3.5, CHLOE, "interstitial-ads", "off", "Day-1 retention dropped by 2 points"),
        DemoStep(2.4, ANA, "winter-event", "archive", "Until next year"),
        DemoStep(2.1, BEN, "legacy-matchmaker", "shadow", "Version 2.1 does not ask for it"),
        DemoStep(1.2, BEN, "new-shop", _first(rollout=25_000), "25 % over the weekend"),
        DemoStep(1.1, DEV, "vulkan-renderer", _first(rollout=EVERYBODY, ramp=ramp), "Over a week"),
        DemoStep(1.0, ANA, "guild-raids", ("Guild raids", "Twenty players, one dragon.",
               _raids(today)), "Servers allow 10 % for now"),
    )  # fmt: skip


def working_hour(now: datetime, days_ago: float) -> datetime:
    """The day is the whole part of `days_ago`, the time is between 17:00 (fraction 0) and 9:00 UTC
    (fraction 1). With `days_ago` >= 1, the result is always in the past."""
    day = (now - timedelta(days=int(days_ago))).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(hours=17 - 8 * (days_ago % 1))


def config_fill(
    environment: Environment, actor: Actor, now: datetime, after: Mapping[str, Callable[[], None]]
) -> None:
    """Create the segments, the metrics, the flags with their history, and the segment of all sample
    players. `after` are called once the flag with their key exists."""
    used = set(Segment.objects.filter(environment=environment).values_list("key", flat=True))
    taken = set(Flag.objects.of(environment).values_list("key", flat=True))
    steps = [step for step in history(now) if step.key not in taken]
    older = [step for step in steps if step.days_ago > SEGMENT_DAYS]  # these name no segment
    for step in older:
        _take(environment, step, now)
    for key, name, description, rule in SEGMENTS:
        if key not in used:
            segment = segment_create(
                environment=environment, key=key, name=name, description=description, rule=rule,
                actor=Actor(ANA),
            )  # fmt: skip
            moment = working_hour(now, SEGMENT_DAYS)
            Segment.objects.filter(pk=segment.pk).update(created_at=moment, updated_at=moment)
            _backdate_audit(environment, moment)
    measured = set(Metric.objects.filter(environment=environment).values_list("key", flat=True))
    for key, name, direction, unit, definition in METRICS:
        if key not in measured:
            metric = metric_create(
                environment=environment, key=key, definition=definition, direction=direction,
                name=name, unit=unit, owner=CHLOE, actor=Actor(CHLOE),
            )  # fmt: skip
            moment = working_hour(now, METRIC_DAYS)
            Metric.objects.filter(pk=metric.pk).update(created_at=moment, updated_at=moment)
            _backdate_audit(environment, moment)
    for step in steps[len(older) :]:
        _take(environment, step, now)
        if step.key in after and isinstance(step.what, tuple):
            after[step.key]()
    if "sample-players" not in used:
        segment_create(
            environment=environment, key="sample-players", name="Sample players",
            description="All players of the sample game.", rule=_all(("sample", "==", True)),
            actor=actor, reason="Filled the sample game",
        )  # fmt: skip


def _take(environment: Environment, step: DemoStep, now: datetime) -> None:
    flag, moment = _apply(environment, step, now), working_hour(now, step.days_ago)
    if step.what == "shadow":  # no revision
        _backdate_audit(environment, moment)
    else:
        _backdate(flag, moment)


def _apply(environment: Environment, change: DemoStep, now: datetime) -> Flag:
    actor, reason = Actor(change.author), change.reason
    if isinstance(change.what, tuple):
        name, description, document = change.what
        ends = ENDS.get(change.key)
        return flag_services.flag_create(
            environment=environment, key=change.key, document=document, actor=actor, name=name,
            description=description, owner=actor.name, tags=TAGS.get(change.key, ()),
            links=LINKS.get(change.key, ()), reason=reason,
            expected_end=None if ends is None else (now + timedelta(ends)).date(),
        )  # fmt: skip
    flag = Flag.objects.get(environment=environment, key=change.key)
    if change.what == "off":
        return flag_services.flag_set_enabled(flag, False, actor=actor, reason=reason)[0]
    if change.what == "archive":
        return flag_services.flag_set_archived(flag, True, actor=actor, reason=reason)[0]
    if change.what == "shadow":
        at = (timezone.now() + timedelta(days=SHADOW_DAYS)).replace(second=0, microsecond=0)
        return flag_archive_later(flag, at, actor=actor, reason=reason)[0]
    if isinstance(change.what, int):
        return flag_services.flag_restore(
            flag, change.what, base_revision=flag.revision, actor=actor, reason=reason
        )[0]
    assert callable(change.what)
    return flag_services.flag_update(
        flag, document=change.what(flag.spec), base_revision=flag.revision, actor=actor,
        reason=reason,
    )[0]  # fmt: skip


def _backdate(flag: Flag, moment: datetime) -> None:
    """Set the time of the flag's last change."""
    rows = Flag.objects.filter(pk=flag.pk)
    FlagRevision.objects.filter(flag=flag, number=flag.revision).update(created_at=moment)
    rows.update(**{"archived_at" if flag.archived_at else "updated_at": moment})
    if flag.revision == 1:
        rows.update(created_at=moment)
    _backdate_audit(flag.environment, moment)


def _backdate_audit(environment: Environment, moment: datetime) -> None:
    newest = AuditEntry.objects.filter(environment=environment).order_by("-id").values("pk")[:1]
    AuditEntry.objects.filter(pk__in=newest).update(created_at=moment)
