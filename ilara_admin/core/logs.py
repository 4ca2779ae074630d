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
from typing import Any

from ilara_admin.core.route_template import route_template

ROOT = Path(__file__).resolve().parents[2]

# The request that this thread answers, for the lines written meanwhile.
current_request: ContextVar[Any] = ContextVar("current_request", default=None)

MAX_MESSAGE = 1_000
MAX_ERROR = 300
FRAMES = 8


def config(level: str, *, as_json: bool) -> dict[str, Any]:
    """A configuration for `logging.config.dictConfig`: everything goes to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"repeats": {"()": RepeatFilter}},
        "formatters": {"line": {"()": JsonFormatter if as_json else LineFormatter}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["repeats"],
            }
        },
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
    request = getattr(record, "request", None) or current_request.get()
    status = getattr(record, "status", getattr(record, "status_code", None))
    error = record.exc_info[1] if record.exc_info else None
    fields = {
        "request_id": getattr(request, "id", None),
        "route": getattr(record, "route", None) or _route(request),
        "method": getattr(request, "method", None),
        "status": status,
        "duration_ms": getattr(record, "duration_ms", None),
        "message": message_of(record),
        "repeated": getattr(record, "repeated", None),
        "error": error and error_text(error),
        # An error that the client caused needs no traceback.
        "traceback": _frames(error) if error and (status or 500) >= 500 else None,
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
    path = getattr(getattr(record, "request", None), "path", None)
    if path and isinstance(record.args, tuple):
        # Django escapes the path that it logs.
        hidden = path.encode("unicode_escape").decode("ascii")
        route = _route(record.request) or "an unknown path"  # type: ignore[attr-defined]
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


class RepeatFilter(logging.Filter):
    """Passes the first of equal warnings and errors, then one line with their number every
    REPEAT_SECONDS while they go on."""

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[RepeatKey, RepeatWindow] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or hasattr(record, "repeated"):
            return True
        with self._lock:
            key = self._key(record)
            window = self._windows.get(key)
            if window is None:
                self._windows[key] = RepeatWindow(monotonic() + REPEAT_SECONDS)
                return True
            window.repeated += 1
            window.last = record
            if window.repeated == 1:
                self._report_at(key, window.closes_at)
            return False

    def _key(self, record: logging.LogRecord) -> RepeatKey:
        self._close_quiet_windows()
        site = (record.name, record.pathname, record.lineno)
        error = record.exc_info[1] if record.exc_info else None
        text = message_of(record) + (error_text(error) if error else "")
        open_here = sum(other == site for other, _ in self._windows)
        known = (site, text) in self._windows
        return (site, text if known or open_here < DIFFERENT_TEXTS else None)

    def _close_quiet_windows(self) -> None:
        now = monotonic()
        for key, window in list(self._windows.items()):
            if not window.repeated and window.closes_at <= now:
                del self._windows[key]

    def _report_at(self, key: RepeatKey, moment: float) -> None:
        timer = threading.Timer(max(moment - monotonic(), 0), self._report, [key])
        timer.daemon = True
        timer.start()

    def _report(self, key: RepeatKey) -> None:
        with self._lock:
            window = self._windows[key]
            last, repeated = window.last, window.repeated
            self._windows[key] = RepeatWindow(monotonic() + REPEAT_SECONDS)
        if last is not None:
            last.repeated = repeated
            logging.getLogger(last.name).handle(last)


# --- Slow queries ---------------------------------------------------------------------------------

slow_logger = logging.getLogger("ilara.slow_query")


def slow_query(sql: str, seconds: float) -> None:
    """Log a statement without its parameters."""
    slow_logger.warning("%s", sql, extra={"duration_ms": round(seconds * 1000)})
