"""Dispatch of requests under `/v1` and `/ofrep`: authentication, limits, bodies and replies.

`answer()` applies what the endpoint declares (`endpoint.py`) in the published order: path 404,
method 405, key 401 or 403, limit 429, body 400. The endpoint reports missing resources.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, cast

import msgspec
from django.core.exceptions import TooManyFieldsSent
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch

from ilara_admin.api import environment_cache, hints, key_usage, rate_limits, route_table
from ilara_admin.api.bodies import BodyRequest, decode_body, parse_uuid
from ilara_admin.api.endpoint import Endpoint, EndpointView
from ilara_admin.api.environment_cache import Key, Snapshot
from ilara_admin.api.errors import (
    FOR_SERVERS,
    LACKS_SCOPE,
    NOT_IN_BROWSER,
    OTHER_NETWORK,
    PROXIES_HINT,
    RESTRICTED,
    ApiError,
    Code,
    forbidden,
    invalid,
    not_found,
    unauthorized,
)
from ilara_admin.core import db
from ilara_admin.core.client_address import client_address, forwarded_address
from ilara_admin.core.networks import is_within
from ilara_admin.core.route_template import route_template

logger = logging.getLogger("ilara.api")

MAX_RESTARTS = 3
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": (
        "X-Request-Id, X-Ilara-Ignored, X-Ilara-Conflict, Retry-After, ETag, WWW-Authenticate, "
        "RateLimit, "
        "RateLimit-Policy, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
    ),
}
PREFLIGHT_HEADERS = CORS_HEADERS | {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Max-Age": "86400",
    "Vary": "Access-Control-Request-Headers",
}
USUAL_HEADERS = (
    "X-API-Key, Authorization, Content-Type, Content-Encoding, Idempotency-Key, X-Request-Id, "
    "Last-Event-ID, If-None-Match"
)
HEADER_NAMES = re.compile(r"[\w!#$%&'*+.^`|~-]+([ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)
MAX_HEADER_NAMES = 4_096  # characters

encoder = msgspec.json.Encoder(decimal_format="number")


class ApiRequest(BodyRequest):
    """An authenticated request. `now` is the database's clock, set by the first statement.
    `conflicts` are the fields that differ from what is stored under the same id. `shape_error`
    formats errors for the protocol of the endpoint."""

    id: str
    api_key: Key
    snapshot: Snapshot
    restarts: int
    confirmed: bool
    limits: dict[str, rate_limits.LimitState]
    conflicts: tuple[str, ...]
    now: datetime
    shape_error: Callable[[ApiError], HttpResponse]


class StaleSnapshot(Exception):
    """The environment changed after the snapshot was loaded."""


def route(*endpoints: Endpoint) -> EndpointView:
    """One view for endpoints that share a path and differ in method."""
    by_method = {item.method: item for item in endpoints}
    shape = endpoints[0].shape

    def view(request: HttpRequest, **captured: str) -> HttpResponseBase:
        cast(ApiRequest, request).shape_error = lambda error: shape(error, captured)
        found = by_method.get(request.method or "")
        if found is None:
            allowed = ", ".join(sorted([*by_method, "OPTIONS"]))
            raise ApiError(
                Code.VALIDATION_ERROR,
                f"Method {request.method} is not allowed here. Use {', '.join(sorted(by_method))}.",
                status=405,
                headers={"Allow": allowed},
            )
        return _call(found, cast(ApiRequest, request), captured)

    view.endpoints = by_method  # type: ignore[attr-defined]  # read by apidocs
    return view


def respond(data: object, status: int = 200) -> HttpResponse:
    """`data`, which msgspec must be able to encode, in the success envelope."""
    body = b'{"success":true,"data":' + encoder.encode(data) + b"}"
    return HttpResponse(body, status=status, content_type="application/json")


def is_known(request: HttpRequest, etag: str) -> bool:
    """Whether If-None-Match matches the ETag (weak comparison), so 304 is enough."""
    header = request.headers.get("If-None-Match", "")
    sent = (part.strip().removeprefix("W/") for part in header.split(","))
    return any(part in ("*", etag) for part in sent)


# --- Request handling -----------------------------------------------------------------------------


def answer(request: HttpRequest) -> HttpResponseBase:
    """The response to a request under /v1 or /ofrep. Never raises."""
    if request.method == "OPTIONS":
        return _preflight(request)
    try:
        response = _answer(request)
    except Exception as error:
        shape = getattr(request, "shape_error", ApiError.response)
        response = shape(_to_api_error(error, request))
    if request.method == "HEAD":  # always an error; the server would log each body it drops
        response = HttpResponse(status=response.status_code, headers=response.headers)
    for name, value in CORS_HEADERS.items():
        response.headers[name] = value
    if not response.streaming and response.status_code != 304:
        # Without it the server would send the body in chunks, with an extra write.
        response.headers["Content-Length"] = str(len(response.getvalue()))
    response.headers["Cache-Control"] = response.headers.get("Cache-Control", "no-store")
    # Keep Django from logging every 4xx as a warning.
    response._has_been_logged = True  # type: ignore[attr-defined]
    if states := getattr(request, "limits", None):
        for name, value in rate_limits.headers(list(states.values())).items():
            response.headers.setdefault(name, value)
    if ignored := getattr(request, "ignored", ()):
        response.headers["X-Ilara-Ignored"] = ", ".join(ignored)
    if conflicts := getattr(request, "conflicts", ()):
        response.headers["X-Ilara-Conflict"] = ", ".join(conflicts)
    return response


def _preflight(request: HttpRequest) -> HttpResponse:
    """Allows the headers that the browser asks for: a page that traces its calls adds headers that
    cannot be known here (`traceparent`, `baggage`), and headers give no access."""
    asked = request.headers.get("Access-Control-Request-Headers", "").strip()
    allowed = len(asked) <= MAX_HEADER_NAMES and HEADER_NAMES.fullmatch(asked)
    headers = {"Access-Control-Allow-Headers": asked if allowed else USUAL_HEADERS}
    return HttpResponse(status=204, headers=PREFLIGHT_HEADERS | headers)


def _to_api_error(error: Exception, request: HttpRequest) -> ApiError:
    """The error that the caller sees for an exception."""
    request_id = getattr(request, "id", "")
    match error:
        case ApiError():
            return error
        case TooManyFieldsSent():
            return invalid("The query string has too many parameters")
        case OperationalError() | InterfaceError():
            logger.error("the database failed request_id=%s", request_id, exc_info=error)
            return ApiError(
                Code.INTERNAL_ERROR,
                db.explain(error),
                status=503,
                headers={"Retry-After": "1"},
            )
    logger.error("crash request_id=%s", request_id, exc_info=error)
    return ApiError(Code.INTERNAL_ERROR, "Something went wrong on our side.")


def _answer(request: HttpRequest) -> HttpResponseBase:
    found = resolve(request.path_info)
    if found is None:
        raise not_found(NO_SUCH_PATH + _suggestion(request.path_info))
    request.resolver_match, captured = found
    return cast(HttpResponseBase, request.resolver_match.func(request, **captured))


def resolve(path: str) -> tuple[ResolverMatch, dict[str, str]] | None:
    """The route of a path and the parameters in it, as Django finds them."""
    expression, routes = route_table.table()
    found = expression.match(path)
    if found is None or found.lastindex is None:
        return None
    match, groups = routes[found.lastindex]
    return match, {name: found[number] for name, number in groups.items()}


NO_SUCH_PATH = "There is no such path in the API."


def _suggestion(path: str) -> str:
    found = hints.closest_path(path, _methods())
    if found is None:
        return " The reference is at /v1/openapi.json and in the dashboard under API reference."
    shown, template = found
    return f" Did you mean {' or '.join(_methods()[template])} {shown}?"


@cache
def _methods() -> Mapping[str, Sequence[str]]:
    """The methods of each path, like `/v1/players/players/{player_id}`."""
    return {
        route_template(match.route): sorted(endpoints)
        for match, _ in route_table.table().routes.values()
        if (endpoints := getattr(match.func, "endpoints", None))
    }


def _call(found: Endpoint, request: ApiRequest, captured: Mapping[str, str]) -> HttpResponseBase:
    if found.scope is None:
        return found.view(request, **captured)
    request.restarts = 0
    request.limits = {}
    while True:
        try:
            return _attempt(found, request, captured)
        except (StaleSnapshot, rate_limits.VersionChangedError):
            request.restarts += 1
            environment_cache.reload(request.snapshot)


def _attempt(found: Endpoint, request: ApiRequest, captured: Mapping[str, str]) -> HttpResponseBase:
    _identify(request)
    request.confirmed = False
    try:
        if problem := _key_problem(found, request):
            raise problem
        count(request, rate_limits.REQUESTS)
        response = found.view(request, **_arguments(found, request, captured))
    except ApiError:
        # An error must not come from a stale snapshot either: a relaxed setting applies at once.
        if not request.confirmed:
            run(request, "SELECT config_version, now FROM env")
        raise
    key_usage.note(request.api_key, request)
    return response


def count(request: ApiRequest, name: str, amount: int = 1) -> None:
    """Count against a rate limit. A restarted request counts once, unless the tier has changed."""
    counted = request.limits.pop(name, None)
    if counted is None or counted.policy != rate_limits.policy_of(request.snapshot, name):
        counted = rate_limits.take(request.snapshot, name, amount)
    if counted is not None:
        request.limits[name] = counted


def _identify(request: ApiRequest) -> None:
    token = token_of(request)
    found = environment_cache.of_token(token)
    if found is None:
        raise unauthorized(hints.key_problem(token, request.headers, request.GET))
    request.snapshot, request.api_key = found


def token_of(request: HttpRequest) -> str:
    """The API key in X-API-Key, else in Authorization, with or without `Bearer`; "" if none."""
    # `request.headers` would convert all of META first.
    if token := request.META.get("HTTP_X_API_KEY", "").strip():
        return str(token)
    header = str(request.META.get("HTTP_AUTHORIZATION", ""))
    scheme, _, credentials = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return scheme if scheme.startswith(("pk_", "sk_")) else ""


def _key_problem(found: Endpoint, request: ApiRequest) -> ApiError | None:
    key = request.api_key
    if key.revoked_at is not None:
        return unauthorized("it has been revoked. Use another key of this environment.")
    if key.secret and "HTTP_ORIGIN" in request.META:
        return forbidden(NOT_IN_BROWSER)
    if key.networks and not is_within(address := client_address(request), key.networks):
        hint = "" if forwarded_address(request) else PROXIES_HINT
        return forbidden(OTHER_NETWORK.format(address=address or "of this connection") + hint)
    if found.secret and not key.secret:
        return forbidden(FOR_SERVERS)
    if found.scope not in key.scopes:
        return forbidden(LACKS_SCOPE.format(scope=found.scope))
    if not key.secret and not found.basic and request.snapshot.public_keys_restricted:
        return forbidden(RESTRICTED)
    return None


def _arguments(found: Endpoint, request: ApiRequest, captured: Mapping[str, str]) -> dict[str, Any]:
    arguments: dict[str, Any] = dict(captured)
    if "player_id" in arguments:
        arguments["player_id"] = parse_uuid(arguments["player_id"], "player_id")
    if found.body is not None and not found.decodes_itself:
        arguments["body"] = decode_body(
            request, found.body, found.checks_itself, exact_numbers=found.exact_numbers
        )
    return arguments


# --- Statements -------------------------------------------------------------------------------

# Every statement of an endpoint starts with this. `open` is false if the snapshot is stale or the
# key has expired by the database's clock. Statements that write must check it, so that nothing is
# written with an invalid key.
ENV_SQL = """
WITH env AS (
    SELECT e.*, statement_timestamp() AS now,
           ($2::bigint IS NULL OR e.config_version = $2)
           AND ($3::timestamptz IS NULL OR $3 > statement_timestamp()) AS open
    FROM environment e WHERE e.id = $1)
