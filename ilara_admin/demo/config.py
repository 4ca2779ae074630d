"""The segments and flags of the sample game, with a history of some weeks.

Every change goes through the services, oldest first, in the name of sample authors; then it is
dated back, so that a flag's history reads like that of a game in operation. Keys that the
environment already uses for something else are left alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from flags.engine.bucketing import reweight
from flags.engine.document import EVERYBODY as WHOLE
from flags.engine.document import (
    FlagDocument,
    Prerequisite,
    Ramp,
    Rule,
    ScheduleStep,
    ValueType,
    Variant,
    boolean_document,
)
from flags.models import Flag, FlagRevision
from flags.services import (
    flag_create,
    flag_restore,
    flag_set_archived,
    flag_set_enabled,
    flag_update,
)
from ilara_admin.core.audit import Actor
from ilara_admin.models import AuditEntry, Environment
from segments.models import Segment
from segments.services import segment_create

ANA, BEN, CHLOE, DEV = (f"{name} (sample)" for name in ("Ana", "Ben", "Chloe", "Dev"))

type Act = Callable[[Environment, Actor, Change], Flag]


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a flag's history."""

    days_ago: float
    author: str
    key: str
    act: Act
    reason: str = ""


# --- Segments -----------------------------------------------------------------------------------


def _all(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"operator": "AND", "conditions": list(conditions)}


def _any(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"operator": "OR", "conditions": list(conditions)}


def _is(field: str, operator: str, value: Any) -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": value}


EUROPE = ["DE", "GB", "FR", "PL", "ES", "TR"]
# Key, name, description, rule.
SEGMENTS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("whales", "Whales", "Spent 100 or more.", _all(_is("total_revenue", ">=", 100))),
    ("payers", "Payers", "Bought at least once.", _all(_is("is_payer", "==", True))),
    (
        "lapsing-payers",
        "Lapsing payers",
        "Paid before, and have been silent for a week or more.",
        _all(_is("is_payer", "==", True), _is("lifecycle_stage", "in", ["at_risk", "churned"])),
    ),
    (
        "android-players",
        "Android players",
        "By the platform that the client reports.",
        _all(_is("platform", "==", "android")),
    ),
    (
        "new-players",
        "New players",
        "First seen less than a week ago.",
        _all(_is("lifecycle_stage", "==", "new")),
    ),
    ("europe", "Europe", "Served from Frankfurt.", _all(_is("country", "in", EUROPE))),
    (
        "engaged-core",
        "Engaged core",
        "Plays a lot, has come far or spends, and is still around.",
        _all(
            _is("session_count", ">=", 20),
            _any(_is("level", ">=", 30), _is("is_vip", "==", True)),
            {"operator": "NOT", "conditions": [_is("lifecycle_stage", "==", "churned")]},
        ),
    ),
    (
        "stuck",
        "Stuck",
        "Tries one level again and again, and finishes next to none.",
        _all(
            {
                "event": "level_fail", "operator": ">=", "value": 3, "within": "7d",
                "where": _all(_is("retry_count", ">=", 3)),
            },
            {"event": "level_complete", "operator": "<=", "value": 1, "within": "7d"},
        ),
    ),
    (
        "personal-care",
        "Personal care",
        "Those who matter most, before they lapse.",
        _all(
            _is("segment", "in", ["whales", "engaged-core"]),
            _is("segment", "not_in", ["lapsing-payers"]),
        ),
    ),
    (
        "old-builds",
        "Old builds",
        "Still playing on a build from before the 2.1 protocol.",
        _all(_is("app_version", "semver_lt", "2.1.0"), _is("last_seen_at", "within_last", "14d")),
    ),
)  # fmt: skip


# --- Steps of a history -------------------------------------------------------------------------


def _create(document: FlagDocument, name: str, description: str) -> Act:
    def act(environment: Environment, actor: Actor, change: Change) -> Flag:
        return flag_create(
            environment=environment, key=change.key, document=document, actor=actor, name=name,
            description=description, owner=actor.name, reason=change.reason,
        )  # fmt: skip

    return act


def _edit(
    edit: Callable[[FlagDocument], FlagDocument],
) -> Act:
    def act(environment: Environment, actor: Actor, change: Change) -> Flag:
        flag = _flag(environment, change.key)
        return flag_update(
            flag, document=edit(flag.spec), base_revision=flag.revision, actor=actor,
            reason=change.reason,
        )  # fmt: skip

    return act


def _switch(enabled: bool) -> Act:
    return lambda environment, actor, change: flag_set_enabled(
        _flag(environment, change.key), enabled, actor=actor, reason=change.reason
    )


def _archive(environment: Environment, actor: Actor, change: Change) -> Flag:
    return flag_set_archived(
        _flag(environment, change.key), True, actor=actor, reason=change.reason
    )


def _restore(number: int) -> Act:
    def act(environment: Environment, actor: Actor, change: Change) -> Flag:
        flag = _flag(environment, change.key)
        return flag_restore(
            flag, number, base_revision=flag.revision, actor=actor, reason=change.reason
        )

    return act


