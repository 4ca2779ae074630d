import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import CommandError, CommandParser
from django.db import connection

from ilara_admin.api import key_usage
from ilara_admin.bench import growth
from ilara_admin.bench.database import bench_database
from ilara_admin.bench.drivers import DRIVERS, BenchError, default_driver
from ilara_admin.bench.figures import sizes, written_by_events
from ilara_admin.bench.load import ACTOR, Size, load
from ilara_admin.bench.pages import REQUESTS, times_of_pages
from ilara_admin.bench.processes import Cores, divided_cores, running_on
from ilara_admin.bench.request_path import Setup, measure, method
from ilara_admin.bench.scenarios import (
    MEASURED,
    Scenario,
    api_scenarios,
    flags_fill,
    limit_scenarios,
    measured_flag_create,
    sampled_choices,
)
from ilara_admin.bench.summary import Sample, bars, compared
from ilara_admin.bootstrap import first_start
from ilara_admin.core.api_keys import api_key_create
from ilara_admin.management.bar import ProgressBar
from ilara_admin.management.base import IlaraCommand
from ilara_admin.models import Environment, KeyKind, Tier, User
from ilara_admin.runtime.servers import GUNICORN, SERVERS
from players.days import days_count
from players.models import Player

PAGES, API, GROWTH = "pages", "api", "growth"
PLAYERS = {PAGES: 100_000, API: 100_000, GROWTH: 1_000_000}
FLAGS = {PAGES: 200, API: 100, GROWTH: 1_000}