"""


def run(
    request: ApiRequest, sql: str, params: Sequence[Any] = (), *, safe_to_repeat: bool = True
) -> list[db.Row]:
    """Run the one statement of an endpoint and check that the snapshot is still current.

    `sql` continues ENV_SQL: more WITH terms, each preceded by a comma, then a SELECT whose first
    two columns are the environment's config_version and now. Its parameters start at $4. Returns
    the rows without those two columns. Raises StaleSnapshot if the environment has changed and
    ApiError if the key has expired.
    """
    # If the environment keeps changing, stop restarting: the last snapshot was loaded after the
    # request came in, which is recent enough.
    settled = request.restarts > MAX_RESTARTS
    version = None if settled else request.snapshot.version
    expires_at = request.api_key.expires_at
    rows = db.fetch_all(
        _with_env(sql),
        [request.snapshot.environment_id, version, expires_at, *params],
        safe_to_repeat=safe_to_repeat,
    )
    if not rows:
        raise unauthorized("its environment was deleted.")
    if version is not None and rows[0][0] != version:
        raise StaleSnapshot
    request.confirmed = True
    request.now = rows[0][1]
    if expires_at is not None and request.now >= expires_at:
        raise unauthorized("it has expired. Use another key of this environment.")
    return [row[2:] for row in rows]


# Built once: prepared statements are looked up by their text, whose hash Python keeps.
@lru_cache(maxsize=1_000)
def _with_env(sql: str) -> str:
    return ENV_SQL + sql


def run_one(
    request: ApiRequest, sql: str, params: Sequence[Any] = (), *, safe_to_repeat: bool = True
) -> db.Row:
    return run(request, sql, params, safe_to_repeat=safe_to_repeat)[0]
