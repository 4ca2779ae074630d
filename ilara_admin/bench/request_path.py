"""Measures the request path: the API and the limit views, in interleaved rounds."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from django.db import connection

from ilara_admin.bench import drivers, servers
from ilara_admin.bench.drivers import BenchError, Choices
from ilara_admin.bench.limit_views import TABLE
from ilara_admin.bench.processes import Cores, cpu_seconds, resident_bytes
from ilara_admin.bench.scenarios import Scenario
from ilara_admin.bench.servers import WebServer
from ilara_admin.bench.streams import READERS, deliver, open_readers
from ilara_admin.bench.summary import Sample
from ilara_admin.core.progress import Progress
from ilara_admin.runtime import embedded_postgres

CONNECTIONS = 16
WARM_UP_SECONDS = 0.3
STREAM_THREADS = READERS + 16  # a stream occupies one


class Setup(NamedTuple):
    """What all rounds have in common. `seconds` are those of a scenario in a round."""

    database: embedded_postgres.Server
    cores: Cores
    server: str
    driver: str
    seconds: float
    choices: Choices


class Measured(NamedTuple):
    samples: Mapping[str, list[Sample]]  # one of each round
    memory: int  # bytes of the largest worker of Ilara


def method(setup: Setup, rounds: int) -> str:
    """One line that says how it was measured."""
    server, others = (",".join(map(str, sorted(cores))) for cores in setup.cores)
    return (
        f"{setup.server} with one worker on core {server}; PostgreSQL and {setup.driver} on core "
        f"{others}; {CONNECTIONS} connections; medians of {rounds} rounds of {setup.seconds:g} s"
    )


def measure(
    setup: Setup,
    chosen: Mapping[str, Scenario],
    limits: Mapping[str, Scenario],
    rounds: int,
    progress: Progress,
) -> Measured:
    """Limits are measured just before the first scenario that is compared with them. Raises
    BenchError if a request fails."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    memory = 0
    with connection.cursor() as cursor:
        cursor.execute(TABLE)
    for number in range(rounds):
        with (
            servers.limit_views(setup.database, setup.cores.server) as limit_views,
            servers.ilara(setup.server, setup.database, setup.cores.server) as running,
        ):
            for name, scenario in chosen.items():
                progress(f"Round {number + 1}, {name}", 0, 1)
                limit = scenario.limit
                if limit and len(samples[limit]) == number:
                    samples[limit].append(sample(setup, limit, limits[limit], limit_views))
                with _server_for(setup, scenario, running) as server:
                    samples[name].append(sample(setup, name, scenario, server))
            memory = max(memory, resident_bytes(running.pid))
        progress(f"Round {number + 1}", 1, 1)
    return Measured(samples, memory)


@contextmanager
def _server_for(setup: Setup, scenario: Scenario, running: WebServer) -> Iterator[WebServer]:
    if not scenario.fresh and not scenario.stream:
        yield running
        return
    threads = STREAM_THREADS if scenario.stream else None
    with servers.ilara(setup.server, setup.database, setup.cores.server, threads=threads) as fresh:
        yield fresh


def sample(setup: Setup, name: str, scenario: Scenario, server: WebServer) -> Sample:
    """Raises BenchError if a request fails."""
    call, choices, stream = scenario.call, setup.choices, scenario.stream
    if stream:
        with open_readers(server.port, stream) as readers:
            before = _cpu(setup, server)
            load = deliver(server.port, readers, call, scenario.rows, choices, setup.seconds)
            after = _cpu(setup, server)
    else:
        drivers.by_python(server.port, call, choices, CONNECTIONS, WARM_UP_SECONDS)
        before = _cpu(setup, server)
        load = drivers.drive(setup.driver, server.port, call, choices, CONNECTIONS, setup.seconds)
        after = _cpu(setup, server)
    if load.errors or not load.requests:
        raise BenchError(f"{name}: {load.errors:,} of {load.requests:,} requests failed")
    units = load.requests if stream else load.requests * scenario.rows
    of_server, of_postgresql = (
        1e6 * (end - start) / load.requests for end, start in zip(after, before, strict=True)
    )
    return Sample(units / load.seconds, load.p50, load.p99, of_server, of_postgresql)


def _cpu(setup: Setup, server: WebServer) -> tuple[float, float]:
    """Seconds of the server and of PostgreSQL."""
    postmaster = (setup.database.data / "postmaster.pid").read_text().partition("\n")[0]
    return cpu_seconds(server.pid), cpu_seconds(int(postmaster))
