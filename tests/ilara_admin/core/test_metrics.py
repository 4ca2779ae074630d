"""What is counted, and the files in which processes share it."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from prometheus_client import REGISTRY

from ilara_admin.core.metrics import database_error_kind
from ilara_admin.core.route_template import route_template
from ilara_admin.core.variables import METRICS_FOLDER


@pytest.mark.parametrize(
    ("route", "template"),
    [
        ("", "/"),
        ("sign-in/", "/sign-in/"),
        ("<slug:project>/flags/<str:key>/", "/{project}/flags/{key}/"),
        ("^/v1/players/players/<player_id>", "/v1/players/players/{player_id}"),
        ("/v1/flags/flags", "/v1/flags/flags"),
        ("^/^ofrep(?:/|$)", "unmatched"),
        ("^$", "unmatched"),
    ],
)  # fmt: skip
def test_route__is_named_as_a_path(route: str, template: str) -> None:
    assert route_template(route) == template


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        (None, "connection"),
        ("08006", "connection"),
        ("57P01", "connection"),
        ("57014", "timeout"),
        ("55P03", "timeout"),
        ("25P03", "timeout"),
        ("40P01", "conflict"),
        ("53100", "resources"),
        ("42P01", "other"),
        ("55000", "other"),
    ],
)
def test_database_error__has_a_kind(sqlstate: str | None, kind: str) -> None:
    assert database_error_kind(sqlstate) == kind


def test_error_of_any_statement__is_counted_once(db: None) -> None:
    def number() -> float:
        return REGISTRY.get_sample_value("ilara_database_errors_total", {"kind": "timeout"}) or 0

    before = number()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 10")
        with pytest.raises(OperationalError):
            cursor.execute("SELECT pg_sleep(5)")
    assert number() == before + 1
    connection.needs_rollback = True


# Enough values for the file to grow several times.
PROCESS = """
from prometheus_client import Counter, Gauge, Histogram
from ilara_admin.core import shared_value
shared_value.install()
counter = Counter("c", "C", ["n"])
early = counter.labels("0")
for n in range(1_500):
    counter.labels(str(n)).inc(n)
early.inc(7)
seconds = Histogram("h", "H", buckets=(1, 2))
for value in (0.5, 1.5, 3):
    seconds.observe(value)
gauge = Gauge("g", "G", multiprocess_mode="livesum")
gauge.inc(5)
gauge.dec(2)
gauge.set(gauge._value.get() + 1)
"""
COLLECT = """
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
value = registry.get_sample_value
print(value("c_total", {"n": "0"}), value("c_total", {"n": "1499"}), value("g"),
      value("h_sum"), value("h_count"), value("h_bucket", {"le": "2.0"}))
"""


def test_values_of_two_processes__are_summed(tmp_path: Path) -> None:
    def run(code: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code],
            env={METRICS_FOLDER: str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    for _ in range(2):
        run(PROCESS)
    assert max(path.stat().st_size for path in tmp_path.iterdir()) > 100_000
    assert run(COLLECT).split() == ["14.0", "2998.0", "8.0", "10.0", "6.0", "4.0"]
