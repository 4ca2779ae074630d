"""`manage.py events_export`: the stored events in order."""

import csv
import io
import json
import sys
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from events import export
from events.models import Event
from ilara_admin.management.commands.events_export import moment
from ilara_admin.models import AuditEntry, Environment
from segments.lists.csv_reader import read_ids
from tests.factories import make_environment

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPAN = {"since": START, "until": START + timedelta(days=1)}


def insert(environment: Environment, number: int, **columns: Any) -> None:
    """Store `number` events, ten minutes apart from START on."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                                  session_id, properties, occurred_at)
               SELECT gen_random_uuid(), %(start)s + n * interval '10 minutes', %(environment)s,
                      'e-' || n, CASE WHEN n %% 3 = 0 THEN 'third' ELSE 'other' END, NULL,
                      jsonb_build_object('n', n, 'text', E'a,"b"\\n\\u00fc', 'pad', %(pad)s::text),
                      %(start)s
               FROM generate_series(0, %(number)s - 1) n""",
            {"start": START, "environment": environment.pk, "number": number, "pad": "", **columns},
        )


def run(
    capsys: pytest.CaptureFixture[str], environment: Environment, **options: Any
) -> tuple[str, str]:
    call_command("events_export", str(environment), **{**SPAN, **options})
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_jsonl__has_events_in_the_format_of_the_stream(
    capsys: pytest.CaptureFixture[str], environment: Environment
) -> None:
    insert(make_environment(), 5)
    insert(environment, 20)
    out, err = run(capsys, environment)
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event_id"] for event in events] == [f"e-{n}" for n in range(20)]
    assert events[7]["properties"] == {"n": 7, "text": 'a,"b"\nü', "pad": ""}
    assert (events[7]["received_at"], events[7]["session_id"]) == ("2026-03-01T13:10:00Z", None)
    assert "Events: done" in err
    assert f"20 events of {environment}." in err


def test_csv__can_be_parsed(capsys: pytest.CaptureFixture[str], environment: Environment) -> None:
    insert(environment, 20)
    out, _ = run(capsys, environment, format="csv", event="third")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["event_id"] for row in rows] == [f"e-{n}" for n in range(0, 20, 3)]
    assert tuple(rows[0]) == export.COLUMNS
    assert json.loads(rows[1]["properties"])["text"] == 'a,"b"\nü'
    assert (rows[1]["received_at"], rows[1]["session_id"]) == ("2026-03-01T12:30:00Z", "")


def test_csv__runs_no_formula_and_gives_the_player_ids_back(
    capsys: pytest.CaptureFixture[str], environment: Environment
) -> None:
    insert(environment, 3)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE event SET event_id = '=1+1', session_id = E'\\t@x', name = '-5'")
    out, _ = run(capsys, environment, format="csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert rows[0]["event_id"] == "'=1+1"
    assert rows[0]["session_id"] == "'\t@x"
    assert rows[0]["event_name"] == "-5"
    ids = [row.external_id for row in read_ids([out.encode()])]
    assert ids == [row["player_id"] for row in rows]


def test_terminal__gets_no_escape_sequence(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    name = "\x1b[2J\u202eadmin\x9b31m"
    insert(environment, 1)
    Event.objects.update(name=name)

    def written(stream: io.StringIO, format: str) -> str:
        monkeypatch.setattr(sys, "stdout", stream)
        call_command("events_export", str(environment), **SPAN, format=format)
        return stream.getvalue()

    for format in ("jsonl", "csv"):
        assert not set("\x1b\x9b\u202e") & set(written(Terminal(), format))
    assert json.loads(written(Terminal(), "jsonl"))["event_name"] == name
    assert name in written(io.StringIO(), "csv")


def test_export__is_recorded_in_the_audit_log(
    capsys: pytest.CaptureFixture[str], environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(environment, 20)
    run(capsys, environment, event="third", reason="asked for")
    entry = AuditEntry.objects.order_by("-id")[0]
    assert (entry.action, entry.object_name) == ("environment.events_exported", str(environment))
    assert (entry.actor_name, entry.reason) == ("manage.py events_export", "asked for")
    assert entry.after is not None
    assert (entry.after["events"], entry.after["event"]) == (7, "third")

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):  # manage.py handles it
        call_command("events_export", str(environment), **SPAN)
    newest = AuditEntry.objects.order_by("-id")[0]
    assert newest.pk > entry.pk
    assert (newest.after or {})["events"] == 0


def test_bounds__include_the_start_and_exclude_the_end(
    capsys: pytest.CaptureFixture[str], environment: Environment
) -> None:
    insert(environment, 20)
    since = START + timedelta(minutes=10)
    for until, count in ((since + timedelta(minutes=10), 1), (since + timedelta(minutes=95), 10)):
        out, _ = run(capsys, environment, since=since, until=until)
        assert [json.loads(line)["event_id"] for line in out.splitlines()] == [
            f"e-{n}" for n in range(1, 1 + count)
        ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01", "2026-03-01T00:00:00+00:00"),
        ("2026-03-01T12:30", "2026-03-01T12:30:00+00:00"),
        ("2026-03-01T12:30:00Z", "2026-03-01T12:30:00+00:00"),
        ("2026-03-01T12:30+02:00", "2026-03-01T10:30:00+00:00"),
    ],
)
def test_time_without_a_zone__is_utc(text: str, expected: str) -> None:
    assert moment(text).isoformat() == expected


def test_duration__means_that_long_ago() -> None:
    found, now = moment("7d"), datetime.now(UTC)
    assert timedelta(days=7) <= now - found < timedelta(days=7, minutes=1)


@pytest.mark.parametrize(
    "text", ["2026-03-01", "20260301T000000Z", "2026-03-01 00:00:00 +0000 UTC"]
)
def test_time__is_read_as_everywhere(text: str) -> None:
    assert moment(text) == datetime(2026, 3, 1, tzinfo=UTC)


def test_empty_span__is_refused(environment: Environment) -> None:
    for until in ("2026-03-01", "2026-02-28"):
        with pytest.raises(CommandError, match="before"):
            call_command(
                "events_export", str(environment), "--since", "2026-03-01", "--until", until
            )


@pytest.mark.parametrize("since", ["yesterday", "7", "2026-13-01"])
def test_invalid_time__is_refused(since: str, environment: Environment) -> None:
    with pytest.raises(CommandError, match=r"is not a time\. Write"):
        call_command("events_export", str(environment), "--since", since)


def test_memory__does_not_grow_with_the_number_of_events(environment: Environment) -> None:
    """Fetched at once, the rows of this hour would take about 30 MB."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                                  properties, occurred_at)
               SELECT gen_random_uuid(), %s, %s, 'e', 'x',
                      jsonb_build_object('pad', repeat('x', 1000)), now()
               FROM generate_series(1, 20000)""",
            [START, environment.pk],
        )
    tracemalloc.start()
    try:
        count = sum(1 for _ in export.read(environment.pk, export.Hour(START, START + export.HOUR)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (count, peak < 8_000_000) == (20_000, True)