def _flag(environment: Environment, key: str) -> Flag:
    return Flag.objects.get(environment=environment, key=key)


def _rollout(percent: int) -> Act:
    """The percentage of the first rule."""

    def edit(document: FlagDocument) -> FlagDocument:
        first = msgspec.structs.replace(document.rules[0], rollout=percent * 1000)
        rules = (first, *document.rules[1:])
        return msgspec.structs.replace(document, enabled=True, rules=rules)

    return _edit(edit)


def _weights(**percents: int) -> Act:
    """The split of the last rule, moving as few players as it can."""
    weights = {variant: percent * 1000 for variant, percent in percents.items()}

    def edit(document: FlagDocument) -> FlagDocument:
        rule = document.rules[-1]
        split = reweight(rule.split or (), weights)
        rules = (*document.rules[:-1], msgspec.structs.replace(rule, split=split))
        return msgspec.structs.replace(document, rules=rules)

    return _edit(edit)


def _document(
    value_type: ValueType, variants: dict[str, Any], *rules: Rule, enabled: bool = True
) -> FlagDocument:
    """The first variant is the default and the off value."""
    first = next(iter(variants))
    return FlagDocument(
        value_type=value_type,
        variants=tuple(Variant(key=key, value=value) for key, value in variants.items()),
        default=first,
        off=first,
        enabled=enabled,
        rules=rules,
    )


def _split(**percents: int) -> Rule:
    weights = {variant: percent * 1000 for variant, percent in percents.items()}
    return Rule(id="experiment", name="Experiment", split=reweight((), weights))


# --- Flags --------------------------------------------------------------------------------------

EVERYBODY = Rule(id="everybody", name="Everybody", variant="enabled", rollout=0)
SHOP = boolean_document(rules=(EVERYBODY,))
WINTER = boolean_document(
    enabled=True, rules=(Rule(id="all", name="Everybody", variant="enabled"),)
)
ADS = boolean_document(
    enabled=True,
    rules=(
        Rule(id="payers", name="Never for payers", segment="payers", variant="disabled"),
        Rule(id="rest", name="Everybody else", variant="enabled", rollout=50_000),
    ),
)
VULKAN = boolean_document(
    enabled=True,
    rules=(
        Rule(
            id="recent",
            name="Recent builds",
            segment="android-players",
            conditions=_all(_is("app_version", "in", ["2.1.3", "2.2.0"])),
            variant="enabled",
            rollout=10_000,
        ),
    ),
)
COPY = _document(
    ValueType.STRING,
    {"control": "Welcome!", "story": "Your village needs you.", "short": "Tap to begin."},
    _split(control=90, story=5, short=5),
)
REGION = _document(
    ValueType.STRING,
    {"us-east": "us-east", "eu-central": "eu-central", "sa-east": "sa-east"},
    Rule(id="eu", name="Europe", segment="europe", variant="eu-central"),
)
ENERGY = _document(
    ValueType.NUMBER,
    {"normal": 10, "quick": 6, "instant": 2.5},
    Rule(id="whales", name="Whales", segment="whales", variant="instant"),
    Rule(id="new", name="First week", segment="new-players", variant="quick", rollout=50_000),
)
PRICE = _document(ValueType.NUMBER, {"regular": 4.99, "lower": 2.99}, _split(regular=50, lower=50))
BONUS = _document(
    ValueType.JSON,
    {
        "standard": {"coins": 100, "gems": 1, "streak_days": 7},
        "generous": {"coins": 400, "gems": 10, "streak_days": 5},
    },
    Rule(id="back", name="Win them back", segment="lapsing-payers", variant="generous"),
)


def _with_brazil(document: FlagDocument) -> FlagDocument:
    brazil = Rule(
        id="br", name="Brazil", conditions=_all(_is("country", "==", "BR")), variant="sa-east"
    )
    return msgspec.structs.replace(document, rules=(*document.rules, brazil))


def _with_core(document: FlagDocument) -> FlagDocument:
    core = Rule(
        id="core", name="Core players", segment="engaged-core", variant="generous", rollout=20_000
    )
    return msgspec.structs.replace(document, rules=(*document.rules, core))


