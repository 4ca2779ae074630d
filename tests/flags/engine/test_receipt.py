"""The receipt explains the decision, and its nearest miss is correct."""

import re
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest

from flags.engine.document import Rule, boolean_document, check_document, decode_document
from flags.engine.evaluation import CompiledFlag, EvaluationContext, Reason, compile_flag, evaluate
from flags.engine.receipt import Receipt, RuleReceipt, nearest_miss, receipt_of
from flags.models import FlagRevision
from flags.overrides import override_set
from flags.services import flag_create, flag_set_archived, flag_set_enabled, flag_update
from ilara_admin.models import Environment
from segments.cache import SegmentRow, compile_segments, matchers_of, rules_of
from segments.language.compiler import Subject
from segments.language.parser import Condition, parse
from segments.language.trace import TracedLeaf, nearest, trace
from tests.api_client import FLAGS, Api, Reply
from tests.factories import ACTOR, make_player

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAYERS = [str(uuid5(UUID(int=0), str(number))) for number in range(500)]
BETA = {"operator": "AND", "conditions": [{"field": "level", "operator": ">=", "value": 10}]}
SEGMENTS = compile_segments([SegmentRow(1, "beta", "Beta", BETA)], {})


def flag_of(
    *rules: dict[str, Any], key: str = "f", others: Any = None, **more: Any
) -> CompiledFlag:
    data = {
        "value_type": "string",
        "variants": [{"key": each, "value": each.upper()} for each in ("none", "a", "b")],
        "default": "none",
        "off": "none",
        "enabled": True,
        "rules": list(rules),
        **more,
    }
    document = decode_document(data)
    check_document(document)
    return compile_flag(
        key=key,
        salt="salt",
        revision=7,
        document=document,
        archived=False,
        segments=matchers_of(SEGMENTS),
        segment_rules=rules_of(SEGMENTS),
        others=others or {},
        id=1,
    )


def context(player_id: str = PLAYERS[0], /, **attributes: Any) -> EvaluationContext:
    return EvaluationContext(player_id, Subject(attributes, {}, NOW), {}, NOW)


def receipt(flag: CompiledFlag, player_context: EvaluationContext) -> Receipt:
    return receipt_of(flag, player_context, evaluate(flag, player_context), SEGMENTS)


def when(*conditions: dict[str, Any], operator: str = "AND") -> dict[str, Any]:
    return {"operator": operator, "conditions": list(conditions)}


LEVEL = {"field": "level", "operator": ">=", "value": 10}


# --- Content --------------------------------------------------------------------------------------


def test_nearest_miss__is_one_sentence() -> None:
    flag = flag_of({"id": "r", "variant": "a", "conditions": when(LEVEL)})
    found = receipt(flag, context(level=9))
    assert found.nearest_miss == "Rule 1 does not match: level must be at least 10 (actual: 9)."
    assert receipt(flag, context()).nearest_miss == (
        "Rule 1 does not match: level must be at least 10 (actual: missing)."
    )
    assert receipt(flag, context(level=10)).nearest_miss is None


def test_nearest_miss__is_of_the_rule_with_fewest_failures() -> None:
    vip = {"field": "vip", "operator": "==", "value": True}
    flag = flag_of(
        {"id": "r1", "variant": "a", "conditions": when(LEVEL, vip), "rollout": 0},
        {"id": "r2", "variant": "b", "segment": "beta"},
    )
    assert receipt(flag, context(level=1)).nearest_miss == (
        "Rule 2 does not match: level must be at least 10 (actual: 1)."
    )


def test_percentage__has_bucket_and_threshold() -> None:
    player_context = context("550e8400-e29b-41d4-a716-446655440000")
    flag = flag_of({"id": "r", "variant": "a", "rollout": 81_912})
    (rule,) = receipt(flag, player_context).rules
    assert (rule.matched, rule.decides) == (True, False)
    assert (rule.rollout.bucket, rule.rollout.threshold, rule.rollout.passed) == (
        81_912,
        81_912,
        False,
    )
    assert rule.nearest_miss == (
        "Rule 1 does not match: its percentage must be above 81.912 %, the player's bucket "
        "(actual: 81.912 %)."
    )


def test_schedule__has_the_current_and_next_percentage() -> None:
    steps = [
        {"at": "2026-03-01T00:00:00Z", "rollout": 10_000},
        {"at": "2026-03-02T00:00:00Z", "rollout": 50_000},
    ]
    flag = flag_of({"id": "r", "variant": "a", "rollout": 0, "steps": steps})
    rollout = receipt(flag, context()).rules[0].rollout
    assert (rollout.threshold, rollout.next_threshold) == (10_000, 50_000)
    assert rollout.next_change_at == datetime(2026, 3, 2, tzinfo=UTC)
    assert rollout.schedule == (
        "0 %; 10 % from 1 Mar 2026, 00:00 UTC; 50 % from 2 Mar 2026, 00:00 UTC"
    )


