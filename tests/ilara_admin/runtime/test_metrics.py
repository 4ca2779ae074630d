"""`/metrics`: who may read it, and the figures from the database."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as loaded_settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from events import rollups
from ilara_admin.core.variables import METRICS_FOLDER
from ilara_admin.models import Environment, Tier
from ilara_admin.runtime import metrics, metrics_folder
from tests.api_client import EVENTS, FLAGS, PLAYERS, Api
from tests.factories import make_environment, make_key

type Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def scraped() -> Samples:
    response = Client().get("/metrics", SERVER_PROTOCOL="HTTP/1.1")
    assert response.status_code == 200
    return parsed(response.content.decode())


# --- Access ---------------------------------------------------------------------------------------


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "read_in_time", lambda: None)


def status(address: str = "127.0.0.1", **environ: Any) -> int:
    environ = {"SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": address} | environ
    return Client().get("/metrics", **environ).status_code


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", 200),
        ("127.9.9.9", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("10.0.0.1", 404),
        ("::2", 404),
        ("::ffff:10.0.0.1", 404),
        ("", 404),  # a Unix socket
    ],
)
def test_loopback__may_read(address: str, expected: int, no_figures: None, db: None) -> None:
    assert status(address) == expected


def test_networks__are_a_setting(settings: Settings, no_figures: None, db: None) -> None:
    settings.METRICS_NETWORKS = [ip_network("10.1.0.0/16")]
    assert [status(each) for each in ("10.1.2.3", "10.2.0.1", "127.0.0.1")] == [200, 404, 404]


@pytest.mark.parametrize(
    "header",
    [
        "X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_FORWARDED_PROTO", "FORWARDED", "X_REAL_IP", "VIA",
        "X_CLIENT_IP", "TRUE_CLIENT_IP", "CF_CONNECTING_IP",
    ],
)  # fmt: skip
@pytest.mark.parametrize("given", ["", "127.0.0.1"])
def test_forwarded_request_without_known_proxies__is_refused(
    header: str, given: str, no_figures: None, db: None
) -> None:
    assert status(**{f"HTTP_{header}": given}) == 404


@pytest.mark.parametrize(
    ("proxies", "hops", "expected"),
    [
        (1, "127.0.0.1", 200),
        (1, "127.0.0.1, 203.0.113.9", 404),
        (1, "203.0.113.9, 127.0.0.1", 200),
        (2, "127.0.0.1", 404),  # it passed one of two proxies
        (2, "203.0.113.9, 10.0.0.1", 404),
        (1, "", 404),
        (1, "unknown", 404),
        (1, None, 200),  # it came past the proxy
    ],
)
def test_client_behind_proxies__is_judged_by_its_own_address(
    proxies: int, hops: str | None, expected: int, settings: Settings, no_figures: None, db: None
) -> None:
    settings.PROXIES = proxies
    header = {} if hops is None else {"HTTP_X_FORWARDED_FOR": hops}
    assert status(**header) == expected


def test_http_1_0__is_a_proxy_without_headers(no_figures: None, db: None) -> None:
    assert status(SERVER_PROTOCOL="HTTP/1.0") == 404


def test_refusal__is_the_404_of_any_page(db: None) -> None:
    client = Client(REMOTE_ADDR="192.0.2.1", headers={"x-request-id": "r"})
    ours, other = client.get("/metrics"), client.get("/nothing")
    assert ours.status_code == other.status_code == 404
    assert set(ours.headers) == set(other.headers)
    pages = (ours.content.decode().replace("/metrics", "/nothing"), other.content.decode())
    nonce = re.compile(r'nonce="[^"]+"')
    assert nonce.sub("", pages[0]) == nonce.sub("", pages[1])


def test_other_methods__are_refused(no_figures: None, db: None) -> None:
    assert Client().post("/metrics", SERVER_PROTOCOL="HTTP/1.1").status_code == 405


def test_unreadable_networks__name_the_setting_and_the_fix() -> None:
    code = "import ilara_admin.settings"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=loaded_settings.BASE_DIR,
        env={**os.environ, "ILARA_METRICS_NETWORKS": "10.0.0.1/8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ImproperlyConfigured.__name__ in run.stderr
    assert "ILARA_METRICS_NETWORKS is not valid: 10.0.0.1/8 has host bits set" in run.stderr


# --- Figures --------------------------------------------------------------------------------------


def test_requests__are_counted_by_template_and_status(environment: Environment) -> None:
    api = Api(make_key(environment).token)
    player_id = api.register()["id"]
    name = "ilara_http_request_duration_seconds_count"
    route = f"{PLAYERS}/{{player_id}}"

    def counts() -> list[float]:
        samples = scraped()
        return [
            value(samples, name, method="GET", route=route, status="200"),
            value(samples, name, method="GET", route=route, status="404"),
            value(samples, name, method="OTHER", route=route, status="405"),
            value(samples, name, method="GET", route="unmatched", status="404"),
            value(samples, name, method="GET", route="/static/", status="404"),
        ]

    before = counts()
    api.get(f"{PLAYERS}/{player_id}")
    for _ in range(2):
        api.get(f"{PLAYERS}/00000000-0000-4000-8000-000000000000")
    api.request("BREW", f"{PLAYERS}/{player_id}")
    api.get("/v1/nothing/ada@example.com")
    Client().get("/nothing/ada@example.com")
    Client().get("/static/nothing.css")
    assert [new - old for new, old in zip(counts(), before, strict=True)] == [1, 2, 1, 2, 1]
    assert "ada" not in str(scraped())


def test_events_and_evaluations__are_counted_as_the_replies_say(environment: Environment) -> None:
    api = Api(make_key(environment).token)
    player_id = api.register()["id"]
    event = {"player_id": player_id, "event_name": "x"}

    def counts() -> list[float]:
        samples = scraped()
        found = [
            value(samples, "ilara_events_total", verdict=each)
            for each in ("accepted", "duplicate", "rejected")
        ]
        return [*found, value(samples, "ilara_flag_evaluations_total")]

    before = counts()
    batch = [{**event, "event_id": "a"}, {**event, "event_id": "a"}, event, {"event_name": "y"}]
    receipt = api.post(f"{EVENTS}/batch", {"events": batch}).data
    assert (receipt["accepted"], receipt["duplicates"]) == (2, 1)
    api.post(EVENTS, {**event, "event_id": "a"})
    api.post(EVENTS, {"player_id": player_id})
    api.post(f"{FLAGS}/new_tutorial/evaluate", {"player_id": player_id})
    flags = len(api.post(f"{FLAGS}/evaluate", {"player_id": player_id}).data["flags"])
    added = [new - old for new, old in zip(counts(), before, strict=True)]
    assert added == [2, 2, 2, 1 + flags]


def test_refusal_by_a_limit__is_counted(db: None) -> None:
    environment = make_environment(tier=Tier.FREE)
    api = Api(make_key(environment).token)
    player_id = api.register()["id"]
    before = value(scraped(), "ilara_rate_limit_refusals_total", policy="events")
    event = {"player_id": player_id, "event_name": "x"}
    batch = api.post(f"{EVENTS}/batch", {"events": [event] * 100})
    refused = api.post(EVENTS, event)
    assert (batch.status, refused.status) == (200, 429)
    assert value(scraped(), "ilara_rate_limit_refusals_total", policy="events") == before + 1


@pytest.fixture
def jobs(transactional_db: None) -> Iterator[None]:
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_events CASCADE")


JOBS = """
INSERT INTO procrastinate_jobs (queue_name, task_name, status, scheduled_at) VALUES
    ('fast', 'due', 'todo', NULL), ('fast', 'later', 'todo', now() + interval '1 hour'),
    ('fast', 'retry', 'todo', now() - interval '10 s'), ('slow', 'runs', 'todo', NULL),
    ('slow', 'lost', 'todo', NULL);
