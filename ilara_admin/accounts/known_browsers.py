"""Browsers in which an account has signed in before. Attempts there have their own limit.

The cookie holds a random id of the browser and a mark for each account. A mark is a keyed digest of
the browser, the account and its password, so nothing is stored, and a new password voids it.
"""

import hmac
from secrets import token_urlsafe

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import salted_hmac

from ilara_admin.models import User

COOKIE = "ilara_known"
MAX_AGE = 365 * 24 * 3600  # seconds
MAX_ACCOUNTS = 5
MAX_ID = 40  # characters
SALT = "ilara.known_browser"


def known_browser(request: HttpRequest, username: str) -> str:
    """The id of the browser if this account has signed in there since its last change of password,
    else ""."""
    browser, marks = _parts(request)
    if not marks or "\0" in username:
        return ""
    for user in User.objects.filter(username__iexact=username, is_active=True):
        mine = _mark(browser, user.pk, user.get_session_auth_hash())
        if any(hmac.compare_digest(mine, mark) for mark in marks):
            return browser
    return ""


def mark_browser(
    request: HttpRequest, response: HttpResponseBase, pk: object, password_hash: str
) -> None:
    """Mark the browser as one of the account with this id and session hash."""
    browser, marks = _parts(request)
    browser = browser or token_urlsafe(16)
    mine = _mark(browser, pk, password_hash)
    kept = [mine, *(mark for mark in marks if mark != mine)][:MAX_ACCOUNTS]
    response.set_cookie(
        COOKIE,
        ".".join([browser, *kept]),
        max_age=MAX_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _parts(request: HttpRequest) -> tuple[str, list[str]]:
    """The browser's id and the marks. A made-up id has no valid marks."""
    browser, *marks = request.COOKIES.get(COOKIE, "").split(".")
    return browser[:MAX_ID], [mark for mark in marks if mark.isascii()][:MAX_ACCOUNTS]


def _mark(browser: str, pk: object, password_hash: str) -> str:
    return salted_hmac(SALT, f"{browser}:{pk}:{password_hash}", algorithm="sha256").hexdigest()