def test_segment__has_conditions_and_lists() -> None:
    flag = flag_of({"id": "r", "variant": "a", "segment": "beta"})
    (rule,) = receipt(flag, context(level=9)).rules
    assert rule.segment
    result = msgspec.to_builtins(rule.segment)
    assert result == {
        "key": "beta",
        "passed": False,
        "list": None,
        "rule": {
            "operator": "AND",
            "passed": False,
            "conditions": [
                {
                    "condition": "level is at least 10",
                    "field": "level",
                    "expected": "is at least 10",
                    "actual": "9",
                    "passed": False,
                }
            ],
        },
    }
    listed = EvaluationContext(
        PLAYERS[0], Subject({"level": 45}, {}, NOW, lists={1: True}), {}, NOW
    )
    (rule,) = receipt(flag, listed).rules
    assert rule.segment
    assert rule.segment.list == "excluded"
    assert rule.nearest_miss == (
        "Rule 1 does not match: the player must not be on the exclude list of “beta”."
    )


def test_rules_after_the_deciding_one__are_included_but_not_the_nearest_miss() -> None:
    flag = flag_of(
        {"id": "r1", "variant": "a", "conditions": when(LEVEL)},
        {"id": "r2", "variant": "b"},
        {"id": "r3", "variant": "a", "conditions": when({**LEVEL, "value": 3})},
    )
    found = receipt(flag, context(level=2))
    assert [rule.decides for rule in found.rules] == [False, True, False]
    assert found.rules[1].variant_key == "b"
    assert found.nearest_miss == "Rule 1 does not match: level must be at least 10 (actual: 2)."
    assert found.flag_revision == 7


def test_prerequisites__have_their_variants() -> None:
    rule = {"id": "r", "variant": "a", "conditions": when(LEVEL)}
    others = {"base": flag_of(rule, key="base")}
    needed = [{"flag": "base", "variants": ["a"]}, {"flag": "gone", "variants": ["x"]}]
    flag = flag_of({"id": "r", "variant": "b"}, others=others, prerequisites=needed)
    found = receipt(flag, context(level=45))
    assert [(each.flag_key, each.variant_key, each.passed) for each in found.prerequisites] == [
        ("base", "a", True),
        ("gone", None, False),
    ]
    assert found.summary == "Off for this player: only if gone serves x."
    assert found.nearest_miss is None


# --- Correctness ----------------------------------------------------------------------------------

FIELDS = ["level", "country", "is_vip", "wins"]
OPERATORS: dict[str, list[Any]] = {
    "==": [1, "DE", True],
    "!=": [1, "DE", True],
    ">=": [1, 5, 10],
    "<": [1, 5, 10],
    "in": [["DE", "US"], [1, 2]],
    "not_in": [["DE", "US"], [1, 2]],
    "is_set": [None],
    "is_not_set": [None],
}
VALUES = [None, 0, 1, 2, 5, 7.5, 10, "DE", "US", "1", True, False]


def any_condition(random: Random) -> dict[str, Any]:
    operator = random.choice(list(OPERATORS))
    document = {"field": random.choice(FIELDS), "operator": operator}
    value = random.choice(OPERATORS[operator])
    return document if value is None else {**document, "value": value}


def any_group(random: Random, depth: int = 0) -> dict[str, Any]:
    parts = [
        any_group(random, depth + 1)
        if depth < 2 and random.random() < 0.3
        else any_condition(random)
        for _ in range(random.randint(1, 3))
    ]
    return when(*parts, operator=random.choice(["AND", "OR", "NOT"]))


def any_rule(random: Random, index: int) -> dict[str, Any]:
    document: dict[str, Any] = {"id": f"r{index}", "rollout": random.choice([0, 30_000, 100_000])}
    if random.random() < 0.7:
        document["conditions"] = any_group(random)
    if random.random() < 0.3:
        document["segment"] = "beta"
    if random.random() < 0.3:
        slices = [("a", 0, 40_000), ("b", 40_000, 100_000)]
        document["split"] = [{"variant": key, "start": s, "end": e} for key, s, e in slices]
    else:
        document["variant"] = random.choice("ab")
    if random.random() < 0.2:
        start, end = sorted(random.sample(range(0, 100_001, 10_000), 2))
        document["group"] = {"key": "economy", "salt": "s", "start": start, "end": end}
    if random.random() < 0.2:
        document["steps"] = [{"at": "2026-03-01T00:00:00Z", "rollout": 60_000}]
    return document


