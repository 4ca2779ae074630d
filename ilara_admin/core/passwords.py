"""Rules for passwords, as Django's validators: every form and command that sets one checks them
with Django's `validate_password`. Length, numbers and similarity to the account's fields are
Django's own validators; see the settings."""

import re
import unicodedata
from collections.abc import Iterable

from django.conf import settings
from django.contrib.auth import password_validation
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError

from ilara_admin.models import Project, User

# Far beyond a password manager's; a sentence pasted by mistake stays below it.
MAX_LENGTH = 4096
RULES_TEXT = (
    "At least 10 characters. Common passwords, and names of you, your games or Ilara with some "
    "digits, are refused."
)

# Without obvious words, this many characters must remain.
MIN_REST = 8
MIN_DIFFERENT = 5
OBVIOUS = (
    "ilara", "liveops", "admin", "administrator", "password", "passwort", "passphrase", "passwd",
    "secret", "welcome", "changeme", "letmein", "qwerty", "qwertz", "azerty", "login", "signin",
    "example", "default", "staff", "owner", "studio", "game", "test", "live",
)  # fmt: skip
MIN_WORD = 4  # shorter names occur in good passwords by chance
LEET = str.maketrans("0134578@$!", "oieastbasi")


class ReadableValidator:
    """Refuses what cannot be stored or hashed as text, and endless texts."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        if len(password) > MAX_LENGTH:
            raise ValidationError(
                f"This password is too long: use at most {MAX_LENGTH} characters.",
                code="password_too_long",
            )
        if any(unicodedata.category(each) in ("Cc", "Cs") for each in password):
            raise ValidationError(
                "This password contains control characters. Type it without tabs and line breaks.",
                code="password_not_text",
            )

    def get_help_text(self) -> str:
        return f"At most {MAX_LENGTH} characters."


class CommonWithDigitsValidator(password_validation.CommonPasswordValidator):
    """Django's list of 20,000 common passwords, also with digits and signs around one, and texts of
    few different characters."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        text = password.lower().strip()
        core = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", text)
        if {text, core} & self.passwords or len(set(text)) < MIN_DIFFERENT:
            raise ValidationError(
                "This password is too common. Digits and signs around a common one do not help.",
                code="password_too_common",
            )


class ObviousWordsValidator:
    """Names of the account, the projects, the hosts and the product do not count as characters."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        rest, found = without_words(password, obvious_words(user))
        if found and len(rest) < MIN_REST:
            names = ", ".join(f"“{word}”" for word in found)
            raise ValidationError(
                f"This password is easy to guess: beside {names}, at least {MIN_REST} further "
                "characters are needed.",
                code="password_obvious",
            )

    def get_help_text(self) -> str:
        return f"At least {MIN_REST} characters beside names of you, your games or Ilara."


def obvious_words(user: AbstractBaseUser | None) -> set[str]:
    texts: list[str] = [*settings.ALLOWED_HOSTS]
    texts += [text for pair in Project.objects.values_list("name", "slug") for text in pair]
    if isinstance(user, User):
        texts += [user.username, user.get_full_name(), user.email]
    words = {word for text in texts for word in re.split(r"[\W\d_]+", text.casefold())}
    return {word for word in words if len(word) >= MIN_WORD} | set(OBVIOUS)


def without_words(password: str, words: Iterable[str]) -> tuple[str, list[str]]:
    """The password without these words, and those that it contains: in any case, also with digits
    and signs that look like letters. Longer words first, as `admin` is in `administrator`."""
    rest, found = password.casefold(), []
    for word in sorted(words, key=lambda word: (-len(word), word)):
        while (at := rest.translate(LEET).find(word)) >= 0:
            rest = rest[:at] + rest[at + len(word) :]
            found.append(word)
    return rest, sorted(set(found))
