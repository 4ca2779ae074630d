from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.db import connection

from ilara_admin.api import key_usage
from ilara_admin.bench.database import bench_database
from ilara_admin.bench.figures import sizes, written_by_events
from ilara_admin.bench.load import Size, load
from ilara_admin.bench.pages import REQUESTS, times_of_pages
from ilara_admin.bootstrap import first_start
from ilara_admin.core.api_keys import api_key_create
from ilara_admin.management.bar import ProgressBar
from ilara_admin.management.base import IlaraCommand
from ilara_admin.models import Environment, KeyKind, Tier, User
from players.days import days_count
from players.models import Player


class Command(IlaraCommand):
    help = (
        "Measure the pages, the sizes of tables and the WAL per event, on a separate embedded "
        "database with made-up players, events, segments and flags."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--players", type=int, default=100_000)
        parser.add_argument("--events", type=int, default=1_000_000)
        parser.add_argument("--segments", type=int, default=200)
        parser.add_argument("--flags", type=int, default=200)
        parser.add_argument("--requests", type=int, default=REQUESTS, help="of each page")
        parser.add_argument("--tracked", type=int, default=20_000, help="events that measure WAL")
        parser.add_argument(
            "--home", type=Path, help="keep the database in this folder and use it again"
        )

    def run(
        self, *, players: int, events: int, segments: int, flags: int, requests: int, tracked: int,
        home: Path | None, **options: Any,
    ) -> None:  # fmt: skip
        with bench_database(home and home.absolute()):
            first_start(name="Bench", slug="bench", tier=Tier.ENTERPRISE, actor=self.actor)
            environment = Environment.objects.select_related("project").get(slug="live")
            if not Player.objects.of(environment).exists():
                load(environment, Size(players, events, segments, flags), ProgressBar())
                days_count(environment, datetime.now(UTC))
                with connection.cursor() as cursor:
                    cursor.execute("VACUUM (ANALYZE)")
            self.show_pages(environment, requests)
            self.show_sizes()
            self.show_wal(environment, tracked)

    def show_pages(self, environment: Environment, requests: int) -> None:
        user = User.objects.order_by("pk")[0]
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
