"""Log lines: one line each, without personal data, and repeated failures counted.

With `as_json`, a line is a JSON object. Settings and the web server's configuration import this
module, so it must not import Django.
"""

import json
import logging
import re
import threading
import traceback
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

from ilara_admin.core.route_template import route_template

ROOT = Path(__file__).resolve().parents[2]

# The request that this thread answers, for the lines written meanwhile.
current_request: ContextVar[Any] = ContextVar("current_request", default=None)

MAX_MESSAGE = 1_000
MAX_ERROR = 300
FRAMES = 8


def default_format(database_url: str) -> str:
    return "json" if database_url else "text"


def config(level: str, *, as_json: bool) -> dict[str, Any]:
    """A configuration for `logging.config.dictConfig`: everything goes to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": JsonFormatter if as_json else LineFormatter}},
        "handlers": {"stderr": {"()": RepeatHandler, "formatter": "line"}},
        "loggers": {
            # Without the handlers of Django and gunicorn. gunicorn sets its own level.
            "django": {"level": level},
            "gunicorn.error": {"propagate": True},
            # Client errors are not logged.
            "django.request": {"level": "ERROR"},
        },
        "root": {"handlers": ["stderr"], "level": level},
    }


# --- One line -------------------------------------------------------------------------------------


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        head = {"time": _time(record), "level": record.levelname, "logger": record.name}
        return json.dumps({**head, **_fields(record)}, ensure_ascii=False, default=str)


class LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        text = f"{_time(record)} {record.levelname} {record.name} {fields.pop('message')}"
        return " ".join([text, *(f"{name}={value}" for name, value in fields.items())])


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The known fields of a record, in order. Nothing else of a request is logged: its path,
    query, body, headers and addresses may contain personal data."""
    request = getattr(record, "request", None)
    status = getattr(record, "status", getattr(record, "status_code", None))
    error = record.exc_info[1] if record.exc_info else None
    if status is not None and status < 500:
        error = None  # the client caused it, and the message says enough
    fields = {
        "request_id": getattr(request, "id", None),
        "route": getattr(record, "route", None) or _route(request),
        "method": getattr(request, "method", None),
        "status": status,
        "duration_ms": getattr(record, "duration_ms", None),
        "message": message_of(record),
        "repeated": getattr(record, "repeated", None),
        "error": error_text(error) if error else None,
        "traceback": _frames(error) if error else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _route(request: Any) -> str | None:
    match = getattr(request, "resolver_match", None)
    return route_template(match.route) if match else None


# gunicorn adds addresses and paths.
OF_GUNICORN = re.compile(r"(Invalid request|Error handling request)\b.*", re.DOTALL)
REQUEST_ID = re.compile(r" request_id=\S*")


def message_of(record: logging.LogRecord) -> str:
    """The message in one line, with the route instead of a request's path and without its id."""
    text = record.getMessage()
    request = getattr(record, "request", None)
    path = getattr(request, "path", None)
    if path and isinstance(record.args, tuple):
        # Django escapes the path that it logs.
        hidden = path.encode("unicode_escape").decode("ascii")
        route = _route(request) or "an unknown path"
        args = tuple(route if each == hidden else each for each in record.args)
        text = str(record.msg) % args if args else text
    if record.name == "gunicorn.error":
        text = OF_GUNICORN.sub(r"\1", text)
    return _shortened(REQUEST_ID.sub("", text), MAX_MESSAGE)


# Errors about code, files and the database. Their first line quotes names, such as those of tables
# and constraints; psycopg puts values in the lines below it.
QUOTE_NAMES = (OSError, ImportError, AttributeError, NameError, TypeError)
CLASSES_THAT_QUOTE_NAMES = frozenset(
    (
        "ImproperlyConfigured",
        "IntegrityError",
        "InterfaceError",
        "InternalError",
        "OperationalError",
        "ProgrammingError",
    )
)
QUOTED = re.compile(r"""'[^']*'|"[^"]*"|“[^”]*”""")


def error_text(error: BaseException) -> str:
    """The class of an error and the first line of its text, without quoted values."""
    kind = type(error)
    line = next(iter(str(error).splitlines()), "")
    if not isinstance(error, QUOTE_NAMES) and kind.__name__ not in CLASSES_THAT_QUOTE_NAMES:
        line = QUOTED.sub("…", line)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    name = module + kind.__qualname__
    return _shortened(f"{name}: {line}" if line else name, MAX_ERROR)


def _frames(error: BaseException) -> str:
    """The innermost frames of an error, like `core/db.py:52 _run < api/dispatch.py:340 run`."""
    found = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    return " < ".join(
        f"{_short_path(frame.filename)}:{frame.lineno} {frame.name}" for frame in reversed(found)
    )


def _short_path(path: str) -> str:
    package = path.partition("/site-packages/")[2]
    return package or path.removeprefix(f"{ROOT}/")


def _shortened(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}…"


# --- Repeated lines -------------------------------------------------------------------------------

REPEAT_SECONDS = 5.0
# One place in the code may log this many different texts at once; further ones count together.
DIFFERENT_TEXTS = 10

type CallSite = tuple[str, str, int]  # logger, file and line of the call
type RepeatKey = tuple[CallSite, str | None]


@dataclass(slots=True)
class RepeatWindow:
    closes_at: float  # monotonic seconds
    repeated: int = 0
    last: logging.LogRecord | None = None


class RepeatHandler(logging.StreamHandler):  # type: ignore[type-arg]  # not generic at runtime
    """Writes to stderr the first of equal warnings and errors, then one line with their number
    every REPEAT_SECONDS while they go on."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._windows: dict[RepeatKey, RepeatWindow] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Called with the handler's lock."""
        # A timer's thread may write the record.
        record.__dict__.setdefault("request", current_request.get())
        if record.levelno < logging.WARNING:
            super().emit(record)
            return
        self._close_quiet_windows()
        key = self._key(record)
        window = self._windows.get(key)
        if window is None:
            self._windows[key] = RepeatWindow(monotonic() + REPEAT_SECONDS)
            super().emit(record)
            return
        window.repeated += 1
        window.last = record
        if window.repeated == 1:
            timer = threading.Timer(window.closes_at - monotonic(), self._report, [key])
            timer.daemon = True
            timer.start()

    def _key(self, record: logging.LogRecord) -> RepeatKey:
        site = (record.name, record.pathname, record.lineno)
        error = record.exc_info[1] if record.exc_info else None
        text = message_of(record) + (error_text(error) if error else "")
        if (site, text) in self._windows:
            return (site, text)
        open_here = sum(other == site for other, _ in self._windows)
        return (site, text if open_here < DIFFERENT_TEXTS else None)

    def _close_quiet_windows(self) -> None:
        now = monotonic()
        for key, window in list(self._windows.items()):
            if not window.repeated and window.closes_at <= now:
                del self._windows[key]

    def _report(self, key: RepeatKey) -> None:
        self.acquire()
        try:
            window = self._windows[key]
            self._windows[key] = RepeatWindow(monotonic() + REPEAT_SECONDS)
            if window.last is not None:
                window.last.__dict__["repeated"] = window.repeated
                super().emit(window.last)
        finally:
            self.release()
