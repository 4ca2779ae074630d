"""Ilara for Python 3.10 and newer. To install, copy this file; it needs only `requests`.

    from ilara import Ilara
    ilara = Ilara("http://127.0.0.1:18000/v1", "pk_live_...")
    player = ilara.register_player("player_123", attributes={"level": 45})
    ilara.track(player["id"], "level_complete", {"level": 45})  # queued in memory, sent by a thread
    shows_tutorial = ilara.flag("new_tutorial", player["id"], default=False)  # never raises
    ilara.close()  # sends queued events; this also happens at program exit

One client serves all threads of a process. After a fork, create a new one. Calls raise IlaraError:
a subclass for each error code of the API, NetworkError if there is no response. Calls are retried
where that is safe, which is almost always: events, sessions and purchases get ids here and count
once.
"""

from __future__ import annotations

import atexit
import itertools
import json
import logging
import random
import re
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from decimal import Decimal
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypedDict, TypeVar, cast
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter

__version__ = "0.1.0"

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 20.0  # seconds
MAX_BATCH_EVENTS, MAX_BATCH_BYTES = 1_000, 1_000_000  # the API takes 1 MiB
STREAM_SILENCE = 30.0  # seconds; a stream sends a heartbeat every ten
MAX_SEEN_EVENTS, MAX_LAST_VALUES, MAX_WARNINGS = 20_000, 10_000, 1_000
PLAYER_ID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
KEEP: Any = object()  # the default of unchanged fields; None clears a field

T = TypeVar("T")
Data = dict[str, Any]
log = logging.getLogger("ilara")

# --- Responses of the API. Times are RFC 3339 strings in UTC. -----------------------------------


class Player(TypedDict):
    id: str
    external_id: str
    device_id: str | None
    email: str | None  # masked for public keys
    lifecycle_stage: str  # new, active, at_risk, churned, reactivated
    session_count: int
    total_revenue: float
    is_payer: bool
    first_seen_at: str
    last_seen_at: str
    attributes: Data


class EventReceipt(TypedDict):
    event_id: str
    player_id: str
    event_name: str
    timestamp: str
    received_at: str
    status: str  # accepted, duplicate


class StreamedEvent(EventReceipt):
    session_id: str | None
    properties: Data


class BatchReceipt(TypedDict):
    accepted: int
    duplicates: int
    rejected: list[Data]  # index, code, message, field
    conflicts: list[Data]  # index, field: differs from the event stored first under the same id


class FlagEvaluation(TypedDict):  # and `receipt`, if called with explain
    flag_key: str
    value: Any  # None: no value, use the default in your code
    variant_key: str
    reason: str
    segment_id: str | None


# --- Errors ---------------------------------------------------------------------------------------


class IlaraError(Exception):
    """`status` is 0 without a response; `retry_after` is in seconds, if the response has it."""

    def __init__(
        self, code: str, message: str, status: int = 0, *, details: Sequence[Data] = (),
        request_id: str | None = None, retry_after: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status
        self.details = list(details)  # each with field and message
        self.request_id, self.retry_after = request_id, retry_after

    @property
    def is_passing(self) -> bool:
        """Whether the same call may succeed later."""
        passing = (NetworkError, RateLimitedError, ServerError)
        return isinstance(self, passing) or self.status >= 500


class ValidationError(IlaraError):
    """The request is invalid; `details` name the fields."""


class UnauthorizedError(IlaraError):
    """The key is unknown, expired or revoked, or (status 403) not allowed to make this call."""


class NotFoundError(IlaraError):
    """The key's environment has no such player, flag or segment."""


class RateLimitedError(IlaraError):
    """The tier's rate limit is exceeded; retry after `retry_after`."""


class ServerError(IlaraError):
    """An error of the server, or a response that is not from Ilara."""


class NetworkError(IlaraError):
    """No response: no connection, or a timeout."""


ERRORS: dict[str, type[IlaraError]] = {
    "VALIDATION_ERROR": ValidationError,
    "UNAUTHORIZED": UnauthorizedError,
    "NOT_FOUND": NotFoundError,
    "RATE_LIMIT_EXCEEDED": RateLimitedError,
    "INTERNAL_ERROR": ServerError,
    "NETWORK_ERROR": NetworkError,
}


def error_of(response: requests.Response) -> IlaraError:
    """The error of a response. A proxy's own response has no error code of the API."""
    headers, status = response.headers, response.status_code
    after = headers.get("Retry-After", "")
    known: Data = {
        "request_id": headers.get("X-Request-Id"),
        "retry_after": float(after) if after.isascii() and after.isdigit() else None,
    }
    code: Any = None
    with suppress(ValueError, LookupError, TypeError):
        error = response.json()["error"]
        code, message, details = error["code"], error["message"], error.get("details") or ()
    if not isinstance(code, str):
        code = {413: "VALIDATION_ERROR", 429: "RATE_LIMIT_EXCEEDED"}.get(status, "INTERNAL_ERROR")
        message = f"HTTP {status}, and the response is not from Ilara. Check base_url."
        details = ()
    return ERRORS.get(code, IlaraError)(code, message, status, details=details, **known)


def pause(failures: int, retry_after: float | None = None) -> float:
    """Seconds to wait after a number of failures. Random, so that clients do not retry in sync."""
    if retry_after is not None:
        return retry_after + random.uniform(0, FIRST_PAUSE)
    return random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 20)))


