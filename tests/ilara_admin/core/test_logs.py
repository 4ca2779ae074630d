"""Log lines: the fields, what is left out, and how repeated failures are counted."""

import io
import json
import logging
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection
from django.http import HttpRequest
from django.test import Client
from django.urls import resolve

from ilara_admin.core import logs
from ilara_admin.models import Environment
from tests.homes import wait_until


class Lines(logs.RepeatHandler):
    """Keeps what it would write to stderr."""

    def __init__(self) -> None:
        self.written = io.StringIO()
        super().__init__(self.written)
        self.setFormatter(logs.JsonFormatter())

    @property
    def lines(self) -> list[str]:
        return self.written.getvalue().splitlines()

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logging.root.addHandler(handler)
    yield handler
    logging.root.removeHandler(handler)


def raised(act: Callable[[], object]) -> BaseException:
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def a_request(path: str) -> HttpRequest:
    request = HttpRequest()
    request.path = request.path_info = path
    request.method = "GET"
    request.resolver_match = resolve(path)
    request.id = "r-1"  # type: ignore[attr-defined]
    return request


logger = logging.getLogger("ilara.test")


# --- One line -------------------------------------------------------------------------------------


def test_line__has_the_fields_of_the_request(lines: Lines) -> None:
    request = a_request(f"/game/live/players/{uuid.uuid4()}/")
    token = logs.current_request.set(request)
    try:
        logger.error("it failed request_id=%s", "r-1", extra={"status": 500})
    finally:
        logs.current_request.reset(token)
    (entry,) = lines.entries
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "ERROR",
        "logger": "ilara.test",
        "request_id": "r-1",
        "route": "/{project}/{environment}/players/{player_id}/",
        "method": "GET",
        "status": 500,
        "message": "it failed",
    }


def test_exception__is_one_line_without_values(lines: Lines) -> None:
    error = raised(lambda: dict[str, int]()["ada@example.com\nsecond line"])
    logger.error("a job failed", exc_info=error)
    (line,) = lines.lines
    assert "\n" not in line
    assert "example.com" not in line
    (entry,) = lines.entries
    assert entry["error"].startswith("KeyError")
    assert entry["traceback"].startswith("tests/ilara_admin/core/test_logs.py:")
    assert " raised" in entry["traceback"]


def test_deep_exception__is_shortened(lines: Lines) -> None:
    def deeper(levels: int) -> None:
        if not levels:
            raise ValueError("x" * 10_000)
        deeper(levels - 1)

    logger.error("y" * 10_000, exc_info=raised(lambda: deeper(300)))
    assert len(lines.lines[0]) < 2_500
    assert lines.entries[0]["traceback"].count(" < ") == logs.FRAMES - 1


def test_database_error__names_the_constraint_but_no_value(
    lines: Lines, environment: Environment
) -> None:
    def run(sql: str) -> BaseException:
        with connection.cursor() as cursor:
            error = raised(lambda: cursor.execute(sql))
            cursor.execute("ROLLBACK TO before")
            return error

    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE ada (email text CONSTRAINT one_ada UNIQUE, at date)")
        cursor.execute("INSERT INTO ada VALUES ('ada@example.com')")
        cursor.execute("SAVEPOINT before")
    refused = run("INSERT INTO ada VALUES ('ada@example.com')")
    mistyped = run("SELECT 'ada@example.com'::date")
    assert (type(refused), type(mistyped)) == (IntegrityError, DataError)
    for error in (refused, mistyped):
        logger.error("no", exc_info=error)
    assert "ada@example.com" not in "".join(lines.lines)
    assert "one_ada" in lines.entries[0]["error"]
    assert "invalid input syntax for type date: …" in lines.entries[1]["error"]


def test_path_that_django_logs__becomes_the_route(lines: Lines) -> None:
    request = a_request("/game/live/flags/b%C3%BCrger-m/")
    request.path = "/game/live/flags/bürger-m/"
    hidden = request.path.encode("unicode_escape").decode("ascii")
    extra = {"request": request, "status_code": 500}
    logging.getLogger("django.request").error("%s: %s", "Server Error", hidden, extra=extra)
    request.resolver_match = None
    logging.getLogger("django.request").error("%s: %s", "Server Error", hidden, extra=extra)
    assert [entry["message"] for entry in lines.entries] == [
        "Server Error: /{project}/{environment}/flags/{key}/",
        "Server Error: an unknown path",
    ]
    assert "rger" not in "".join(lines.lines)


