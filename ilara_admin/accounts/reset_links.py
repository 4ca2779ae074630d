"""One-time links to set a new password. They expire after PASSWORD_RESET_TIMEOUT, and end with the
next sign-in or change of the password or e-mail; see Django's token generator."""

from django.contrib.auth.tokens import default_token_generator
from django.urls import reverse
from django.utils.http import base36_to_int, int_to_base36

from ilara_admin.models import User


def reset_path(user: User) -> str:
    token = default_token_generator.make_token(user)
    return reverse("reset", args=[f"{int_to_base36(user.pk)}-{token}"])


def user_of(token: str) -> User | None:
    """The account of a link that still works."""
    number, _, rest = token.partition("-")
    try:
        pk = base36_to_int(number)
    except ValueError:
        return None
    if pk >= 2**63:  # beyond PostgreSQL's bigint
        return None
    user = User.objects.filter(pk=pk, is_active=True).first()
    return user if user and default_token_generator.check_token(user, rest) else None