def any_player(random: Random) -> EvaluationContext:
    attributes = {field: random.choice(VALUES) for field in FIELDS if random.random() < 0.8}
    overrides = {1: random.choice(["a", "gone"])} if random.random() < 0.1 else {}
    lists = {1: random.random() < 0.5} if random.random() < 0.1 else {}
    subject = Subject(attributes, {}, NOW, lists=lists)
    return EvaluationContext(random.choice(PLAYERS), subject, overrides, NOW)


@pytest.mark.slow
def test_receipt__explains_10_000_random_decisions() -> None:
    random = Random(11)
    reasons = set()
    for _ in range(400):
        flag = flag_of(
            *(any_rule(random, index) for index in range(random.randint(0, 3))),
            enabled=random.random() < 0.95,
        )
        for _ in range(25):
            player_context = any_player(random)
            decision = evaluate(flag, player_context)
            found = receipt_of(flag, player_context, decision, SEGMENTS)
            reasons.add(decision.reason)
            assert derived(flag, found) == (decision.variant.key, decision.reason), found
    assert reasons == set(Reason) - {Reason.PREREQUISITE_FAILED}


def derived(flag: CompiledFlag, found: Receipt) -> tuple[str, Reason]:
    """The decision that follows from the figures in the receipt."""
    document = flag.document
    if not document.enabled:
        return document.off, Reason.DISABLED
    if found.override in flag.variants:
        assert found.override
        return found.override, Reason.OVERRIDE
    for rule in found.rules:
        parts = (rule.segment, rule.conditions, rule.group or None)
        holds = all(part is None or part.passed for part in parts)
        assert rule.matched is holds
        if holds and rule.rollout.bucket < rule.rollout.threshold:
            assert rule.decides
            return variant_of(document.rules[rule.index], rule), reason_of(rule)
        assert not rule.decides
    return document.default, Reason.DEFAULT


def variant_of(rule: Rule, result: RuleReceipt) -> str:
    if rule.split is None:
        assert rule.variant
        return rule.variant
    assert result.split_bucket is not None
    return next(each.variant for each in rule.split if each.start <= result.split_bucket < each.end)


def reason_of(rule: RuleReceipt) -> Reason:
    if rule.segment is not None:
        return Reason.SEGMENT_MATCH
    return Reason.ROLLOUT if rule.conditions is None else Reason.RULE_MATCH


def flipping_values(leaf: TracedLeaf) -> list[Any]:
    """Values of the attribute that flip the result of the condition."""
    assert isinstance(leaf.leaf, Condition)
    alone = parse(when(document_of(leaf.leaf)))
    return [
        value
        for value in [*VALUES, 3, 42, "XX"]
        if trace(alone, Subject({leaf.leaf.field: value}, {}, NOW), {}).passed is not leaf.passed
    ]


def document_of(condition: Condition) -> dict[str, Any]:
    document = {"field": condition.field, "operator": condition.operator}
    value = list(condition.value) if isinstance(condition.value, tuple) else condition.value
    return document if value is None else {**document, "value": value}


def test_changing_what_the_nearest_miss_names__makes_the_rule_match() -> None:
    random = Random(5)
    tried = 0
    while tried < 500:
        conditions = any_group(random)
        flag = flag_of({"id": "r", "variant": "a", "conditions": conditions})
        player_context = any_player(random)
        if evaluate(flag, player_context).rule_index == 0 or player_context.overrides:
            continue
        leaves = nearest(trace(parse(conditions), player_context.subject, {}))
        fields = [leaf.leaf.field for leaf in leaves if isinstance(leaf.leaf, Condition)]
        mentioned = re.findall(r'"field":"(\w+)"', msgspec.json.encode(conditions).decode())
        # An attribute in two conditions cannot be changed for only one of them.
        if any(mentioned.count(field) > 1 for field in fields):
            continue
        choices = [flipping_values(leaf) for leaf in leaves]
        if not all(choices):
            continue  # cannot be satisfied
        attributes = deepcopy(dict(player_context.subject.attributes))
        for field, values in zip(fields, choices, strict=True):
            attributes[field] = values[0]
        changed = EvaluationContext(player_context.player_id, Subject(attributes, {}, NOW), {}, NOW)
        decision = evaluate(flag, changed)
        result = nearest_miss(flag, player_context, evaluate(flag, player_context), SEGMENTS)
        assert decision.rule_index == 0, (result, attributes)
        assert result is not None
        assert all(field in result for field in fields)
        tried += 1


