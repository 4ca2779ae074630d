"""How the cost of a request grows with players, flags and web processes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ilara_admin.bench import servers
from ilara_admin.bench.request_path import Setup, sample
from ilara_admin.bench.scenarios import Scenario
from ilara_admin.bench.summary import Sample, medians

PLAYERS, FLAGS, WORKERS = "players", "flags", "workers"
CALLS = {
    PLAYERS: ("evaluate", "get", "register", "track-ids"),
    FLAGS: ("evaluate", "evaluate-all"),
    WORKERS: ("evaluate", "track-ids"),
}
MOST_WORKERS = 4


class Step(NamedTuple):
    varied: str
    size: int
    flags: int


@dataclass(frozen=True, slots=True)
class Point:
    varied: str
    size: int
    call: str
    median: Sample


def sizes(largest: int) -> list[int]:
    """A hundredth, a tenth and all of it."""
    return sorted({max(largest // part, 1) for part in (100, 10, 1)})


def plans(players: int, flags: int, chosen: Collection[str]) -> Iterator[tuple[int, list[Step]]]:
    """For each number of players, what to measure with it. Flags are only added, so their steps are
    the last."""
    few = sizes(flags)[0]
    for number, count in enumerate(sizes(players)):
        steps = [Step(PLAYERS, count, few)]
        if number == 0:
            steps += [Step(WORKERS, workers, few) for workers in range(1, MOST_WORKERS + 1)]
            steps += [Step(FLAGS, size, size) for size in sizes(flags)]
        if wanted := [step for step in steps if step.varied in chosen]:
            yield count, wanted


def points(setup: Setup, scenarios: Mapping[str, Scenario], step: Step, rounds: int) -> list[Point]:
    """Medians of the rounds. Several workers share all cores."""
    workers, cores = 1, setup.cores.server
    if step.varied == WORKERS:
        workers, cores = step.size, cores | setup.cores.others
    calls = CALLS[step.varied]
    with servers.ilara(setup.server, setup.database, cores, workers) as server:
        taken = [
            [sample(setup, name, scenarios[name], server) for name in calls] for _ in range(rounds)
        ]
    return [
        Point(step.varied, step.size, name, medians(samples))
        for name, samples in zip(calls, zip(*taken, strict=True), strict=True)
    ]


def charts(found: Sequence[Point]) -> Iterator[tuple[str, dict[str, float]]]:
    """Titles and figures by size: the CPU of the server and PostgreSQL or, for workers, the
    rate."""
    for varied, calls in CALLS.items():
        for call in calls:
            samples = {
                f"{each.size:,}": each.median
                for each in found
                if (each.varied, each.call) == (varied, call)
            }
            if varied == WORKERS:
                title = f"{call}: requests/s by {varied}"
                figures = {size: each.rate for size, each in samples.items()}
            else:
                title = f"{call}: µs of CPU per request by {varied}"
                figures = {size: each.server + each.postgresql for size, each in samples.items()}
            if figures:
                yield title, figures
