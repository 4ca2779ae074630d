"""Bucketing is frozen: a change would move players between variants."""

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID, uuid5

import mmh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flags.engine.bucketing import (
    GATE_SEED,
    GROUP_SEED,
    SPLIT_SEED,
    bucket,
    gate,
    reweight,
    split,
    weights_of,
)
from flags.engine.document import EVERYBODY, Rule, Slice, boolean_document
from flags.engine.evaluation import EvaluationContext, compile_flag, evaluate
from segments.language.compiler import Subject

IDS = [str(uuid5(UUID(int=0), str(number))) for number in range(2_000)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0),
        ("hello", 0x248BFA47),
        ("The quick brown fox jumps over the lazy dog", 0x2E4FF723),
    ],
)
def test_hash__is_murmur3_x86_32(text: str, value: int) -> None:
    assert mmh3.hash(text, 0, signed=False) == value


# Computed once. If one of these changes, players move.
@pytest.mark.parametrize(
    ("salt", "player_id", "in_gate", "in_split"),
    [
        ("salt", "550e8400-e29b-41d4-a716-446655440000", 81912, 99941),
        ("salt", "00000000-0000-0000-0000-000000000000", 97468, 5137),
        ("0123456789abcdef", "550e8400-e29b-41d4-a716-446655440000", 34878, 35075),
        ("0123456789abcdef", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", 13706, 92111),
        ("sél", "ffffffff-ffff-ffff-ffff-ffffffffffff", 69647, 53774),
    ],
)
def test_buckets__are_frozen(salt: str, player_id: str, in_gate: int, in_split: int) -> None:
    assert gate(salt, player_id) == in_gate
    assert bucket(salt, player_id, SPLIT_SEED) == in_split


def test_seeds__are_frozen() -> None:
    assert (GATE_SEED, SPLIT_SEED, GROUP_SEED) == (0, 0x1A2A, 0x6E0F)


@pytest.mark.parametrize(
    ("salt", "player_id", "in_group"),
    [
        ("salt", "550e8400-e29b-41d4-a716-446655440000", 79345),
        ("0123456789abcdef", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", 17117),
        ("sél", "ffffffff-ffff-ffff-ffff-ffffffffffff", 13845),
    ],
)
def test_buckets_of_groups__are_frozen(salt: str, player_id: str, in_group: int) -> None:
    assert bucket(salt, player_id, GROUP_SEED) == in_group


def test_buckets__are_in_range_and_uniform() -> None:
    buckets = [gate("salt", player_id) for player_id in IDS]
    assert 0 <= min(buckets) <= max(buckets) < EVERYBODY
    for tenth in range(10):
        share = sum(tenth * 10_000 <= number < (tenth + 1) * 10_000 for number in buckets)
        assert 140 <= share <= 260


def test_gate_and_split__are_independent() -> None:
    inside = [player_id for player_id in IDS if gate("salt", player_id) < 10_000]
    low = sum(bucket("salt", player_id, SPLIT_SEED) < 50_000 for player_id in inside)
    assert 0.35 < low / len(inside) < 0.65


@pytest.mark.parametrize(
    ("one", "other"),
    [(("one", GATE_SEED), ("two", GATE_SEED)), (("one", SPLIT_SEED), ("two", SPLIT_SEED)),
     (("one", GATE_SEED), ("one", SPLIT_SEED)), (("0", GATE_SEED), ("1", SPLIT_SEED))],
)  # fmt: skip
def test_two_flags__are_independent_by_chi_square(
    one: tuple[str, int], other: tuple[str, int]
) -> None:
    """Ten by ten classes of buckets; 81 degrees of freedom, p = 0.001 at 126.1."""
    ids = [str(uuid5(UUID(int=1), str(number))) for number in range(20_000)]
    pairs = Counter(
        (bucket(one[0], each, one[1]) // 10_000, bucket(other[0], each, other[1]) // 10_000)
        for each in ids
    )
    rows = [sum(pairs[row, column] for column in range(10)) for row in range(10)]
    columns = [sum(pairs[row, column] for row in range(10)) for column in range(10)]
    statistic = sum(
        (pairs[row, column] - expected) ** 2 / expected
        for row in range(10)
        for column in range(10)
        if (expected := rows[row] * columns[column] / len(ids))
    )
    assert statistic < 126.1


@settings(max_examples=50)
@given(st.integers(0, EVERYBODY), st.integers(0, EVERYBODY))
def test_raised_percentage__removes_no_players(one: int, other: int) -> None:
    low, high = sorted((one, other))
    inside = {player_id for player_id in IDS[:200] if gate("salt", player_id) < low}
    assert inside <= {player_id for player_id in IDS[:200] if gate("salt", player_id) < high}


@settings(max_examples=50)
@given(st.integers(0, EVERYBODY), st.integers(0, EVERYBODY))
def test_lowered_then_raised_percentage__restores_the_same_players(high: int, low: int) -> None:
    """The result depends on the percentage only, not on its history."""
    rule = Rule(id="r", variant="enabled")
    first, _, third = (takes(rule, rollout) for rollout in (high, min(low, high), high))
    assert first == third
    assert len(first) == sum(gate("salt", player_id) < high for player_id in IDS[:200])


def takes(rule: Rule, rollout: int) -> set[str]:
    """The players included at this percentage."""
    document = boolean_document(enabled=True, rules=(rule,)).with_rollout("r", rollout)
    flag = compile_flag(
        key="f",
        salt="salt",
        revision=1,
        document=document,
        archived=False,
        segments={},
        segment_rules={},
        others={},
    )
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return {
        player_id
        for player_id in IDS[:200]
        if evaluate(flag, EvaluationContext(player_id, Subject({}, {}, now), {}, now)).rule_index
        == 0
    }


def test_split__serves_the_variant_of_the_slice() -> None:
    slices = (Slice("a", 0, 30_000), Slice("b", 30_000, 30_001), Slice("a", 30_001, EVERYBODY))
    for player_id in IDS:
        position = bucket("salt", player_id, SPLIT_SEED)
        assert split("salt", player_id, slices) == ("b" if position == 30_000 else "a")


# --- Reweighting ----------------------------------------------------------------------------------


def test_first_weights__become_slices_in_order() -> None:
    assert reweight((), {"a": 20_000, "b": 80_000}) == (
        Slice("a", 0, 20_000),
        Slice("b", 20_000, EVERYBODY),
    )


def test_growing_variant__gets_the_end_of_the_shrinking_slice() -> None:
    halves = reweight((), {"a": 50_000, "b": 50_000})
    assert reweight(halves, {"a": 40_000, "b": 60_000}) == (
        Slice("a", 0, 40_000),
        Slice("b", 40_000, EVERYBODY),
    )
    assert reweight(halves, {"a": 60_000, "b": 40_000}) == (
        Slice("a", 0, 50_000),
        Slice("b", 50_000, 90_000),
        Slice("a", 90_000, EVERYBODY),
    )


@pytest.mark.parametrize(
    "weights", [{}, {"a": 99_999}, {"a": 100_001}, {"a": 110_000, "b": -10_000}]
)
def test_weights_that_do_not_add_up__are_refused(weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"add up to 100000|empty"):
        reweight((), weights)


@st.composite
def weights(draw: st.DrawFn) -> dict[str, int]:
    """Weights of up to five variants, some of them zero."""
    names = draw(st.permutations("abcde"))[: draw(st.integers(1, 5))]
    points = st.integers(0, EVERYBODY) | st.sampled_from([0, 50_000, EVERYBODY])
    cuts = sorted(draw(st.lists(points, min_size=len(names) - 1, max_size=len(names) - 1)))
    bounds = [0, *cuts, EVERYBODY]
    return {name: bounds[i + 1] - bounds[i] for i, name in enumerate(names)}


def overlap(before: tuple[Slice, ...], after: tuple[Slice, ...]) -> int:
    """How many buckets keep their variant."""
    return sum(
        max(0, min(old.end, new.end) - max(old.start, new.start))
        for old in before
        for new in after
        if old.variant == new.variant
    )


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(weights(), min_size=2, max_size=4))
def test_reweighting__moves_exactly_the_minimum(steps: list[dict[str, int]]) -> None:
    slices: tuple[Slice, ...] = ()
    for wanted in steps:
        before, slices = slices, reweight(slices, wanted)
        assert [part.start for part in slices] == [0, *(part.end for part in slices[:-1])]
        assert slices[-1].end == EVERYBODY
        assert all(part.start < part.end for part in slices)
        assert weights_of(slices) == {name: size for name, size in wanted.items() if size}
        if before:
            had = weights_of(before)
            least = sum(max(0, size - wanted.get(name, 0)) for name, size in had.items())
            assert EVERYBODY - overlap(before, slices) == least