UPDATE procrastinate_jobs SET status = 'doing' WHERE queue_name = 'slow';
UPDATE procrastinate_jobs SET status = 'failed' WHERE task_name = 'lost';
UPDATE procrastinate_events SET at = now() - interval '100 s' WHERE job_id IN
    (SELECT id FROM procrastinate_jobs WHERE task_name IN ('due', 'runs', 'retry'))"""


def test_jobs_and_fold__are_read_at_the_scrape(jobs: None) -> None:
    make_environment()
    with connection.cursor() as cursor:
        cursor.execute(JOBS)
    rollups.fold()
    samples = scraped()
    assert value(samples, "ilara_database_up") == 1
    assert value(samples, "ilara_jobs_waiting", queue="fast") == 2
    assert value(samples, "ilara_jobs_running", queue="slow") == 1
    assert value(samples, "ilara_jobs_failed", queue="slow") == 1
    assert 100 <= value(samples, "ilara_job_lag_seconds", queue="fast") < 160
    assert 100 <= value(samples, "ilara_job_age_seconds", queue="slow") < 160
    assert value(samples, "ilara_fold_lag_events") == 0
    assert 1 <= value(samples, "ilara_fold_lag_seconds") < 60
    assert value(samples, "ilara_database_connections", state="active") >= 1
    assert value(samples, "ilara_database_connections_max") > 1


def test_database_that_does_not_answer__leaves_the_counts(transactional_db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE procrastinate_jobs IN ACCESS EXCLUSIVE MODE")
        samples = scraped()
        cursor.execute("ROLLBACK")
    assert value(samples, "ilara_database_up") == 0
    assert not any(name.startswith("ilara_jobs") for name, _ in samples)
    assert any(name.startswith("ilara_events") for name, _ in samples)


# --- The folder -----------------------------------------------------------------------------------

SERVER = """
import os, sys
from ilara_admin.runtime import metrics_folder
folder = metrics_folder.create()
print(folder, flush=True)
sys.stdin.read()
metrics_folder.remove(folder)
"""


def test_folder__is_private_and_removed(tmp_path: Path) -> None:
    def start() -> tuple["subprocess.Popen[str]", Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=loaded_settings.BASE_DIR,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        return process, Path(process.stdout.readline().strip())

    killed, left = start()
    running, used = start()
    assert left.stat().st_mode & 0o777 == 0o700
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left.exists()
    third, folder = start()
    assert sorted(tmp_path.iterdir()) == sorted([used, folder])
    for process in (running, third):
        process.communicate("")
        assert process.returncode == 0
    assert not list(tmp_path.iterdir())
    assert METRICS_FOLDER not in os.environ


def test_ended_processes__lose_their_gauges_only(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    kept = [f"gauge_livesum_{os.getpid()}.db", "gauge_livesum_1.db", f"counter_{ended.pid}.db"]
    for name in [*kept, f"gauge_livesum_{ended.pid}.db", f"gauge_liveall_{ended.pid}.db"]:
        (tmp_path / name).touch()
    metrics_folder.forget_ended(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
