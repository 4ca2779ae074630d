"""Second factors of an account, stored by allauth: what it has, codes, and changes. Each change is
one transaction and has an audit entry."""

from dataclasses import dataclass, field
from typing import Any

from allauth.mfa.models import Authenticator
from django.core.exceptions import ValidationError
from django.db import transaction

from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.core.staff import sessions_end
from ilara_admin.models import AuditAction, AuditEntry, User

APP, PASSKEY, CODES = (
    Authenticator.Type.TOTP,
    Authenticator.Type.WEBAUTHN,
    Authenticator.Type.RECOVERY_CODES,
)


@dataclass(slots=True)
class Factors:
    """An authenticator app, passkeys by their age, and recovery codes."""

    app: Authenticator | None = None
    passkeys: list[Authenticator] = field(default_factory=list)
    codes: Authenticator | None = None

    @property
    def count(self) -> int:
        """How many there are. Recovery codes alone are none."""
        return len(self.passkeys) + (self.app is not None)

    @property
    def codes_left(self) -> int:
        return len(self.codes.wrap().get_unused_codes()) if self.codes else 0

    @property
    def names(self) -> list[str]:
        return [factor_name(each) for each in (self.app, *self.passkeys) if each]


def factors_of(user: User) -> Factors:
    found = Factors()
    for each in Authenticator.objects.filter(user=user).order_by("pk"):
        if each.type == PASSKEY:
            found.passkeys.append(each)
        elif each.type == APP:
            found.app = each
        else:
            found.codes = each
    return found


def factor_name(factor: Authenticator) -> str:
    return f"passkey “{factor.data['name']}”" if factor.type == PASSKEY else "authenticator app"


# --- Use ------------------------------------------------------------------------------------------


@transaction.atomic
def factor_of_code(user: User, code: str) -> Authenticator | None:
    """The app or the recovery codes that this code is right for. It is used up."""
    for each in Authenticator.objects.filter(user=user, type__in=[APP, CODES]).order_by("-type"):
        if each.wrap().validate_code(code):
            each.user = user
            if each.type == CODES:
                _record(AuditAction.STAFF_RECOVERY_CODE_USED, user, Actor.of_user(user))
            return each
    return None


# --- Changes --------------------------------------------------------------------------------------


@transaction.atomic
def app_add(user: User, *, secret: str, code: str, actor: Actor) -> list[str]:
    """Add an authenticator app. Returns the recovery codes if there were none, else nothing.

    Raises ValidationError if the code is not one of the secret, or if there is an app.
    """
    from allauth.mfa.utils import encrypt

    if _locked(user).app:
        raise ValidationError("You have an authenticator app. Remove it before you add another.")
    factor = Authenticator(user=user, type=APP, data={"secret": encrypt(secret)})
    if not factor.wrap().validate_code(code):
        raise ValidationError({"code": "This code is wrong or too old. Enter the current one."})
    factor.save()
    return _added(factor, actor)


@transaction.atomic
def passkey_add(user: User, *, name: str, credential: dict[str, Any], actor: Actor) -> list[str]:
    """Add a passkey whose registration was checked. Returns as `app_add` does."""
    _locked(user)
    factor = Authenticator.objects.create(
        user=user, type=PASSKEY, data={"name": name, "credential": credential}
    )
    return _added(factor, actor)


def _added(factor: Authenticator, actor: Actor) -> list[str]:
    after = {"second factor": factor_name(factor)}
    _record(AuditAction.STAFF_FACTOR_ADDED, factor.user, actor, after=after)
    has_codes = Authenticator.objects.filter(user=factor.user, type=CODES).exists()
    return [] if has_codes else recovery_codes_make(factor.user, actor=actor)


@transaction.atomic
def factor_remove(user: User, pk: int, *, needed: bool, actor: Actor) -> Factors:
    """Remove an app or a passkey, and the recovery codes with the last one. Returns what is left.

    Raises ValidationError if the account needs a second factor and has no other.
    """
    found = _locked(user)
    factor = Authenticator.objects.exclude(type=CODES).get(user=user, pk=pk)
    if needed and found.count == 1:
        raise ValidationError("Your role needs a second factor. Add another one first.")
    before = {"second factor": factor_name(factor)}
    factor.delete()
    if found.count == 1:
        Authenticator.objects.filter(user=user).delete()
    _record(AuditAction.STAFF_FACTOR_REMOVED, user, actor, before=before)
    return factors_of(user)


@transaction.atomic
def factors_reset(user: User, *, actor: Actor, reason: str = "") -> AuditEntry | None:
    """Remove all second factors of an account, and end its sessions. None if it has none."""
    found = _locked(user)
    if not found.count:
        return None
    Authenticator.objects.filter(user=user).delete()
    sessions_end(user)
    before = {"second factors": ", ".join(found.names)}
    return _record(AuditAction.STAFF_FACTOR_REMOVED, user, actor, before=before, reason=reason)


@transaction.atomic
def recovery_codes_make(user: User, *, actor: Actor) -> list[str]:
    """New recovery codes. The old ones stop working."""
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes

    _locked(user)
    Authenticator.objects.filter(user=user, type=CODES).delete()
    _record(AuditAction.STAFF_RECOVERY_CODES_MADE, user, actor)
    codes: list[str] = RecoveryCodes.activate(user).get_unused_codes()
    return codes


def _locked(user: User) -> Factors:
    """What the account has, while no other request can change it."""
    User.objects.select_for_update().get(pk=user.pk)
    return factors_of(user)


def _record(action: AuditAction, user: User, actor: Actor, **details: Any) -> AuditEntry:
    return audit_record(action, actor, object_id=user.pk, object_name=user.username, **details)