HISTORY = (
    Change(27.3, ANA, "winter-event", _create(WINTER, "Winter event", "Snow, sleighs, a quest.")),
    Change(26.9, DEV, "match-region", _create(REGION, "Match region", "Where matches are hosted.")),
    Change(24.2, ANA, "onboarding-copy", _create(COPY, "Onboarding copy", "The first sentence.")),
    Change(22.1, BEN, "new-shop", _create(SHOP, "New shop", "The shop with larger tiles.")),
    Change(21.8, BEN, "new-shop", _rollout(5), "First look at crash rates"),
    Change(20.4, DEV, "match-region", _edit(_with_brazil), "São Paulo is up"),
    Change(19.6, CHLOE, "daily-bonus", _create(BONUS, "Daily bonus", "What a day's login gives.")),
    Change(18.3, CHLOE, "energy-minutes", _create(ENERGY, "Energy refill", "Minutes per point.")),
    Change(17.0, ANA, "onboarding-copy", _weights(control=50, story=25, short=25), "Safe so far"),
    Change(14.5, BEN, "new-shop", _rollout(50), "Crash rates are flat"),
    Change(14.2, DEV, "new-shop", _restore(2), "Checkout is slow at 50 %"),
    Change(12.7, ANA, "winter-event", _switch(False), "The event has ended"),
    Change(12.1, DEV, "vulkan-renderer", _create(VULKAN, "Vulkan renderer", "Android only.")),
    Change(10.4, CHLOE, "starter-price", _create(PRICE, "Starter price", "In USD, as shown.")),
    Change(9.2, BEN, "interstitial-ads", _create(ADS, "Interstitial ads", "Between two levels.")),
    Change(7.9, CHLOE, "daily-bonus", _edit(_with_core), "Reward the core, carefully"),
    Change(6.6, DEV, "vulkan-renderer", _rollout(40), "No more black screens on Galaxy A54"),
    Change(5.8, BEN, "new-shop", _rollout(10), "Checkout is fixed"),
    Change(4.7, ANA, "onboarding-copy", _weights(control=40, story=40, short=20)),
    Change(3.5, CHLOE, "interstitial-ads", _switch(False), "Day-1 retention dropped by 2 points"),
    Change(2.4, ANA, "winter-event", _archive, "Until next year"),
    Change(1.2, BEN, "new-shop", _rollout(25), "A quarter, over the weekend"),
)


def _raids(now: datetime) -> Act:
    """A flag that waits for another and grows day by day."""
    steps = [
        ScheduleStep(now + timedelta(days=days), share)
        for days, share in ((2, 50_000), (5, 100_000))
    ]
    rule = Rule(
        id="raids", name="Everybody, step by step", variant="enabled", rollout=10_000,
        steps=tuple(steps),
    )  # fmt: skip
    document = msgspec.structs.replace(
        boolean_document(enabled=True, rules=(rule,)),
        prerequisites=(Prerequisite("match-region", ("eu-central", "us-east")),),
    )
    return _create(document, "Guild raids", "Twenty players, one dragon.")


def _ramped(now: datetime) -> Act:
    """The first rule rises evenly, from what it has to everybody."""

    def edit(document: FlagDocument) -> FlagDocument:
        rule = document.rules[0]
        ramp = Ramp(rule.rollout, 100_000, now - timedelta(days=1), now + timedelta(days=6))
        changed = msgspec.structs.replace(rule, rollout=WHOLE, ramp=ramp)
        return msgspec.structs.replace(document, rules=(changed, *document.rules[1:]))

    return _edit(edit)


def history(now: datetime) -> tuple[Change, ...]:
    today = now.replace(hour=9, minute=0, second=0, microsecond=0)
    return (
        *HISTORY,
        Change(1.1, DEV, "vulkan-renderer", _ramped(today), "Evenly over a week"),
        Change(1.0, ANA, "guild-raids", _raids(today), "Servers allow 10 % for now"),
    )


def config_fill(environment: Environment, actor: Actor, now: datetime) -> None:
    """Segments, then flags with their history, then what the sample is told apart by."""
    used = set(Segment.objects.filter(environment=environment).values_list("key", flat=True))
    for key, name, description, rule in SEGMENTS:
        if key not in used:
            segment = segment_create(
                environment=environment, key=key, name=name, description=description, rule=rule,
                actor=Actor(ANA),
            )  # fmt: skip
            moment = working_hour(now, 28)
            Segment.objects.filter(pk=segment.pk).update(created_at=moment, updated_at=moment)
            _date_audit(environment, moment)
    taken = set(Flag.objects.filter(environment=environment).values_list("key", flat=True))
    for change in history(now):
        if change.key not in taken:
            flag = change.act(environment, Actor(change.author), change)
            _date(flag, working_hour(now, change.days_ago))
    if "sample-players" not in used:
        segment_create(
            environment=environment, key="sample-players", name="Sample players",
            description="Everybody who was made up for the sample game.",
            rule=_all(_is("sample", "==", True)), actor=actor, reason="Filled the sample game",
        )  # fmt: skip


def working_hour(now: datetime, days_ago: float) -> datetime:
    """Whole days ago, between 17:00 (fraction 0) and 9:00 UTC (fraction 1). From one day on it has
    passed at any hour."""
    day = (now - timedelta(days=int(days_ago))).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(hours=17 - 8 * (days_ago % 1))


def _date(flag: Flag, moment: datetime) -> None:
    """The change that was just made to the flag happened at `moment`."""
    rows = Flag.objects.filter(pk=flag.pk)
    FlagRevision.objects.filter(flag=flag, number=flag.revision).update(created_at=moment)
    rows.update(**{"archived_at" if flag.archived_at else "updated_at": moment})
    if flag.revision == 1:
        rows.update(created_at=moment)
    _date_audit(flag.environment, moment)


def _date_audit(environment: Environment, moment: datetime) -> None:
    entry = AuditEntry.objects.filter(environment=environment).order_by("-id").first()
    assert entry
    AuditEntry.objects.filter(pk=entry.pk).update(created_at=moment)
