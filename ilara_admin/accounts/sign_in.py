"""Sign-in, with a limit on failed attempts.

An attempt is counted before its password is checked and uncounted if it is correct, so concurrent
attempts cannot exceed the limit. Attempts are counted per username and address, and per address.
"""

import math
from datetime import datetime
from hashlib import sha256
from typing import Any, cast

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.db import connection
from django.http import HttpResponse
from django.utils import timezone

from ilara_admin.core.client_address import client_address

WINDOW_SECONDS = 15 * 60
FAILURES_PER_NAME = 10
FAILURES_PER_ADDRESS = 50

# A window opens with the first failure and does not move, so the waiting time is known.
COUNT_SQL = """
    INSERT INTO sign_in_attempt AS a (subject, failures, window_ends_at)
    VALUES (%(subject)s, 1, statement_timestamp() + make_interval(secs => %(window)s))
    ON CONFLICT (subject) DO UPDATE SET
        failures = CASE WHEN a.window_ends_at <= statement_timestamp() THEN 1
                        ELSE least(a.failures, 1000000) + 1 END,
        window_ends_at = CASE WHEN a.window_ends_at <= statement_timestamp()
                              THEN EXCLUDED.window_ends_at ELSE a.window_ends_at END
    RETURNING failures, window_ends_at"""


def count_try(username: str, address: str) -> datetime | None:
    """Count an attempt. If it exceeds the limit, returns when the next is allowed, else None."""
    # The address first: a blocked address must not add rows for made-up usernames.
    for subject, limit in (
        (_address_subject(address), FAILURES_PER_ADDRESS),
        (_name_subject(username, address), FAILURES_PER_NAME),
    ):
        with connection.cursor() as cursor:
            cursor.execute(COUNT_SQL, {"subject": subject, "window": WINDOW_SECONDS})
            failures, window_ends_at = cursor.fetchone()
        if failures > limit:
            return cast(datetime, window_ends_at)
    return None


def forgive(username: str, address: str) -> None:
    """After a correct password: reset the username, and uncount this one attempt of the address.

    Resetting the address would let the owner of one account guess passwords of others without
    limit.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE sign_in_attempt SET failures = greatest(failures - 1, 0) WHERE subject = %s",
            [_address_subject(address)],
        )
        cursor.execute(
            "DELETE FROM sign_in_attempt WHERE subject = %s OR window_ends_at <= now()",
            [_name_subject(username, address)],
        )


def _name_subject(username: str, address: str) -> str:
    return _digest("name", username.casefold(), address)


def _address_subject(address: str) -> str:
    return _digest("address", address)


def _digest(*parts: str) -> str:
    return sha256("\0".join(parts).encode()).hexdigest()


# --- The page -------------------------------------------------------------------------------------


class SignInForm(AuthenticationForm):
    allowed_at: datetime | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].widget.attrs["spellcheck"] = "false"

    def clean(self) -> dict[str, Any]:
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if not username or not password:
            return self.cleaned_data
        assert self.request is not None
        address = client_address(self.request)
        self.allowed_at = count_try(username, address)
        if self.allowed_at is not None:
            raise ValidationError(_wait_text(self.allowed_at), code="throttled")
        cleaned = super().clean()
        forgive(username, address)
        return cleaned

    def get_invalid_login_error(self) -> ValidationError:
        return ValidationError(
            "Wrong username or password. Both are case-sensitive.", code="invalid_login"
        )


def _seconds_until(moment: datetime) -> int:
    return max(1, math.ceil((moment - timezone.now()).total_seconds()))


def _wait_text(moment: datetime) -> str:
    minutes = math.ceil(_seconds_until(moment) / 60)
    plural = "" if minutes == 1 else "s"
    return f"Too many wrong passwords. Try again in {minutes} minute{plural}."


class SignInView(LoginView):
    """Django's view, which checks `next` and rotates the session key."""

    template_name = "accounts/sign_in.html"
    authentication_form = SignInForm

    def form_invalid(self, form: forms.BaseForm) -> HttpResponse:
        allowed_at = cast(SignInForm, form).allowed_at
        response = self.render_to_response(
            self.get_context_data(form=form), status=429 if allowed_at else 422
        )
        if allowed_at:
            response["Retry-After"] = str(_seconds_until(allowed_at))
        return response
