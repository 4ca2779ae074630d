"""Whether an account must have a second factor, and whether this session has shown one."""

from allauth.account.authentication import get_authentication_records
from django.conf import settings

from ilara_admin.models import Role, User
from ilara_admin.web.htmx import HtmxHttpRequest

METHOD = "mfa"  # allauth's name for a second factor among the steps of a sign-in


def needs_second_factor(user: User) -> bool:
    """Whether ILARA_SECOND_FACTOR names the account's highest role, or a lower one."""
    needed = settings.ILARA_SECOND_FACTOR
    if not needed or user.is_owner:
        return bool(needed)
    least = Role(needed)
    return least is Role.VIEWER or any(role.rank >= least.rank for role in user.roles.values())


def showed_second_factor(request: HtmxHttpRequest) -> bool:
    """Whether this session has used or added one. Removing the last one ends it."""
    records = get_authentication_records(request, request.user)
    return any(record["method"] == METHOD for record in records)


def lacks_second_factor(request: HtmxHttpRequest) -> bool:
    """Whether the user must show or add a second factor before anything else."""
    return needs_second_factor(request.user) and not showed_second_factor(request)