# --- The client -----------------------------------------------------------------------------------


class Ilara:
    """A client for the environment that `api_key` belongs to. Options, in seconds:

    `timeout` limits connecting and each wait for response bytes; `deadline` limits a call with all
    its `attempts`; `flag_timeout` limits `flag`, which makes one attempt. Tracked events are sent
    when `flush_at` of them are queued or the first has been queued for `flush_interval`. At most
    `max_waiting` are queued: beyond that the oldest is dropped and counted in `dropped`.
    `on_rejected(event, error)` is called for each event that the server rejects; the default logs
    each reason once.
    """

    def __init__(
        self, base_url: str, api_key: str, *, timeout: float = 10.0, deadline: float = 30.0,
        attempts: int = 5, flag_timeout: float = 1.0, flush_at: int = 100,
        flush_interval: float = 1.0, max_waiting: int = 10_000,
        on_rejected: Callable[[Data, IlaraError], None] | None = None,
    ) -> None:  # fmt: skip
        if not base_url.startswith(("http://", "https://")):
            raise ValueError("base_url must begin with http:// or https://")
        if not re.fullmatch("[!-~]+", api_key):  # an exception from requests would show the key
            raise ValueError("api_key is empty or has an invalid character, such as a line break")
        self.base_url = base_url.rstrip("/").removesuffix("/v1") + "/v1"
        self.timeout, self.deadline, self.attempts = timeout, deadline, attempts
        self.flag_timeout = flag_timeout
        self._session = requests.Session()
        self._session.headers["X-API-Key"] = api_key
        self._session.headers["User-Agent"] = f"ilara-python/{__version__}"
        # Without cookies, calls do not modify the session, so threads can share it.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.mount("http://", HTTPAdapter(pool_maxsize=50))
        self._session.mount("https://", HTTPAdapter(pool_maxsize=50))
        self._last_values: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._warned: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()  # of the two above
        self._queue = _Queue(self, flush_at, flush_interval, max_waiting, on_rejected)
        atexit.register(self.close)

    def __enter__(self) -> Ilara:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- Players ---

    def register_player(
        self, external_id: str, *, device_id: str | None = KEEP, email: str | None = KEEP,
        attributes: Data = KEEP,
    ) -> Player:  # fmt: skip
        """Create a player, or update the one with this id. Omitted fields stay, None clears."""
        body = {"external_id": external_id, **_given(device_id, email, attributes)}
        return cast(Player, self._call("POST", "/players/players", body))

    def update_player(
        self, player_id: str, *, device_id: str | None = KEEP, email: str | None = KEEP,
        attributes: Data = KEEP,
    ) -> Player:  # fmt: skip
        """Omitted fields stay, None clears. Attributes merge; one that is None is removed."""
        path, body = _path("/players/players/{}", player_id), _given(device_id, email, attributes)
        return cast(Player, self._call("PATCH", path, body))

    def get_player(self, player_id: str) -> Player:
        return cast(Player, self._call("GET", _path("/players/players/{}", player_id)))

    def get_player_by_external_id(self, external_id: str) -> Player:
        path = _path("/players/players/external/{}", external_id)
        return cast(Player, self._call("GET", path))

    def list_players(self, *, limit: int = 50, cursor: str | None = None) -> Data:
        """One page: `players`, at most 200, and `next_cursor`. Requires a secret key."""
        query = {"limit": limit, "cursor": cursor}
        return cast(Data, self._call("GET", "/players/players", query=query))

    def iterate_players(self, *, page_size: int = 200) -> Iterator[Player]:
        """All players, ordered by id. Requires a secret key."""
        cursor = None
        while True:
            page = self.list_players(limit=page_size, cursor=cursor)
            yield from page["players"]
            if (cursor := page["next_cursor"]) is None:
                return

    def record_session(
        self, player_id: str, *, session_id: str | None = None,
        started_at: datetime | None = None, duration_seconds: int | None = None,
    ) -> Player:  # fmt: skip
        """Record a session. Each id counts once; if you give none, one is generated."""
        body = {
            "session_id": session_id or str(uuid.uuid4()),
            "started_at": _time(started_at),
            "duration_seconds": duration_seconds,
        }
        path = _path("/players/players/{}/session", player_id)
        return cast(Player, self._call("POST", path, body))

    def record_purchase(
        self, player_id: str, amount: Decimal | str | int, *, currency: str | None = None,
        transaction_id: str | None = None, product_id: str | None = None,
    ) -> Player:  # fmt: skip
        """Record a purchase. Give the store's transaction id: each counts only once, for ever."""
        if not isinstance(amount, (Decimal, str, int)):
            raise TypeError("amount must be a Decimal, a str or an int: a float loses cents")
        body = {
            "amount": f"{amount:f}" if isinstance(amount, Decimal) else str(amount),
            "currency": currency,
            "transaction_id": transaction_id or str(uuid.uuid4()),
            "product_id": product_id,
        }
        path = _path("/players/players/{}/purchase", player_id)
        return cast(Player, self._call("POST", path, body))

    def get_lifecycle(self, player_id: str) -> Data:
        return cast(Data, self._call("GET", _path("/players/players/{}/lifecycle", player_id)))

    def get_churn_risk(self, player_id: str) -> Data:
        return cast(Data, self._call("GET", _path("/players/players/{}/churn-risk", player_id)))

    def link_alias(self, player_id: str, external_id: str) -> Data:
        """Link a second external id to this player. Requires a secret key."""
        path = _path("/players/players/{}/aliases", player_id)
        return cast(Data, self._call("POST", path, {"external_id": external_id}))

    def unlink_alias(self, player_id: str, external_id: str) -> Data:
        """Requires a secret key. Not retried without a response: a retry would get NOT_FOUND."""
        path = _path("/players/players/{}/aliases/{}", player_id, external_id)
        return cast(Data, self._call("DELETE", path, repeat=False))

    # --- Events ---

    def track(
        self, player_id: str, event_name: str, properties: Data | None = None, *,
        session_id: str | None = None, timestamp: datetime | None = None,
        event_id: str | None = None,
    ) -> str:  # fmt: skip
        """Queue an event and return its id. The default `timestamp` is now.

        Raises TypeError or ValueError if the event cannot be encoded as JSON, and ValidationError
        if `player_id` is not the id of a player.
        """
        event = {
            "player_id": _player(player_id),
            "event_name": event_name,
            "properties": properties,
            "session_id": session_id,
            "timestamp": timestamp,
            "event_id": event_id,
        }
        return self._queue.add(_complete(event))

    def track_now(self, event: Data) -> EventReceipt:
        """Send one event without the queue, with the same fields as `track`."""
        body = _complete(event)
        return cast(EventReceipt, self._call("POST", "/events/events", body, clock=True))

    def track_batch(self, events: Sequence[Data]) -> BatchReceipt:
        """Send 1 to 1,000 events without the queue; the receipt has a result for each."""
        body = {"events": [_complete(event) for event in events]}
        return cast(BatchReceipt, self._call("POST", "/events/events/batch", body, clock=True))

    def stream(
        self, *, after: str | None = None, event_name: str | None = None,
        player_id: str | None = None, on_gap: Callable[[int], None] | None = None,
    ) -> EventStream:  # fmt: skip
        """Stream events as they arrive, from now on or after a `last_id`. Requires a secret key.

        `on_gap` is called with the number of events that this reader was too slow for; the default
        logs.
        """
        query = {"event_name": event_name, "player_id": player_id}
        return EventStream(self, query, after, on_gap)

    @property
    def dropped(self) -> int:
        """How many tracked events were dropped because the queue was full."""
        return self._queue.dropped

    def flush(self, timeout: float = 10.0) -> int:
        """Send queued events. Returns how many are still queued: 0 unless it timed out."""
        return self._queue.flush(timeout)

    def close(self, timeout: float = 10.0) -> int:
        """Flush and stop. Returns how many events are lost: 0 unless it timed out."""
        atexit.unregister(self.close)
        lost = self._queue.close(timeout)
        self._session.close()
        return lost

    # --- Flags and segments ---

    def flag(self, key: str, player_id: str, default: T, context: Data | None = None) -> T:
        """The flag's value for the player. Never raises; makes one attempt within `flag_timeout`.

        While the server is unavailable, returns the last value received for this player, if any.
        In all other cases, if the player's variant has no value, or if the value's type differs
        from `default`'s, returns `default`; a mistake (a wrong key, an unknown flag or player) is
        logged once. Call it when something loads, not every frame.
        """
        try:
            value = self._flag_value(key, player_id, context)
            if value is None:
                return default
            if _is_like(value, default):
                return cast(T, value)
            text = f"flag {key}: using the default, whose type differs from {value!r}"
            self._warn_once(f"type of {key}", text)
        except Exception as error:
            text = f"flag {key}: using the default: {error}"
            if isinstance(error, IlaraError) and error.is_passing:
                log.info(text)
            else:  # of a wrong key, one warning is enough for all flags
                is_key = isinstance(error, UnauthorizedError)
                self._warn_once(str(error) if is_key else f"{key}: {error}", text)
        return default

    def _warn_once(self, topic: str, text: str) -> None:
        """Log a warning, if it is the first on its topic."""
        with self._lock:
            level = logging.DEBUG if topic in self._warned else logging.WARNING
            _remember(self._warned, topic, None, MAX_WARNINGS)
        log.log(level, text)

    def _flag_value(self, key: str, player_id: str, context: Data | None) -> Any:
        path, place = _path("/flags/flags/{}/evaluate", key), (key, player_id)
        body = {"player_id": _player(player_id), "context": context}
        try:
            value = self._try("POST", path, _json(body), None, self.flag_timeout)["value"]
        except IlaraError as error:
            with self._lock:
                if error.is_passing and place in self._last_values:
                    return json.loads(self._last_values[place])
            raise
        with self._lock:
            _remember(self._last_values, place, json.dumps(value), MAX_LAST_VALUES)
        return value

    def evaluate_flag(
        self, key: str, player_id: str, *, context: Data | None = None, explain: bool = False,
        at: datetime | None = None,
    ) -> FlagEvaluation:  # fmt: skip
        """`context` overrides attributes for this call. `explain` and `at` need a secret key."""
        path = _path("/flags/flags/{}/evaluate", key)
        query = {"explain": "true" if explain else None, "at": _time(at)}
        body = {"player_id": _player(player_id), "context": context}
        return cast(FlagEvaluation, self._call("POST", path, body, query))

    def evaluate_flags(
        self, player_id: str, *, context: Data | None = None, explain: bool = False,
        at: datetime | None = None,
    ) -> dict[str, FlagEvaluation]:  # fmt: skip
        """All flags by key, in one call; use it when the game loads."""
        query = {"explain": "true" if explain else None, "at": _time(at)}
        body = {"player_id": _player(player_id), "context": context}
        data = self._call("POST", "/flags/flags/evaluate", body, query)
        return cast("dict[str, FlagEvaluation]", data["flags"])

    def evaluate_segment(self, segment_id: str, player_id: str) -> bool:
        path = _path("/segments/segments/{}/evaluate", segment_id)
        return cast(bool, self._call("POST", path, {"player_id": _player(player_id)})["is_member"])

    def get_player_segments(self, player_id: str) -> list[dict[str, str]]:
        """The segments the player is in, each with `id` and `name`."""
        data = self._call("GET", _path("/segments/player/{}", player_id))
        return cast("list[dict[str, str]]", data["segments"])

    # --- Requests ---

    def _call(
        self, method: str, path: str, body: Data | None = None, query: Data | None = None, *,
        repeat: bool = True, clock: bool = False,
    ) -> Any:  # fmt: skip
        """Try until there is a response. `clock` sends the time, so the server can correct ours."""
        ends = time.monotonic() + self.deadline
        for attempt in itertools.count(1):
            data = None
            if body is not None:
                data = _json({**body, "sent_at": _now()} if clock else body)
            timeout = min(self.timeout, max(ends - time.monotonic(), 0.001))
            try:
                return self._try(method, path, data, query, timeout)
            except IlaraError as error:
                may_repeat = error.is_passing and (repeat or isinstance(error, RateLimitedError))
                wait = pause(attempt, error.retry_after)
                if not may_repeat or attempt >= self.attempts or time.monotonic() + wait >= ends:
                    raise
            time.sleep(wait)

    def _try(self, method: str, path: str, body: bytes | None, query: Any, timeout: float) -> Any:
        """One attempt: returns the response's data or raises IlaraError."""
        with self._open(method, path, body, query, timeout) as response:
            if ignored := response.headers.get("X-Ilara-Ignored"):
                log.warning("%s %s ignored unknown fields: %s", method, path, ignored)
            try:
                return response.json()["data"]
            except (ValueError, LookupError, TypeError) as error:
                raise error_of(response) from error
            except requests.RequestException as error:
                raise NetworkError("NETWORK_ERROR", str(error)) from error

    def _open(
        self, method: str, path: str, body: bytes | None, query: Data | None, timeout: float,
        headers: dict[str, str] | None = None,
    ) -> requests.Response:  # fmt: skip
        """The response, its body not read yet. Raises IlaraError unless the status is 2xx."""
        headers = {**(headers or {}), **({"Content-Type": "application/json"} if body else {})}
        try:
            response = self._session.request(
                method, self.base_url + path, params=query, data=body, headers=headers,
                timeout=timeout, stream=True,
                allow_redirects=False,  # a POST would become a GET
            )  # fmt: skip
            if 200 <= response.status_code < 300:
                return response
            with response:
                raise error_of(response)
        except requests.RequestException as error:
            raise NetworkError("NETWORK_ERROR", str(error)) from error