# --- Over the API ---------------------------------------------------------------------------------


def explain(api: Api, key: str, player_id: object, query: str = "explain=true") -> Reply:
    return api.post(f"{FLAGS}/{key}/evaluate?{query}", {"player_id": str(player_id)})


def test_receipt__is_added_to_the_five_fields(secret_api: Api, environment: Environment) -> None:
    player = make_player(environment, attributes={"level": 9})
    plain = explain(secret_api, "new_tutorial", player.pk, "")
    data = explain(secret_api, "new_tutorial", player.pk).data
    found = data.pop("receipt")
    assert data == plain.data
    assert found["flag_revision"] == 1
    assert found["nearest_miss"] == "Rule 1 does not match: level must be at least 40 (actual: 9)."
    assert found["rules"][0]["segment"]["key"] == "beta-testers"
    everything = secret_api.post(
        f"{FLAGS}/evaluate?explain=true", {"player_id": str(player.pk)}
    ).data["flags"]
    assert everything["new_tutorial"]["receipt"]["rules"] == found["rules"]
    assert everything["new-feature"]["receipt"]["summary"] == "The flag is off."


def test_receipt__requires_a_secret_key(public_api: Api, environment: Environment) -> None:
    player = make_player(environment)
    for query in ("explain=true", "at=2026-01-01T00:00:00Z"):
        reply = explain(public_api, "new_tutorial", player.pk, query)
        assert (reply.status, reply.error["code"]) == (403, "UNAUTHORIZED")
    assert explain(public_api, "new_tutorial", player.pk, "explain=false").status == 200


@pytest.mark.parametrize(
    "query",
    ["explain=yes", "at=yesterday", "at=2026-01-01T00:00:00 PST", "at=1969-01-01T00:00:00Z"],
)
def test_invalid_query__is_400(query: str, secret_api: Api, environment: Environment) -> None:
    player = make_player(environment)
    reply = explain(secret_api, "new_tutorial", player.pk, query)
    assert (reply.status, reply.error["details"][0]["field"]) == (400, query.partition("=")[0])


def test_past_time__uses_old_revisions_and_current_attributes(
    secret_api: Api, environment: Environment
) -> None:
    player = make_player(environment)
    on = boolean_document(enabled=True, rules=(Rule(id="r", variant="enabled"),))
    flag = flag_create(environment=environment, key="f", document=on, actor=ACTOR)
    flag, _ = flag_set_enabled(flag, False, actor=ACTOR)
    flag, _ = flag_set_archived(flag, True, actor=ACTOR)
    hours_ago = {1: 9, 2: 6, 3: 3}
    for number, hours in hours_ago.items():
        rows = FlagRevision.objects.filter(flag=flag, number=number)
        rows.update(created_at=datetime.now(UTC) - timedelta(hours=hours))

    def at(hours: float) -> Reply:
        moment = (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return explain(secret_api, "f", player.pk, f"explain=true&at={moment}")

    assert at(10).status == 404
    found = {hours: at(hours).data for hours in (8, 5, 1)}
    assert [each["value"] for each in found.values()] == [True, False, False]
    assert [each["receipt"]["flag_revision"] for each in found.values()] == [1, 2, 3]
    assert found[5]["receipt"]["summary"] == "The flag is off."
    assert found[1]["receipt"]["summary"] == "The flag is archived."
    result = found[8]["receipt"]
    assert result["at"] < result["player_as_of"]


def test_future_time__applies_the_schedule(secret_api: Api, environment: Environment) -> None:
    player = make_player(environment)
    later = datetime(2090, 1, 1, tzinfo=UTC)
    document = boolean_document(enabled=True, rules=(Rule(id="r", variant="enabled", start=later),))
    flag_create(environment=environment, key="f", document=document, actor=ACTOR)
    assert explain(secret_api, "f", player.pk, "").data["value"] is False
    assert explain(secret_api, "f", player.pk, "at=2090-01-01T00:00:00Z").data["value"] is True


def test_override__is_included(secret_api: Api, environment: Environment) -> None:
    player = make_player(environment)
    flag = flag_create(
        environment=environment, key="f", document=boolean_document(enabled=True), actor=ACTOR
    )
    flag_update(flag, document=flag.spec, base_revision=1, actor=ACTOR, details={"name": "F"})
    override_set(flag, player, "enabled", actor=ACTOR)
    found = explain(secret_api, "f", player.pk).data["receipt"]
    assert (found["override"], found["summary"]) == ("enabled", "Set for this player.")
    assert found["flag_revision"] == 2