def test_unknown_host__is_one_line_without_a_traceback(lines: Lines, client: Client) -> None:
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    (entry,) = lines.entries
    assert entry["logger"] == "django.security.DisallowedHost"
    assert entry["status"] == 400
    assert "evil.example" in entry["message"]
    assert not {"error", "traceback"} & set(entry)


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        ("Invalid request from ip=192.0.2.1: /x?email=ada", (), "Invalid request"),
        ("Error handling request %s %s", ("GET", "/x?email=ada"), "Error handling request"),
        ("Worker (pid:%s) exited with code %s.", (7, 1), "Worker (pid:7) exited with code 1."),
    ],
)
def test_gunicorn__names_no_client_and_no_path(
    text: str, args: tuple[object, ...], message: str
) -> None:
    record = logging.LogRecord("gunicorn.error", logging.WARNING, "x.py", 1, text, args, None)
    assert logs.message_of(record) == message


def test_text_format__is_one_line_too() -> None:
    error = raised(lambda: 1 / 0)
    record = logging.LogRecord(
        "ilara.x", logging.ERROR, "x.py", 1, "a\nb", (), (type(error), error, None)
    )
    line = logs.LineFormatter().format(record)
    assert "ERROR ilara.x a b error=ZeroDivisionError: division by zero traceback=tests/" in line
    assert "\n" not in line


@pytest.mark.parametrize(("level", "lines_logged"), [(logging.INFO, 1), (logging.WARNING, 0)])
def test_requests__are_logged_at_level_info(
    level: int, lines_logged: int, lines: Lines, client: Client
) -> None:
    requests = logging.getLogger("ilara.request")
    requests.setLevel(level)
    try:
        client.get("/healthz?email=ada@example.com", headers={"x-request-id": "r-9"})
    finally:
        requests.setLevel(logging.NOTSET)
    assert len(lines.lines) == lines_logged
    for entry in lines.entries:
        assert entry["duration_ms"] > 0
        assert entry | {"time": "", "duration_ms": 0} == {
            "time": "",
            "level": "INFO",
            "logger": "ilara.request",
            "request_id": "r-9",
            "route": "/healthz",
            "method": "GET",
            "status": 200,
            "duration_ms": 0,
            "message": "answered",
        }


# --- Repeated lines -------------------------------------------------------------------------------


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "REPEAT_SECONDS", 0.5)


def fail(text: str) -> None:
    logger.error("%s", text, exc_info=raised(lambda: int(text)))


def counted(lines: Lines) -> int:
    """The failures that the lines stand for."""
    return sum(entry.get("repeated", 1) for entry in lines.entries)


def test_equal_failures__are_counted(lines: Lines, brief: None) -> None:
    for _ in range(50):
        fail("x")
    assert "repeated" not in lines.entries[0]
    wait_until(lambda: counted(lines) == 50)
    assert len(lines.lines) < 5
    assert {entry["message"] for entry in lines.entries} == {"x"}
    fail("x")
    wait_until(lambda: counted(lines) == 51)


def test_repeated_failure__has_the_fields_of_its_request(lines: Lines, brief: None) -> None:
    token = logs.current_request.set(a_request(f"/game/live/players/{uuid.uuid4()}/"))
    try:
        for _ in range(2):
            logger.error("it failed")
    finally:
        logs.current_request.reset(token)
    wait_until(lambda: counted(lines) == 2)
    first, second = lines.entries
    assert second["repeated"] == 1
    for entry in (first, second):
        fields = [entry[name] for name in ("request_id", "route", "method")]
        assert fields == ["r-1", "/{project}/{environment}/players/{player_id}/", "GET"]


def test_failures_with_ever_other_texts__are_counted_together(lines: Lines, brief: None) -> None:
    for number in range(100):
        fail(f"x{number}")
    wait_until(lambda: counted(lines) == 100)
    assert len(lines.lines) < 3 * logs.DIFFERENT_TEXTS


def test_failures_at_another_place__are_logged(lines: Lines) -> None:
    logger.warning("x")
    logger.warning("x")
    logger.warning("x")
    assert len(lines.lines) == 3


def test_what_is_no_failure__is_not_counted(lines: Lines) -> None:
    logger.setLevel(logging.INFO)
    try:
        for _ in range(3):
            logger.info("x")
    finally:
        logger.setLevel(logging.NOTSET)
    assert len(lines.lines) == 3


# --- Settings -------------------------------------------------------------------------------------


def test_configuration__has_one_handler_for_all_loggers() -> None:
    """In a process of its own: it replaces the handlers of this one."""
    code = """
import logging, logging.config
from ilara_admin.core import logs
for name in ("django", "gunicorn.error"):
    logging.getLogger(name).addHandler(logging.StreamHandler())
logging.config.dictConfig(logs.config("WARNING", as_json=True))
for name in ("ilara.x", "django.db", "gunicorn.error", "procrastinate.worker", "psycopg.pool"):
    logging.getLogger(name).warning("hello")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [json.loads(line)["logger"] for line in run.stderr.splitlines()] == [
        "ilara.x", "django.db", "gunicorn.error", "procrastinate.worker", "psycopg.pool",
    ]  # fmt: skip
