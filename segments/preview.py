"""How many players a rule takes in, estimated from a sample.

Player ids are uniformly distributed, so the players that follow a random id are a fair sample.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import sqrt

from ilara_admin.models import Environment
from players.models import Player
from players.record import PlayerRow, thresholds_of
from segments.rules import Matcher
from segments.subject import subject_of

SAMPLE_SIZE = 1_000
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Preview:
    """`exact` when the sample holds everybody. `share` and `margin` are percentages, the margin
    for 95 % confidence."""

    sampled: int
    matched: int
    exact: bool
    examples: list[PlayerRow]

    @property
    def share(self) -> float:
        return 100 * self.matched / self.sampled if self.sampled else 0.0

    @property
    def margin(self) -> float:
        if self.exact or not self.sampled:
            return 0.0
        part = self.matched / self.sampled
        # Never quite 0: a sample without a match does not prove that there is none.
        return 100 * max(1.96 * sqrt(part * (1 - part) / self.sampled), 3 / self.sampled)


def preview(environment: Environment, matches: Matcher, now: datetime) -> Preview:
    """Ask the rule about a sample of the environment's players."""
    thresholds = thresholds_of(environment)
    sampled = matched = 0
    examples: list[PlayerRow] = []
    for player in _sample(environment):
        sampled += 1
        if matches(subject_of(player, thresholds, now)):
            matched += 1
            if len(examples) < SHOWN:
                examples.append(player)
    return Preview(sampled, matched, sampled < SAMPLE_SIZE, examples)


def _sample(environment: Environment) -> Iterator[PlayerRow]:
    players = Player.objects.of(environment).order_by("id").values_list(*PlayerRow._fields)
    start = uuid.uuid4()
    # The order of ids wraps around, so that a start near the end still finds enough.
    after = list(players.filter(id__gte=start)[:SAMPLE_SIZE])
    missing = SAMPLE_SIZE - len(after)
    before = list(players.filter(id__lt=start)[:missing]) if missing else []
    return (PlayerRow._make(row) for row in (*after, *before))
