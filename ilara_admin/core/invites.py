"""Invites to a project: one-time links that expire."""

from datetime import timedelta
from secrets import token_urlsafe
from typing import Any

from django.core.exceptions import ValidationError
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.utils import timezone

from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.core.changes import register_permanent
from ilara_admin.core.staff import membership_set, staff_create
from ilara_admin.models import AuditAction, Invite, Project, Role, User

DAYS = 7
_signer = Signer(salt="ilara.invite", sep=".")


class InviteGone(Exception):
    """The invite was accepted or revoked, or it has expired."""


def token_of(invite: Invite) -> str:
    """The last part of the link."""
    return _signer.sign(invite.key)


def invite_of(token: str) -> Invite | None:
    """The invite of a link, if it can still be accepted."""
    try:
        key = _signer.unsign(token)
    except BadSignature:
        return None
    found = Invite.objects.open_at(timezone.now()).filter(key=key)
    invite = found.select_related("project", "created_by").first()
    return invite if invite and _may_invite(invite.created_by, invite) else None


def open_invites(project: Project) -> list[Invite]:
    """Those that can still be accepted, the newest first."""
    return list(Invite.objects.open_at(timezone.now()).filter(project=project))


def invites_for(email: str) -> list[Invite]:
    """Those for this e-mail address that can still be accepted, the newest first."""
    found = Invite.objects.open_at(timezone.now()).filter(email__iexact=email)
    invites = found.select_related("project", "created_by") if email else []
    return [invite for invite in invites if _may_invite(invite.created_by, invite)]


@transaction.atomic
def invite_create(
    *,
    project: Project,
    role: Role,
    created_by: User,
    actor: Actor,
    name: str = "",
    email: str = "",
) -> Invite:
    invite = Invite(
        project=project,
        key=token_urlsafe(32),
        role=role,
        name=name,
        email=email,
        created_by=created_by,
        created_by_name=actor.name,
        expires_at=timezone.now() + timedelta(days=DAYS),
    )
    if not _may_invite(created_by, invite):
        raise ValidationError({"role": "Only admins of the project can invite."})
    invite.clean_fields(exclude=["accepted_at", "accepted_by", "revoked_at"])
    invite.save()
    after = {"role": role, "email": email, "expires_at": invite.expires_at.isoformat()}
    _record(AuditAction.STAFF_INVITED, invite, actor, after=after)
    return invite


@transaction.atomic
def invite_revoke(invite: Invite, *, actor: Actor, reason: str = "") -> None:
    """Raises InviteGone."""
    invite = _locked(invite)
    invite.revoked_at = timezone.now()
    invite.save(update_fields=["revoked_at"])
    _record(AuditAction.STAFF_INVITE_REVOKED, invite, actor, reason=reason)


@transaction.atomic
def invite_accept(invite: Invite, *, username: str, name: str, password: str) -> User:
    """Create an account with the role of the invite. Of two acceptances at once, one succeeds.

    Raises InviteGone, and ValidationError if the username is taken or not valid.
    """
    invite = _locked(invite)
    user = staff_create(
        username=username,
        name=name,
        email=invite.email,
        password=password,
        actor=Actor(name or username),
    )
    _accept(invite, user)
    return user


@transaction.atomic
def invite_join(invite: Invite, user: User) -> None:
    """Give an existing account the role of the invite, unless it has that or a higher one.

    Raises InviteGone.
    """
    _accept(_locked(invite), user)


def _accept(invite: Invite, user: User) -> None:
    invite.accepted_at, invite.accepted_by = timezone.now(), user
    invite.save(update_fields=["accepted_at", "accepted_by"])
    role = Role(invite.role)
    # Locked, so that another invite at the same time cannot give a higher role in between.
    now = User.objects.select_for_update().get(pk=user.pk).role_in(invite.project)
    if now is None or now.rank < role.rank:
        membership_set(user, invite.project, role, actor=Actor.of_user(user))
    after = {"role": invite.role, "invited_by": invite.created_by_name}
    _record(AuditAction.STAFF_INVITE_ACCEPTED, invite, Actor.of_user(user), user=user, after=after)


def _may_invite(user: User | None, invite: Invite) -> bool:
    """Also when it is accepted: the links of admins who left must not work."""
    return user is not None and user.may(Role.ADMIN, invite.project)


def _locked(invite: Invite) -> Invite:
    found = Invite.objects.select_for_update(of=("self",)).select_related("project", "created_by")
    current = found.open_at(timezone.now()).filter(pk=invite.pk).first()
    if current is None:
        raise InviteGone
    return current


def _record(
    action: AuditAction, invite: Invite, actor: Actor, user: User | None = None, **details: Any
) -> None:
    audit_record(
        action,
        actor,
        object_id=user.pk if user else f"invite-{invite.pk}",
        object_name=user.username if user else str(invite),
        project=invite.project,
        **details,
    )


register_permanent(
    {
        AuditAction.STAFF_INVITED: "An invite is not undone. Revoke it under Staff.",
        AuditAction.STAFF_INVITE_ACCEPTED: "It cannot be undone. Change the role under Staff.",
        AuditAction.STAFF_INVITE_REVOKED: "A revoked invite stays revoked. Create a new one.",
        AuditAction.STAFF_RESET_LINK_CREATED: "A link cannot be taken back. It expires by itself.",
    }
)
