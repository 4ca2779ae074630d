"""The system checks of settings."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from django.conf import settings as django_settings
from django.core import checks
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django.fixtures import Settings

from ilara_admin.checks import (
    check_encoding,
    check_pooled_role,
    check_postgresql,
    database_problem,
)

STRONG = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO"
PUBLIC: dict[str, Any] = {
    "DATABASE_URL": "postgresql://db.example.com/ilara",
    "ALLOWED_HOSTS": ["ilara.example.com"],
    "SECRET_KEY": STRONG,
    "HTTPS": True,
    "DEBUG": False,
}


def ids(settings: Settings, *, deploy: bool = True, **changes: Any) -> set[str]:
    """The ids of Ilara's checks that fail with these settings. Each must have a hint."""
    for name, value in {**PUBLIC, **changes}.items():
        setattr(settings, name, value)
    found = checks.run_checks(tags=[checks.Tags.security], include_deployment_checks=deploy)
    ours = [message for message in found if str(message.id).startswith("ilara.")]
    assert all(message.hint for message in ours)
    return {str(message.id) for message in ours}


def test_correct_deployment__passes(settings: Settings) -> None:
    assert ids(settings) == set()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ALLOWED_HOSTS": []}, {"ilara.E001"}),
        ({"ALLOWED_HOSTS": [], "DEBUG": True}, set()),
        ({"ALLOWED_HOSTS": ["localhost", "127.0.0.1"]}, {"ilara.W001"}),
        ({"ALLOWED_HOSTS": ["localhost", "ilara.example.com"]}, set()),
        ({"ALLOWED_HOSTS": ["*"]}, {"ilara.W002"}),
        ({"SECRET_KEY": "short"}, {"ilara.E002"}),
        ({"SECRET_KEY": "x" * 60}, {"ilara.E002"}),
        ({"HTTPS": False}, {"ilara.W003"}),
    ],
)
def test_wrong_setting__is_reported(
    settings: Settings, changes: dict[str, Any], expected: set[str]
) -> None:
    assert ids(settings, **changes) == expected


def test_embedded_database__needs_no_deployment_settings(settings: Settings) -> None:
    changes: dict[str, Any] = {"DATABASE_URL": "", "ALLOWED_HOSTS": ["localhost"]}
    assert ids(settings, SECRET_KEY="x", HTTPS=False, **changes) == set()


def test_without_deploy__only_errors_are_reported(settings: Settings) -> None:
    changes: dict[str, Any] = {"SECRET_KEY": "x", "HTTPS": False}
    assert ids(settings, deploy=False, ALLOWED_HOSTS=["localhost"], **changes) == set()
    assert ids(settings, deploy=False, ALLOWED_HOSTS=[], **changes) == {"ilara.E001"}


@pytest.mark.parametrize(("version", "expected"), [(140_012, ["ilara.E003"]), (150_000, [])])
def test_an_old_postgresql__is_refused(version: int, expected: list[str]) -> None:
    info = SimpleNamespace(info=SimpleNamespace(server_version=version))
    server = SimpleNamespace(ensure_connection=lambda: None, connection=info)
    with mock.patch("ilara_admin.checks.connections", {"default": server}):
        assert [m.id for m in check_postgresql(None, databases=["default"])] == expected


@pytest.fixture
def ascii_database(transactional_db: None) -> Iterator[BaseDatabaseWrapper]:
    """Connected to a database whose encoding is SQL_ASCII."""
    with connection.cursor() as cursor:
        cursor.execute(
            """CREATE DATABASE ilara_ascii TEMPLATE template0 ENCODING 'SQL_ASCII'
               LOCALE_PROVIDER libc LOCALE 'C'"""
        )
        place = {**connection.settings_dict, "NAME": "ilara_ascii"}
        database = type(connections["default"])(place, "default")
        yield database
        database.close()
        cursor.execute("DROP DATABASE ilara_ascii")


def test_database_that_is_not_utf8__is_refused(ascii_database: BaseDatabaseWrapper) -> None:
    with mock.patch("ilara_admin.checks.connections", {"default": ascii_database}):
        (error,) = check_encoding(None, databases=["default"])
        assert database_problem() == f"{error.msg} {error.hint}"
    assert error.id == "ilara.E004"
    assert "SQL_ASCII" in error.msg
    assert "--encoding UTF8" in (error.hint or "")
    with mock.patch("ilara_admin.checks.connections", {"default": connection}):
        assert list(check_encoding(None, databases=["default"])) == []
        assert database_problem() is None


def test_postgresql__is_checked_only_with_databases() -> None:
    with mock.patch("ilara_admin.checks.connections", {}):
        assert list(check_postgresql(None)) == []
        assert list(check_encoding(None)) == []
        assert list(check_pooled_role(None)) == []


def test_env_example__lists_every_setting() -> None:
    base = Path(django_settings.BASE_DIR)
    example = (base / ".env.example").read_text()
    listed = re.findall(r"^# ([A-Z_]+)=", example, re.MULTILINE)
    source = (base / "ilara_admin" / "settings.py").read_text()
    read = re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', source)
    assert set(read) <= set(listed)
    assert len(listed) == len(set(listed))
