"""How allauth behaves here: its steps of a sign-in, without its pages, messages and mails."""

import base64
import hashlib
import logging
from functools import lru_cache
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.account.stages import LoginStage
from allauth.account.utils import get_login_redirect_url
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.internal.constants import LoginStageKey
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from ilara_admin.accounts.factors import factors_of
from ilara_admin.accounts.openid import used_factor_of_provider
from ilara_admin.accounts.sessions import address_of, note_use
from ilara_admin.models import User

logger = logging.getLogger(__name__)


class AccountAdapter(DefaultAccountAdapter):
    def get_login_stages(self) -> list[str]:
        """The steps after the password. allauth's others are for e-mail addresses and phones."""
        return ["ilara_admin.accounts.adapters.SecondFactorStage"]

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def is_safe_url(self, url: str | None) -> bool:
        """Only this host: allauth would also accept the other ones in ALLOWED_HOSTS."""
        request = context.request
        return url_has_allowed_host_and_scheme(
            url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
        )

    def post_login(
        self, request: HttpRequest, user: User, *, redirect_url: str | None, **details: Any
    ) -> HttpResponse:
        """Where to go. Without allauth's signal, on which it loads each session of the user."""
        note_use(request)
        return HttpResponseRedirect(get_login_redirect_url(request, redirect_url))

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        messages.error(request, "This account is deactivated. An owner can reactivate it.")
        return redirect("sign_in")

    def is_reauthentication_required(self, *, app: str, **details: Any) -> bool:
        return False  # the pages ask, see accounts/identity.py

    def get_client_ip(self, request: HttpRequest) -> str:
        return address_of(request)

    def add_message(self, *args: Any, **details: Any) -> None:
        """The pages have their own messages."""

    def send_notification_mail(self, *args: Any, **details: Any) -> None:
        """The audit log has every change."""


class SecondFactorStage(LoginStage):
    """The step after the password: its page, and that the account still has the password of the
    first step. allauth's own class would load the parts for passkeys in every process."""

    key = LoginStageKey.MFA_AUTHENTICATE.value
    urlname = "second_factor"

    def handle(self) -> tuple[HttpResponse | None, bool]:
        user = self.login.user
        records = get_authentication_records(self.request, user)
        if (
            any(record.get("passwordless") for record in records)
            or not factors_of(user).count
            or used_factor_of_provider(self.request, user)
        ):
            return None, True
        self.state["password"] = password_print(user)
        return HttpResponseRedirect(reverse(self.urlname)), True

    def is_current(self) -> bool:
        """Whether the account is active and has the password of the first step."""
        user = self.login.user
        return bool(user.is_active and self.state.get("password") == password_print(user))


def password_print(user: User) -> str:
    """What changes with the password."""
    return user.get_session_auth_hash()


class SecondFactorAdapter(DefaultMFAAdapter):
    def get_totp_issuer(self) -> str:
        return f"Ilara ({context.request.get_host()})"

    def _get_user_identifier(self, user: User) -> str:
        return user.username

    def _get_site_name(self) -> str:
        return "Ilara"

    def encrypt(self, text: str) -> str:
        encrypted: bytes = cipher().encrypt(text.encode())
        return encrypted.decode()

    def decrypt(self, encrypted_text: str) -> str:
        from allauth.mfa.totp.internal.auth import generate_totp_secret
        from cryptography.fernet import InvalidToken

        try:
            text: bytes = cipher().decrypt(encrypted_text.encode())
            return text.decode()
        except InvalidToken:
            logger.warning("A second factor was stored with another SECRET_KEY. Reset it.")
            lost: str = generate_totp_secret()  # for which no code is right
            return lost


@lru_cache(maxsize=1)
def cipher() -> Any:
    """Encrypts secrets of second factors with a key that depends on SECRET_KEY."""
    from cryptography.fernet import Fernet  # large, and rarely needed

    digest = hashlib.sha256(b"ilara second factors\0" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
