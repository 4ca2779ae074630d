"""Accounts and roles from the claims of the OpenID provider. Each write is one transaction."""

import logging
from collections.abc import Mapping
from typing import Any

from allauth.account.adapter import get_adapter as get_account_adapter
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.core.changes import create_or_conflict
from ilara_admin.core.openid import Grants, RoleMapping
from ilara_admin.core.text import trim, visible
from ilara_admin.models import AuditAction, Membership, Project, Role, User

logger = logging.getLogger("ilara.openid")

MAX_NAME = 150  # characters


@transaction.atomic
def set_roles(user: User, grants: Grants, mapping: RoleMapping, actor: Actor) -> None:
    """Give the account the roles of its claims, and take away those that the mapping decides and
    the claims do not give. Other projects stay as they are. The last owner stays an owner."""
    # One sign-in after the other; in the order in which core/staff.py locks owners.
    locked = Q(pk=user.pk) | Q(is_owner=True) if mapping.has_owners else Q(pk=user.pk)
    list(User.objects.select_for_update().order_by("pk").filter(locked))
    if mapping.has_owners and user.is_owner != grants.owner:
        try:
            owner_set(user, grants.owner, actor)
        except ValidationError:
            logger.warning("The last owner keeps the installation, though the claim no longer says")
    projects = {each.slug: each for each in Project.objects.filter(slug__in=mapping.projects)}
    for slug in sorted(mapping.projects):
        if slug not in projects:
            logger.warning("ILARA_OIDC_ROLES names the project %s, which does not exist", slug)
            continue
        role = grants.roles.get(slug)
        membership_set(user, projects[slug], Role(role) if role else None, actor)


def has_any_role(user: User) -> bool:
    return user.is_owner or Membership.objects.filter(user=user).exists()


def create_account(claims: Mapping[str, Any], email: str, actor: Actor) -> User:
    """A new account without a password and without roles, named as the claims say."""
    given = (claims.get(key) for key in ("name", "preferred_username", "email"))
    name, *others = (trim(visible(text)) if isinstance(text, str) else "" for text in given)
    username = get_account_adapter().generate_unique_username([*others, name, "staff"])
    return staff_create(username, email, name[:MAX_NAME], actor)


# --- Until core/staff.py has them -----------------------------------------------------------------
# Replace the three by staff_create, staff_update(is_owner=…) and membership_set of core/staff.py.


def staff_create(username: str, email: str, name: str, actor: Actor) -> User:
    user = User(username=username, first_name=name, email=email)
    user.set_unusable_password()
    user.full_clean(validate_unique=False)
    taken = ValidationError({"username": f"The staff account “{username}” already exists."})
    create_or_conflict(user, {"staff_username_key": taken})
    _record(AuditAction.STAFF_CREATED, user, actor, after={"username": username})
    return user


def owner_set(user: User, is_owner: bool, actor: Actor) -> None:
    """Raises ValidationError if no active owner would be left."""
    owners = User.objects.select_for_update().order_by("pk").filter(is_owner=True, is_active=True)
    if not is_owner and [owner.pk for owner in owners] == [user.pk]:
        raise ValidationError(f"{user.username} is the last owner.")
    user.is_owner = is_owner
    user.save(update_fields=["is_owner"])
    before, after = {"is_owner": not is_owner}, {"is_owner": is_owner}
    _record(AuditAction.STAFF_MEMBERSHIP_CHANGED, user, actor, before=before, after=after)


def membership_set(user: User, project: Project, role: Role | None, actor: Actor) -> None:
    memberships = Membership.objects.filter(user=user, project=project)
    before = memberships.values_list("role", flat=True).first()
    if before == role:
        return
    if role is None:
        memberships.delete()
    else:
        memberships.update_or_create(
            user=user, project=project, defaults={"role": role}
        )  # the row of the account is locked
    _record(
        AuditAction.STAFF_MEMBERSHIP_CHANGED,
        user,
        actor,
        project=project,
        before={"role": before},
        after={"role": role},
    )


def _record(action: AuditAction, user: User, actor: Actor, **details: Any) -> None:
    audit_record(action, actor, object_id=user.pk, object_name=user.username, **details)
