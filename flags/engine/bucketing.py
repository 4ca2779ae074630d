"""The bucket of a player. Frozen: any change would move players between variants.

    h = murmur3_x86_32(utf8(salt + ":" + player_id), seed)
    b = (h * 100000) >> 32            # 0..99999, by multiply-shift, without modulo bias

The gate (is the player inside the percentage?), the split (which variant?) and the group (which
experiment of a group?) use different seeds, so that they are independent. Imports no Django.
"""

from collections.abc import Mapping, Sequence

import mmh3

from flags.engine.document import EVERYBODY, RuleGroup, Slice

GATE_SEED = 0
SPLIT_SEED = 0x1A2A
GROUP_SEED = 0x6E0F


def bucket(salt: str, player_id: str, seed: int) -> int:
    """The player's bucket, 0..99999. `player_id` is the lower-case 36-character form."""
    # `False`, for unsigned, by position: as a keyword it would take longer than the hash.
    return (mmh3.hash(f"{salt}:{player_id}", seed, False) * EVERYBODY) >> 32


def gate(salt: str, player_id: str) -> int:
    """The gate bucket: inside a rollout if smaller than its percentage in thousandths."""
    return bucket(salt, player_id, GATE_SEED)


def in_group(group: RuleGroup, player_id: str) -> bool:
    """Whether the player's bucket of the group is in its range."""
    return group.start <= bucket(group.salt, player_id, GROUP_SEED) < group.end


def split(salt: str, player_id: str, slices: Sequence[Slice]) -> str:
    """The variant whose slice holds the player's split bucket. The slices cover 0..99999."""
    position = bucket(salt, player_id, SPLIT_SEED)
    for part in slices:
        if part.start <= position < part.end:
            return part.variant
    raise AssertionError("the slices of a checked document leave no gap")


def reweight(slices: Sequence[Slice], weights: Mapping[str, int]) -> tuple[Slice, ...]:
    """New slices with these weights (thousandths of a percent, sum 100000), by the fewest moves.

    A shrinking variant loses its highest buckets. They go to the growing variants, in the order of
    `weights`. All other buckets keep their variant.
    """
    if sum(weights.values()) != EVERYBODY or min(weights.values()) < 0:
        raise ValueError("The weights must be positive and add up to 100000.")
    kept: list[Slice] = []
    free: list[tuple[int, int]] = []
    left = dict(weights)
    for part in sorted(slices, key=lambda part: part.start):
        keep = min(part.end - part.start, left.get(part.variant, 0))
        if keep:
            kept.append(Slice(part.variant, part.start, part.start + keep))
            left[part.variant] -= keep
        if part.start + keep < part.end:
            free.append((part.start + keep, part.end))
    if not slices:
        free.append((0, EVERYBODY))
    for variant, missing in left.items():
        while missing:
            start, end = free.pop(0)
            taken = min(missing, end - start)
            kept.append(Slice(variant, start, start + taken))
            missing -= taken
            if start + taken < end:
                free.insert(0, (start + taken, end))
    return _joined(sorted(kept, key=lambda part: part.start))


def weights_of(slices: Sequence[Slice]) -> dict[str, int]:
    """The weight of each variant in thousandths of a percent, in order of first appearance."""
    weights: dict[str, int] = {}
    for part in slices:
        weights[part.variant] = weights.get(part.variant, 0) + part.end - part.start
    return weights


def _joined(slices: Sequence[Slice]) -> tuple[Slice, ...]:
    joined: list[Slice] = []
    for part in slices:
        if joined and joined[-1].variant == part.variant and joined[-1].end == part.start:
            joined[-1] = Slice(part.variant, joined[-1].start, part.end)
        else:
            joined.append(part)
    return tuple(joined)
