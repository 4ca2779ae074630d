"""CPU time, memory and cores of processes, from Linux's /proc."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Cores(NamedTuple):
    """Sets of cores; the same ones where there is only one, or no way to choose."""

    server: frozenset[int]
    others: frozenset[int]  # PostgreSQL and the load generator


def divided_cores() -> Cores:
    """The last core for the server and the rest for the others."""
    cores = frozenset(os.sched_getaffinity(0))
    server = frozenset([max(cores)])
    return Cores(server, cores - server or server)


@contextmanager
def running_on(cores: frozenset[int]) -> Iterator[None]:
    """Run this thread, and the processes that it starts, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, _text(children).split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and its descendants, those that have ended included."""
    stats = [_text(Path(f"/proc/{each}/stat")) for each in family(pid)]
    return sum(ticks_of(stat) for stat in stats if stat) / TICKS


def ticks_of(stat: str) -> int:
    """Ticks of a process and its children that were waited for. The name may hold spaces."""
    return sum(map(int, stat.rpartition(")")[2].split()[11:15]))


def resident_bytes(pid: int) -> int:
    """Memory of the largest process of the family."""
    texts = [_text(Path(f"/proc/{each}/statm")) for each in family(pid)]
    return max(int(text.split()[1]) for text in texts if text) * PAGE_BYTES


def _text(path: Path) -> str:
    """Empty if the process has just ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return path.read_text()
    return ""
