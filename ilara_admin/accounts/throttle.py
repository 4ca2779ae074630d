"""Limits on attempts to get in: passwords, codes, requests for a reset, one-time links.

An attempt is counted before it is checked, and uncounted if it is correct, so concurrent attempts
cannot exceed a limit, and a refused one costs no hashing. Counts are in the database, exact across
processes. A browser in which the account has signed in before has its own count: guessing from many
addresses cannot lock the owner out of it.
"""

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Literal, cast

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from ilara_admin.accounts.known_browsers import known_browser
from ilara_admin.core.client_address import client_address, network_of
from ilara_admin.web.htmx import wants_partial

QUARTER, HOUR = 15 * 60, 60 * 60  # seconds


class Kind(StrEnum):
    SIGN_IN = "sign-in"  # with a password
    SECOND_FACTOR = "second-factor"
    RECOVERY_CODE = "recovery-code"
    REAUTHENTICATION = "reauthentication"  # also the old password of a change
    RESET_REQUEST = "reset-request"
    LINK = "link"  # a wrong one-time link: of an invite or a reset


@dataclass(frozen=True, slots=True)
class Limit:
    """`most` attempts in a window of `seconds`. The window opens with the first attempt and does
    not move, so the waiting time is known."""

    of: Literal["network", "name-in-network", "name", "browser"]
    most: int
    seconds: int


# In the order of counting: a refused attempt does not reach the later counts. So a blocked network
# adds no rows for made-up usernames, and one network cannot use up the attempts on an account.
LIMITS: dict[Kind, tuple[Limit, ...]] = {
    Kind.SIGN_IN: (
        Limit("network", 50, QUARTER),
        Limit("name-in-network", 10, QUARTER),
        Limit("name", 100, HOUR),
    ),
    # Six digits: at ten an hour, a guess is right after years.
    Kind.SECOND_FACTOR: (Limit("network", 50, QUARTER), Limit("name", 10, HOUR)),
    Kind.RECOVERY_CODE: (Limit("network", 50, QUARTER), Limit("name", 10, HOUR)),
    Kind.REAUTHENTICATION: (Limit("name", 10, QUARTER),),
    Kind.RESET_REQUEST: (Limit("network", 20, HOUR), Limit("name", 3, HOUR)),
    Kind.LINK: (Limit("network", 50, QUARTER),),
}
# What replaces them in a browser in which the account has signed in before.
IN_KNOWN_BROWSER = Limit("browser", 10, QUARTER)
IN_ANY_BROWSER = (Kind.RESET_REQUEST, Kind.LINK)  # these name no account that is signed in to

COUNT_SQL = """
    INSERT INTO sign_in_attempt AS a (subject, failures, window_ends_at)
    VALUES (%(subject)s, 1, statement_timestamp() + make_interval(secs => %(window)s))
    ON CONFLICT (subject) DO UPDATE SET
        failures = CASE WHEN a.window_ends_at <= statement_timestamp() THEN 1
                        ELSE least(a.failures, 1000000) + 1 END,
        window_ends_at = CASE WHEN a.window_ends_at <= statement_timestamp()
                              THEN EXCLUDED.window_ends_at ELSE a.window_ends_at END
    RETURNING failures, window_ends_at"""


def count_try(kind: Kind, request: HttpRequest, username: str = "") -> datetime | None:
    """Count an attempt. If it exceeds a limit, returns when the next is allowed, else None.

    `username` is that of the account, or the one typed; "" where no account is named. Not in a
    transaction, whose rollback would uncount the attempt.
    """
    for subject, limit in _subjects(kind, request, username):
        with connection.cursor() as cursor:
            cursor.execute(COUNT_SQL, {"subject": subject, "window": limit.seconds})
            failures, window_ends_at = cursor.fetchone()
        if failures > limit.most:
            return cast(datetime, window_ends_at)
    return None


def forgive(kind: Kind, request: HttpRequest, username: str = "") -> None:
    """Uncount an attempt that was correct, and forget the earlier ones of this user from here.

    The counts that others share lose only this attempt: otherwise the owner of one account could
    guess passwords of others without limit, and each sign-in of a user would help who guesses.
    """
    for subject, limit in _subjects(kind, request, username):
        with connection.cursor() as cursor:
            if limit.of in ("name-in-network", "browser"):
                cursor.execute("DELETE FROM sign_in_attempt WHERE subject = %s", [subject])
            else:
                cursor.execute(
                    "UPDATE sign_in_attempt SET failures = greatest(failures - 1, 0) "
                    "WHERE subject = %s",
                    [subject],
                )


def attempts_forget() -> None:
    """Delete the counts whose window is over."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM sign_in_attempt WHERE window_ends_at <= now()")


def _subjects(kind: Kind, request: HttpRequest, username: str) -> Iterator[tuple[str, Limit]]:
    """The counts of an attempt, as digests: a password typed as a username must not be stored."""
    name = unicodedata.normalize("NFKC", username).casefold()
    network = network_of(client_address(request))
    browser = "" if kind in IN_ANY_BROWSER or not name else known_browser(request, username)
    if browser:
        yield _digest(kind, "browser", name, browser), IN_KNOWN_BROWSER
        return
    for limit in LIMITS[kind]:
        parts = {"network": (network,), "name-in-network": (name, network), "name": (name,)}
        yield _digest(kind, limit.of, *parts[limit.of]), limit


def _digest(*parts: str) -> str:
    return sha256("\0".join(parts).encode()).hexdigest()


# --- The answer to a refused attempt --------------------------------------------------------------


def wait_text(moment: datetime, what: str = "wrong passwords") -> str:
    minutes = math.ceil(_seconds_until(moment) / 60)
    plural = "" if minutes == 1 else "s"
    return f"Too many {what}. Try again in {minutes} minute{plural}."


def refused[R: HttpResponse](request: HttpRequest, response: R, moment: datetime) -> R:
    """The response with the time to wait, as a 429; as a 422 for htmx, which shows the form."""
    response.status_code = 422 if wants_partial(request) else 429
    response["Retry-After"] = str(_seconds_until(moment))
    return response


def _seconds_until(moment: datetime) -> int:
    return max(1, math.ceil((moment - timezone.now()).total_seconds()))
