"""Passkeys: what the browser is asked, and whether its answer is right. The challenge of a question
is in the session.

Passkeys belong to a host name, over HTTPS or on localhost; browsers have none for an IP address.
"""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from allauth.mfa.models import Authenticator
from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.http.request import split_domain_port

from ilara_admin.accounts.factors import PASSKEY
from ilara_admin.models import User

WRONG = "This passkey was not accepted. Try again, or use another way."
# What the parser raises for objects that are not as browsers send them.
BAD_ANSWER = (ValueError, TypeError, LookupError, AttributeError, AssertionError, struct.error)


class AnswerForm(forms.Form):
    """A browser's answer, which static/js/passkeys.js fills in."""

    credential = forms.JSONField(widget=forms.HiddenInput, error_messages={"required": WRONG})


def can_have_passkeys(request: HttpRequest) -> bool:
    host = split_domain_port(request.get_host())[0]
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return request.is_secure() or host == "localhost" or host.endswith(".localhost")
    return False


def registration_question(user: User) -> str:
    """What navigator.credentials.create() needs for a new passkey of this account, as JSON."""
    from allauth.mfa.webauthn.internal import auth  # large, and rarely needed

    return json.dumps(auth.begin_registration(user, passwordless=True)["publicKey"])


def sign_in_question(user: User | None = None) -> dict[str, Any]:
    """What navigator.credentials.get() needs for a passkey of this account, or of any."""
    from allauth.mfa.webauthn.internal import auth

    options: dict[str, Any] = dict(auth.begin_authentication(user)["publicKey"])
    return options


def check_registration(credential: Any) -> None:
    """Raises ValidationError unless the new passkey answers the last question of this session."""
    from allauth.mfa.webauthn.internal import auth

    with _bad_answers_refused():
        auth.parse_registration_response(credential)
        auth.complete_registration(credential)


def passkey_of_answer(credential: Any, user: User | None = None) -> Authenticator:
    """The passkey that answers the last question of this session: of this account, or of the one
    that the answer names. Raises ValidationError."""
    from allauth.mfa.webauthn.internal import auth

    with _bad_answers_refused():
        auth.parse_authentication_response(credential)
        found = auth.complete_authentication(
            user or auth.extract_user_from_response(credential), credential
        )
        assert found.type == PASSKEY
        return found


@contextmanager
def _bad_answers_refused() -> Iterator[None]:
    try:
        yield
    except (ValidationError, *BAD_ANSWER):
        raise ValidationError(WRONG) from None
