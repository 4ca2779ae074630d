"""Who may sign in through OpenID Connect, as which account, and with which roles.

A person is known by issuer and subject. An unknown person gets:

- the account that has their e-mail address, if the provider verified the address and no other
  account has it. Only owners write these addresses, and sign-up is closed, so no account can
  have the address of another person; and the owner of the mailbox can reset the password anyway;
- else a new account, if the claim gives a role or an open invite has the verified address;
- else a refusal.
"""

import logging
from collections.abc import Mapping
from typing import Any, NoReturn

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.login import record_authentication
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.providers.base import AuthError, AuthProcess
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from ilara_admin.accounts.openid_roles import create_account, has_any_role, set_roles
from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.core.invites import InviteGone, invite_join, invites_for
from ilara_admin.core.openid import Grants, OpenIdConfig, roles_from_claims, second_factor_used
from ilara_admin.models import AuditAction, Invite, User

logger = logging.getLogger("ilara.openid")

PROVIDER = Actor("OpenID Connect")
# How allauth notes in the session that the account has shown a second factor, and of which type.
SECOND_FACTOR, OF_PROVIDER = "mfa", "openid"


def provider_config() -> OpenIdConfig:
    assert settings.OPENID, "nothing is routed without a provider"
    return settings.OPENID


class OpenIdRefused(Exception):
    """The provider has said who it is, and this person may not sign in. The text is shown."""


class OpenIdAdapter(DefaultSocialAccountAdapter):
    """What allauth asks about sign-in through the provider. Its own sign-up never runs: before it
    would begin, every person has an account or is refused."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False

    def list_apps(self, request: HttpRequest, **kwargs: Any) -> list[Any]:
        """The provider of the settings. None is read from the database."""
        return [provider.app for provider in self.list_providers(request)]

    def list_providers(self, request: HttpRequest) -> list[Any]:
        return [self.get_provider(request, "")] if settings.OPENID else []

    def get_provider(
        self, request: HttpRequest, provider: str, client_id: str | None = None
    ) -> Any:
        from ilara_admin.accounts.openid_provider import provider_for

        return provider_for(request)

    def get_requests_session(self) -> Any:
        """A redirect could lead to an address that is not encrypted."""
        session = super().get_requests_session()
        session.max_redirects = 0
        return session

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Set the account of the sign-in. `sociallogin` has it already if the person is known."""
        config = provider_config()
        claims = sociallogin.provider.claims
        if sociallogin.state.get("process") == AuthProcess.CONNECT:
            raise ImmediateHttpResponse(_connect(request, sociallogin))
        try:
            user = admit(sociallogin, claims, config)
        except OpenIdRefused as refusal:
            raise ImmediateHttpResponse(error_page(request, str(refusal), 403)) from None
        except (IntegrityError, InviteGone):  # the same person came twice
            text = "Two sign-ins began at once. Please start again."
            raise ImmediateHttpResponse(error_page(request, text, 409)) from None
        sociallogin.user = user
        if request.user.is_authenticated:
            get_account_adapter(request).logout(request)  # before the note below, which it removes
        if config.checks_second_factor and second_factor_used(claims):
            record_authentication(request, user, SECOND_FACTOR, type=OF_PROVIDER)

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: str = AuthError.UNKNOWN,
        exception: Exception | None = None,
        extra_context: Mapping[str, Any] | None = None,
    ) -> NoReturn:
        started = "state" in (extra_context or {})
        raise ImmediateHttpResponse(failure(request, started, error, exception))


# --- Pages ----------------------------------------------------------------------------------------


def failure(
    request: HttpRequest, started: bool, error: str, exception: Exception | None
) -> HttpResponse:
    """The page of a sign-in that the provider did not complete."""
    from requests import RequestException

    name = provider_config().name
    if not started:
        text = "This sign-in has expired, or began in another browser. Please start again."
        return error_page(request, text, 400)
    if error == AuthError.CANCELLED:
        return error_page(request, f"You did not allow the sign-in at {name}.", 403)
    logger.warning("A sign-in through OpenID Connect failed: %s", _reason(request, exception))
    if isinstance(exception, RequestException):
        text = f"{name} does not answer. Please try again, or sign in with your password."
        return error_page(request, text, 502)
    text = (
        f"{name} gave an answer that Ilara cannot accept. Please try again. If this stays so, an "
        "owner finds the reason in the log of the web server."
    )
    return error_page(request, text, 403)


def _reason(request: HttpRequest, exception: Exception | None) -> str:
    """For the log. Other texts of exceptions may contain tokens or addresses."""
    from ilara_admin.accounts.openid_provider import OpenIdInvalid

    if isinstance(exception, OpenIdInvalid):
        return str(exception)
    if exception is None:
        return f"the provider's error is {request.GET.get('error', '')[:40]!r}"
    return type(exception).__name__