class Command(IlaraCommand):
    help = (
        "Measure the pages, table sizes and WAL per event, or the request path of the API, or how "
        "its cost grows, on a separate embedded database with made-up contents."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "part", nargs="?", choices=(PAGES, API, GROWTH), default=PAGES, help="pages by default"
        )
        parser.add_argument("--players", type=int, help="with growth, the largest number of them")
        parser.add_argument("--flags", type=int, help="with growth, the largest number of them")
        pages = parser.add_argument_group(PAGES)
        pages.add_argument(
            "--home", type=Path, help="keep the database in this folder and use it again"
        )
        pages.add_argument("--events", type=int, default=1_000_000)
        pages.add_argument("--segments", type=int, default=200)
        pages.add_argument("--requests", type=int, default=REQUESTS, help="of each page")
        pages.add_argument("--tracked", type=int, default=20_000, help="events that measure WAL")
        path = parser.add_argument_group(f"{API} and {GROWTH}")
        path.add_argument(
            "--only", metavar="NAME,…", default="", help="of the calls, or of what grows"
        )
        path.add_argument("--rounds", type=int, default=3)
        path.add_argument("--seconds", type=float, default=2, help="of a call in a round")
        path.add_argument("--server", choices=SERVERS, default=GUNICORN)
        path.add_argument("--driver", choices=DRIVERS, default=default_driver())
        path.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")

    def run(self, *, part: str, players: int | None, flags: int | None, **options: Any) -> None:
        players = PLAYERS[part] if players is None else players
        flags = FLAGS[part] if flags is None else flags
        given = {"players": players, "flags": flags, **options}
        for name in ("players", "flags", "requests", "rounds", "seconds"):
            if given[name] <= 0:
                raise CommandError(f"--{name} must be greater than 0.")
        if part == PAGES:
            self.bench_pages(players, flags, **options)
            return
        if not hasattr(os, "sched_setaffinity"):
            raise CommandError(f"bench {part} needs Linux: it reads the CPU time from /proc.")
        cores = divided_cores()
        bench = self.bench_api if part == API else self.bench_growth
        try:
            with running_on(cores.others):
                bench(cores, players, flags, **options)
        except BenchError as error:
            raise CommandError(str(error)) from None

    # --- Pages ----------------------------------------------------------------------------------

    def bench_pages(
        self, players: int, flags: int, *, home: Path | None, events: int, segments: int,
        requests: int, tracked: int, **options: Any,
    ) -> None:  # fmt: skip
        with bench_database(home and home.absolute()):
            environment = _loaded(Size(players, events, segments, flags))
            self.show_pages(environment, requests)
            self.show_sizes()
            self.show_wal(environment, tracked)

    def show_pages(self, environment: Environment, requests: int) -> None:
        user = User.objects.filter(is_owner=True).order_by("pk")[0]
        timings = sorted(times_of_pages(environment, user, requests), key=lambda each: -each.p95)
        self.table(
            ("PAGE", "", "STATUS", "REQUESTS", "P50 MS", "P95 MS", "SLOWEST"),
            [
                (each.name, each.kind, each.status, each.requests, round(each.p50),
                 round(each.p95), each.slowest)
                for each in timings
            ],
        )  # fmt: skip

    def show_sizes(self) -> None:
        self.stdout.write("")
        self.table(("TABLE", "ROWS", "BYTES PER ROW", "OF INDEXES"), sizes())

    def show_wal(self, environment: Environment, tracked: int) -> None:
        key = api_key_create(
            environment=environment, kind=KeyKind.PUBLIC, name="Bench", actor=self.actor
        )
        # The first event of a player's day changes the index of the day last seen.
        players, today = Player.objects.of(environment), datetime.now(UTC).date()
        again = written_by_events(players.filter(last_active_on=today), key.token, tracked)
        first = written_by_events(players.filter(last_active_on__lt=today), key.token, tracked)
        key_usage.flush()  # before the database is removed
        self.stdout.write("")
        self.table(
            ("WRITTEN PER EVENT OF A RANDOM PLAYER", "SEEN TODAY", "FIRST OF THE DAY"),
            [
                (label, *(form.format(getattr(found, name)) for found in (again, first)))
                for label, name, form in (
                    ("bytes of WAL from a checkpoint on", "wal", "{:,.0f}"),
                    ("  without images of pages", "wal_without_images", "{:,.0f}"),
                    ("images of pages", "images", "{:.2f}"),
                    ("HOT among the updates of players", "hot", "{:.0%}"),
                    ("events per second by one client", "per_second", "{:,.0f}"),
                )
            ],
        )

    # --- Request path ---------------------------------------------------------------------------

    def bench_api(
        self, cores: Cores, players: int, flags: int, *, only: str, rounds: int, seconds: float,
        server: str, driver: str, **options: Any,
    ) -> None:  # fmt: skip
        names = _chosen(only, list(api_scenarios("", "")))
        with bench_database(None) as database:
            environment = _loaded(Size(players, 0, 0, 0))
            flags_fill(environment, flags)
            if MEASURED in names:
                measured_flag_create(environment)
            choices = sampled_choices(environment, players)
            setup = Setup(database, cores, server, driver, seconds, choices)
            scenarios = self.scenarios(environment)
            limits = limit_scenarios(environment, choices)
            self.note(method(setup, rounds))
            chosen = {name: scenarios[name] for name in names}
            samples, memory = measure(setup, chosen, limits, rounds, ProgressBar())
        calls = compared(samples, {name: each.limit for name, each in chosen.items()})
        self.table(
            ("CALL", "PER SECOND", "P50 MS", "P99 MS", "SERVER US", "POSTGRESQL US", "LIMIT",
             "OF ITS RATE", "BY CPU"),
            [
                (name, *_cells(each.median), each.limit, _percent(each.of_rate),
                 _percent(each.of_cpu))
                for name, each in calls.items()
            ],
        )  # fmt: skip
        self.stdout.write(f"\nmemory of a worker: {memory / 1e6:,.0f} MB")
        self.write_json(
            options["json"],
            {"method": method(setup, rounds), "memory": memory, "calls": calls, "rounds": samples},
        )

    def bench_growth(
        self, cores: Cores, players: int, flags: int, *, only: str, rounds: int, seconds: float,
        server: str, driver: str, **options: Any,
    ) -> None:  # fmt: skip
        chosen = _chosen(only, list(growth.CALLS))
        progress, found = ProgressBar(), []
        for count, plan in growth.plans(players, flags, chosen):
            with bench_database(None) as database:
                environment = _loaded(Size(count, 0, 0, 0))
                choices = sampled_choices(environment, count)
                setup = Setup(database, cores, server, driver, seconds, choices)
                scenarios = self.scenarios(environment)
                for step in plan:
                    progress(f"{step.size:,} {step.varied}", 0, 1)
                    flags_fill(environment, step.flags)
                    found += growth.points(setup, scenarios, step, rounds)
                    progress(f"{step.size:,} {step.varied}", 1, 1)
        self.note(method(setup, rounds))
        self.table(
            ("GROWS", "TO", "CALL", "PER SECOND", "P50 MS", "P99 MS", "SERVER US", "POSTGRESQL US"),
            [(each.varied, each.size, each.call, *_cells(each.median)) for each in found],
        )
        for title, figures in growth.charts(found):
            self.stdout.write("\n".join(["", title, *bars(figures)]))
        self.write_json(options["json"], {"method": method(setup, rounds), "points": found})

    def scenarios(self, environment: Environment) -> dict[str, Scenario]:
        public, secret = (
            api_key_create(environment=environment, kind=kind, name="Bench", actor=self.actor).token
            for kind in (KeyKind.PUBLIC, KeyKind.SECRET)
        )
        return api_scenarios(public, secret)

    def write_json(self, file: Path | None, found: object) -> None:
        if file:
            file.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")


def _loaded(size: Size) -> Environment:
    """The environment of the database, filled the first time."""
    first_start(name="Bench", slug="bench", tier=Tier.ENTERPRISE, actor=ACTOR)
    environment = Environment.objects.select_related("project").get(slug="live")
    if not Player.objects.of(environment).exists():
        load(environment, size, ProgressBar())
        days_count(environment, datetime.now(UTC))
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")
    return environment


def _cells(median: Sample) -> tuple[object, ...]:
    times = (f"{each:6.1f}" for each in (median.p50, median.p99))
    return round(median.rate), *times, round(median.server), round(median.postgresql)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:4.0%}"


def _chosen(only: str, names: list[str]) -> list[str]:
    """In their own order. Raises CommandError for an unknown name."""
    wanted = only.split(",") if only else names
    if unknown := set(wanted) - set(names):
        raise CommandError(
            f"--only has {', '.join(sorted(unknown))}: choose from {', '.join(names)}."
        )
    return [name for name in names if name in wanted]
