"""Accounts and roles from the claims of the OpenID provider. Each write is one transaction."""

import logging
from collections.abc import Mapping
from typing import Any

from allauth.account.adapter import get_adapter as get_account_adapter
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from ilara_admin.core.audit import Actor
from ilara_admin.core.openid import Grants, RoleMapping
from ilara_admin.core.staff import membership_set, staff_create, staff_update
from ilara_admin.core.text import trim, visible
from ilara_admin.models import Membership, Project, Role, User

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
            staff_update(user, is_owner=grants.owner, actor=actor)
        except ValidationError:
            logger.warning("The last owner keeps the installation, though the claim no longer says")
    projects = {each.slug: each for each in Project.objects.filter(slug__in=mapping.projects)}
    for slug in sorted(mapping.projects):
        if slug not in projects:
            logger.warning("ILARA_OIDC_ROLES names the project %s, which does not exist", slug)
            continue
        role = grants.roles.get(slug)
        membership_set(user, projects[slug], Role(role) if role else None, actor=actor)


def has_any_role(user: User) -> bool:
    return user.is_owner or Membership.objects.filter(user=user).exists()


def create_account(claims: Mapping[str, Any], email: str, actor: Actor) -> User:
    """A new account without a password and without roles, named as the claims say."""
    given = (claims.get(key) for key in ("name", "preferred_username", "email"))
    name, *others = (trim(visible(text)) if isinstance(text, str) else "" for text in given)
    username = get_account_adapter().generate_unique_username([*others, name, "staff"])
    return staff_create(
        username=username, email=email, name=name[:MAX_NAME], password=None, actor=actor
    )