def error_page(request: HttpRequest, text: str, status: int) -> HttpResponse:
    return render(request, "accounts/openid_error.html", {"text": text}, status=status)


# --- Accounts -------------------------------------------------------------------------------------


def admit(sociallogin: SocialLogin, claims: Mapping[str, Any], config: OpenIdConfig) -> User:
    """The account of the person, with the roles that the claims give. Raises OpenIdRefused."""
    grants = roles_from_claims(claims, config.mapping)
    with transaction.atomic():
        user = _known(sociallogin) or _account_of(sociallogin, claims, grants, config)
        if user.is_active and config.mapping:
            set_roles(user, grants, config.mapping, PROVIDER)
    if not user.is_active:
        raise OpenIdRefused("Your account is deactivated. An owner can activate it again.")
    if not has_any_role(user):
        raise OpenIdRefused(
            f"{config.name} knows you, but gives you no role here. Please ask an owner of this "
            "installation."
        )
    return user


def _known(sociallogin: SocialLogin) -> User | None:
    user: User | None = sociallogin.user if sociallogin.is_existing else None
    return user


def _account_of(
    sociallogin: SocialLogin, claims: Mapping[str, Any], grants: Grants, config: OpenIdConfig
) -> User:
    email = verified_email(sociallogin)
    user = _with_email(email)
    if user is None:
        invites = _invites(email, config)
        if not grants and not invites:
            raise OpenIdRefused(
                f"{config.name} knows you, but you have no account here. Please ask an owner of "
                "this installation."
            )
        user = create_account(claims, email, PROVIDER)
        for invite in invites:
            invite_join(invite, user)
    elif user.is_active:
        _refuse_second(user, config)
    else:
        return user  # refused by the caller, and not linked
    _link(sociallogin, user, PROVIDER)
    return user


def verified_email(sociallogin: SocialLogin) -> str:
    """The person's e-mail address, "" if the provider has not verified it."""
    return next((each.email for each in sociallogin.email_addresses if each.verified), "")


def _with_email(email: str) -> User | None:
    """The only account with the address."""
    users = list(User.objects.filter(email__iexact=email)[:2]) if email else []
    return users[0] if len(users) == 1 else None


def _invites(email: str, config: OpenIdConfig) -> list[Invite]:
    """The invites of the address, except to projects whose roles the claims decide."""
    decided = config.mapping.projects if config.mapping else frozenset[str]()
    return [each for each in invites_for(email) if each.project.slug not in decided]


def _refuse_second(user: User, config: OpenIdConfig) -> None:
    """An address may pass to another person, but an account is one person."""
    if SocialAccount.objects.filter(user=user, provider=config.identity).exists():
        raise OpenIdRefused(
            f"Your e-mail address belongs to an account that is connected to another person at "
            f"{config.name}. Please ask an owner of this installation."
        )


def _link(sociallogin: SocialLogin, user: User, actor: Actor) -> None:
    sociallogin.account.user = user
    sociallogin.account.save()
    audit_record(
        AuditAction.STAFF_OPENID_CONNECTED, actor, object_id=user.pk, object_name=user.username
    )


# --- One's own account ----------------------------------------------------------------------------


def _connect(request: HttpRequest, sociallogin: SocialLogin) -> HttpResponse:
    """Link the provider's account to the signed-in one."""
    user, config = request.user, provider_config()
    if not isinstance(user, User):
        return redirect("sign_in")
    other = _known(sociallogin)
    if other is not None and other != user:
        messages.error(request, f"This account of {config.name} is connected to another one here.")
    elif other is None and connected(user):
        messages.error(request, f"Your account is connected to another one of {config.name}.")
    else:
        if other is None:
            with transaction.atomic():
                _link(sociallogin, user, Actor.of_user(user))
        messages.success(request, f"Connected to {config.name}.")
    return redirect("openid_account")


def connected(user: User) -> bool:
    """Whether the account is connected to the provider."""
    links = SocialAccount.objects.filter(user=user, provider=provider_config().identity)
    return bool(links.exists())


@transaction.atomic
def disconnect(user: User) -> None:
    """Raises ValidationError if the account would have no way to sign in."""
    if not user.has_usable_password():
        raise ValidationError("Set a password first: without one you could not sign in again.")
    links = SocialAccount.objects.filter(user=user, provider=provider_config().identity)
    if links.delete()[0]:
        audit_record(
            AuditAction.STAFF_OPENID_DISCONNECTED,
            Actor.of_user(user),
            object_id=user.pk,
            object_name=user.username,
        )


# --- Second factors -------------------------------------------------------------------------------


def used_factor_of_provider(request: HttpRequest, user: User) -> bool:
    """Whether this session of the account began with the provider's second factor, and the settings
    say that it replaces ours."""
    return any(
        record["method"] == SECOND_FACTOR and record.get("type") == OF_PROVIDER
        for record in get_authentication_records(request, user)
    )