# --- The queue of tracked events ------------------------------------------------------------------


class _Queue:
    """Queued events as JSON, oldest first.

    A thread sends one batch at a time, which preserves the order. A batch without a response is
    sent again with the same ids, so events the server already stored count as duplicates.
    """

    def __init__(
        self, client: Ilara, flush_at: int, flush_interval: float, max_waiting: int,
        on_rejected: Callable[[Data, IlaraError], None] | None,
    ) -> None:  # fmt: skip
        self._client, self._on_rejected = client, on_rejected
        self._flush_at, self._flush_interval = min(flush_at, max_waiting), flush_interval
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, bytes]] = deque()  # with the time by which to send it
        self._in_flight: list[bytes] = []
        self._flushing = 0  # callers that wait until everything is sent
        self._flush_requested = False  # a flush was called since the last failure
        self._closed = False
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def add(self, event: Data) -> str:
        text = _json(event)  # raises here instead of later in the thread
        with self._changed:
            if self._closed:
                raise RuntimeError("this client is closed")
            if len(self._waiting) >= self._max_waiting:
                self._waiting.popleft()
                self.dropped += 1
                if self.dropped == 1:
                    log.warning(
                        "queue of %d events is full: dropping the oldest", self._max_waiting
                    )
            self._waiting.append((time.monotonic() + self._flush_interval, text))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ilara", daemon=True)
                self._thread.start()
            if len(self._waiting) in (1, self._flush_at):
                self._changed.notify_all()
        return cast(str, event["event_id"])

    def flush(self, timeout: float) -> int:
        with self._changed:
            self._flushing += 1
            self._flush_requested = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or not self._left(), timeout)
            self._flushing -= 1
            return self._left()

    def close(self, timeout: float) -> int:
        self.flush(timeout)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if left := self._left():
                log.warning("events lost that could not be sent in time: %d", left)
            return left

    def _left(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    def _run(self) -> None:
        failures = 0
        while batch := self._next():
            wait = self._send(batch, failures)
            with self._changed:
                if wait is None:
                    failures = 0
                    self._in_flight = []
                    self._changed.notify_all()
                else:
                    self._changed.wait_for(lambda: self._closed or self._flush_requested, wait)
                    failures = 0 if self._flush_requested else failures + 1
                    self._flush_requested = False

    def _next(self) -> list[bytes]:
        """The failed batch, else the queued events when due; empty when closed."""
        with self._changed:
            while not (self._closed or self._in_flight):
                left = self._waiting[0][0] - time.monotonic() if self._waiting else None
                is_full = len(self._waiting) >= self._flush_at
                if left is not None and (is_full or self._flushing or left <= 0):
                    self._in_flight = self._take()
                else:
                    self._changed.wait(left)
            return [] if self._closed else self._in_flight

    def _take(self) -> list[bytes]:
        batch = [self._waiting.popleft()[1]]
        size = len(batch[0])
        while self._waiting and len(batch) < MAX_BATCH_EVENTS:
            size += len(self._waiting[0][1]) + 1
            if size > MAX_BATCH_BYTES:
                break
            batch.append(self._waiting.popleft()[1])
        return batch

    def _send(self, batch: list[bytes], failures: int) -> float | None:
        """Send a batch. Returns the seconds to wait before sending it again, None if it is done."""
        body = b'{"sent_at":"%s","events":[%s]}' % (_now().encode(), b",".join(batch))
        try:
            receipt = self._client._try(
                "POST", "/events/events/batch", body, None, self._client.timeout
            )
            for item in receipt["rejected"]:
                kind, message = ERRORS.get(item["code"], IlaraError), item["message"]
                details = [{"field": item["field"], "message": message}] if item["field"] else []
                reason = kind(item["code"], message, 200, details=details)
                self._reject(batch[item["index"]], reason)
        except IlaraError as error:
            if error.is_passing:
                return pause(failures + 1, error.retry_after)
            for text in batch:
                self._reject(text, error)
        except (LookupError, TypeError):  # not a receipt from Ilara
            return pause(failures + 1)
        return None

    def _reject(self, text: bytes, error: IlaraError) -> None:
        event = json.loads(text)
        if self._on_rejected is None:
            name, event_id = event["event_name"], event["event_id"]
            self._client._warn_once(
                str(error), f"event {name} was rejected, with the id {event_id}: {error}"
            )
            return
        try:
            self._on_rejected(event, error)
        except Exception:
            log.exception("on_rejected failed")


# --- The stream of events -------------------------------------------------------------------------


class EventStream:
    """Iterate over it for events. It reconnects after any interruption, resumes where it was and
    skips events it has already returned. It ends when `close` is called, from any thread.

    `last_id` is its position: pass it as `after` to resume later. Some events may then repeat.
    """

    def __init__(
        self, client: Ilara, query: Data, after: str | None, on_gap: Callable[[int], None] | None
    ) -> None:
        self.last_id = after
        self._client, self._query, self._on_gap = client, query, on_gap
        self._closed = threading.Event()
        self._response: requests.Response | None = None
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._failures = 0
        self._retry = 3.0  # seconds; the server may change it

    def __iter__(self) -> Iterator[StreamedEvent]:
        while not self._closed.is_set():
            try:
                with self._open() as self._response:
                    for event in self._read(self._response):
                        # Ids are unique per player. A resume repeats a few seconds at most.
                        place = (event["player_id"], event["event_id"])
                        if place not in self._seen:
                            _remember(self._seen, place, None, MAX_SEEN_EVENTS)
                            yield event
                wait = pause(1, self._retry)
            except IlaraError as error:
                if not error.is_passing:
                    raise
                self._failures += 1
                wait = pause(self._failures, error.retry_after)
            self._response = None
            self._closed.wait(wait)

    def close(self) -> None:
        self._closed.set()
        response = self._response
        if response is not None and hasattr(response.raw, "shutdown"):
            # Older versions end at the next heartbeat, within ten seconds.
            with suppress(OSError, RuntimeError, ValueError):  # it has just ended
                response.raw.shutdown()

    def _open(self) -> requests.Response:
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        path = "/events/events/stream"
        return self._client._open("GET", path, None, self._query, STREAM_SILENCE, headers)

    def _read(self, response: requests.Response) -> Iterator[StreamedEvent]:
        """The events of one connection, parsed as server-sent events."""
        fields: dict[str, str] = {}
        for line in self._lines(response):
            if line:
                name, _, value = line.decode().partition(": ")
                fields[name] = value
                continue
            self._failures = 0
            self.last_id = fields.get("id", self.last_id)
            if "retry" in fields:
                self._retry = int(fields["retry"]) / 1000
            if fields.get("event") == "gap":
                self._report_gap(json.loads(fields["data"])["count"])
            elif "data" in fields:
                yield json.loads(fields["data"])
            fields = {}

    def _lines(self, response: requests.Response) -> Iterator[bytes]:
        # A larger size would delay events until a block is full, except with chunked encoding.
        size = cast(int, None) if response.raw.chunked else 1
        try:
            for line in response.iter_lines(size):
                if self._closed.is_set():
                    return
                yield line
        except (requests.RequestException, OSError, ValueError, AttributeError) as error:
            # Any of them can occur when a connection ends, or `close` shuts it, during a read.
            raise NetworkError("NETWORK_ERROR", str(error)) from error

    def _report_gap(self, count: int) -> None:
        if self._on_gap is None:
            log.warning("the stream skipped %d events: this reader is too slow", count)
        else:
            self._on_gap(count)


# --- Helpers --------------------------------------------------------------------------------------


def _given(device_id: Any, email: Any, attributes: Any) -> Data:
    fields = {"device_id": device_id, "email": email, "attributes": attributes}
    return {name: value for name, value in fields.items() if value is not KEEP}


def _complete(event: Data) -> Data:
    """The event with a fixed id and time, so that sending it again changes nothing."""
    fixed = {**event, "event_id": event.get("event_id") or str(uuid.uuid4())}
    moment = event.get("timestamp")
    fixed["timestamp"] = _time(moment) if isinstance(moment, datetime) else moment or _now()
    return {name: value for name, value in fixed.items() if value is not None}


def _player(player_id: str) -> str:
    """The id of a player, checked here: a mistake is easier to find where it was made."""
    if not PLAYER_ID.fullmatch(player_id):
        message = (
            f"player_id must be the id that registration returned, a UUID, not '{player_id}'. Is "
            "it the external id?"
        )
        raise ValidationError("VALIDATION_ERROR", message)
    return player_id


def _path(template: str, *parts: str) -> str:
    if template.startswith(("/players/players/{}", "/segments/player/{}")):
        _player(parts[0])
    for part in parts:
        if part in ("", ".", ".."):  # would be another path
            message = "An id must not be empty, '.' or '..'"
            raise ValidationError("VALIDATION_ERROR", message)
    return template.format(*(quote(part, safe="") for part in parts))


def _json(body: Data) -> bytes:
    """Lone surrogates, as left by cutting a string, are replaced: one would fail a whole batch."""
    text = json.dumps(body, allow_nan=False, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", "\ufffd", text).encode()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()


def _time(moment: datetime | None) -> str | None:
    """A time without an offset is local time, as usual in Python."""
    return None if moment is None else moment.astimezone(timezone.utc).isoformat()


def _is_like(value: Any, default: Any) -> bool:
    """Whether both have one type. A bool is not a number; an int is accepted for a float."""
    if default is None:
        return True
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    wanted = (int, float) if isinstance(default, float) else type(default)
    return isinstance(value, wanted) or isinstance(default, type(value))


def _remember(memory: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > most:
        memory.popitem(last=False)
