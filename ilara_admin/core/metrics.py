"""What is counted for `/metrics` (see runtime/metrics.py).

Under gunicorn, each web process keeps its values in files. The process that is asked sums them up,
so a count is not lost with its process.
"""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from ilara_admin.core import shared_value
from ilara_admin.core.route_template import route_template

shared_value.install()

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER_METHOD = "OTHER"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_REQUEST_SECONDS = Histogram(
    "ilara_http_request_duration_seconds",
    "Time until a response was ready, for streams until they began",
    ["method", "route", "status"],
    buckets=BUCKETS,
)
EVALUATIONS = Counter(
    "ilara_flag_evaluations",
    "Flags evaluated for games; a call that evaluates all flags counts each",
)
_EVENTS = Counter("ilara_events", "Events received, by verdict", ["verdict"])
ACCEPTED = _EVENTS.labels("accepted")
DUPLICATE = _EVENTS.labels("duplicate")
REJECTED = _EVENTS.labels("rejected")
RATE_LIMIT_REFUSALS = Counter(
    "ilara_rate_limit_refusals", "Requests refused by a rate limit", ["policy"]
)
OPEN_STREAMS = Gauge(
    "ilara_open_streams", "Event streams that are open", multiprocess_mode="livesum"
)
DATABASE_ERRORS = Counter(
    "ilara_database_errors",
    "Errors of the database except refused values and constraints",
    ["kind"],
)


@cache
def request_seconds(method: str, route: str, status: int) -> Histogram:
    """The histogram of these labels: one of METHODS or OTHER_METHOD, and a Django route. Labels
    must not grow with traffic."""
    return _REQUEST_SECONDS.labels(method, route_template(route), status)


# The first characters of SQLSTATE codes; the longest match wins.
KINDS = {
    "08": "connection",
    "57P": "connection",  # the server stops, starts or has ended the session
    "57014": "timeout",  # statement_timeout, or canceled
    "55P03": "timeout",  # lock_timeout
    "25P": "timeout",  # idle_in_transaction_session_timeout, transaction_timeout
    "40": "conflict",  # deadlock, serialization
    "53": "resources",  # the disk is full, too many connections, out of memory
}


def database_error_kind(sqlstate: str | None) -> str:
    """The kind of an error, by its SQLSTATE; None means that no answer came from the server."""
    if sqlstate is None:
        return "connection"
    prefixes = (sqlstate[:length] for length in (5, 3, 2))
    return next((KINDS[prefix] for prefix in prefixes if prefix in KINDS), "other")
