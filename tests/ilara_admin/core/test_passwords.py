"""The rules for passwords, as forms and commands check them."""

import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from ilara_admin.core.passwords import MAX_LENGTH, without_words
from ilara_admin.models import Project, User

pytestmark = pytest.mark.django_db

USER = User(username="okafor", first_name="Tomiwa Adeyemi", email="tom.o@skyforge.example")


def problems(password: str) -> list[str]:
    try:
        validate_password(password, USER)
    except ValidationError as error:
        return [each.code or "" for each in error.error_list]
    return []


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("k4-Wq9_zX", "password_too_short"),
        ("8362517264", "password_entirely_numeric"),
        ("password12", "password_too_common"),
        ("Sunshine2026!", "password_too_common"),
        ("123buttercup!!", "password_too_common"),
        ("aaaaaaaaaaaaa", "password_too_common"),
        ("1a1a1a1a1a1a1a", "password_too_common"),
        ("Ilara-2026!!", "password_obvious"),
        ("1l4r4-2026-x", "password_obvious"),  # with digits for letters
        ("adminadminadmin1", "password_obvious"),
        ("Okafor#2026!", "password_obvious"),
        ("adeyemi-12345", "password_obvious"),
        ("skyforge!2026", "password_obvious"),
        ("starfall2026!", "password_obvious"),  # a project
        ("tomiwa adeyemi", "password_too_similar"),
        ("tom.o@skyforge.example", "password_too_similar"),
        ("long enough\ttab", "password_not_text"),
        ("long enough\0nul", "password_not_text"),
        ("long enough\ud800", "password_not_text"),
        ("q7-" * 1_400, "password_too_long"),
    ],
)
def test_weak_password__is_refused_with_its_reason(password: str, code: str) -> None:
    Project.objects.create(name="Starfall Arena", slug="starfall")
    assert code in problems(password)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "another long password",
        "k4-Wq9_zXt",
        "ilara-k4-Wq9_zX",
        "пароль для игры",
        "密码很长的一句话而已啊",
        "x" * 3 + "correct horse battery " * 100,
    ],
)
def test_good_password__is_accepted(password: str) -> None:
    assert len(password) <= MAX_LENGTH
    assert problems(password) == []


@pytest.mark.parametrize(
    ("password", "rest", "found"),
    [
        ("Ilara-Ilara", "-", ["ilara"]),
        ("@dm1n-x", "-x", ["admin"]),
        ("administrator!", "!", ["administrator"]),
        ("adminilara9", "9", ["admin", "ilara"]),
        ("horse", "horse", []),
    ],
)
def test_words__do_not_count(password: str, rest: str, found: list[str]) -> None:
    assert without_words(password, ["admin", "administrator", "ilara"]) == (rest, found)
