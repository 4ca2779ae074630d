"""System checks of the configuration, each with an id and a fix.

Errors make Ilara unusable or insecure; warnings are choices to confirm. Checks with `deploy=True`
run only with `check --deploy`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register, run_checks
from django.db import connections

from ilara_admin.core.limits import PAGE

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]", ".localhost"})
SECRET_KEY_CHARACTERS = 50
SECRET_KEY_DISTINCT = 5
OLDEST_POSTGRESQL = 15


def database_problem() -> str | None:
    """Why Ilara cannot use the database, and the fix; None if it can."""
    for found in run_checks(tags=[Tags.database], databases=["default"]):
        if found.is_serious():
            return " ".join(filter(None, (str(found.msg), found.hint)))
    return None


@register(Tags.security)
def check_hosts_exist(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> Iterable[CheckMessage]:
    if settings.ALLOWED_HOSTS or settings.DEBUG:
        return []
    return [
        Error(
            "ALLOWED_HOSTS is empty: the dashboard refuses every request.",
            hint="Set ALLOWED_HOSTS to the dashboard's host names, like ilara.example.com.",
            id="ilara.E001",
        )
    ]


@register(Tags.security, deploy=True)
def check_hosts_public(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> Iterable[CheckMessage]:
    if not (settings.DATABASE_URL and settings.ALLOWED_HOSTS):
        return []
    hosts = set(settings.ALLOWED_HOSTS)
    if "*" in hosts:
        return [
            Warning(
                "ALLOWED_HOSTS is *: forged Host headers can redirect links of the dashboard.",
                hint="Set ALLOWED_HOSTS to the dashboard's host names, like ilara.example.com.",
                id="ilara.W002",
            )
        ]
    if hosts <= LOCAL_HOSTS:
        return [
            Warning(
                "ALLOWED_HOSTS names only this machine: the dashboard refuses all other hosts.",
                hint="Set ALLOWED_HOSTS to the dashboard's host names, like ilara.example.com.",
                id="ilara.W001",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_secret_key(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> Iterable[CheckMessage]:
    key = settings.SECRET_KEY
    long_enough = len(key) >= SECRET_KEY_CHARACTERS and len(set(key)) >= SECRET_KEY_DISTINCT
    if not settings.DATABASE_URL or long_enough:
        return []
    return [
        Error(
            f"SECRET_KEY has fewer than {SECRET_KEY_CHARACTERS} characters, or fewer than "
            f"{SECRET_KEY_DISTINCT} different ones: sessions can be forged.",
            hint="Generate one with `python -c 'import secrets; print(secrets.token_urlsafe(50))'` "
            "and set it on every machine as SECRET_KEY, or in a file named by SECRET_KEY_FILE.",
            id="ilara.E002",
        )
    ]


@register(Tags.security, deploy=True)
def check_https(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> Iterable[CheckMessage]:
    if not settings.DATABASE_URL or settings.HTTPS:
        return []
    return [
        Warning(
            "ILARA_HTTPS is off: passwords, sessions and API keys are sent unencrypted.",
            hint="Use an HTTPS proxy that sets X-Forwarded-Proto, then set ILARA_HTTPS=1.",
            id="ilara.W003",
        )
    ]


@register(Tags.database)
def check_postgresql(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> Iterable[CheckMessage]:
    """Runs with `migrate` and `check --database default`."""
    if "default" not in (databases or ()):
        return []
    connection = connections["default"]
    connection.ensure_connection()
    assert connection.connection
    version = connection.connection.info.server_version // 10_000
    if version >= OLDEST_POSTGRESQL:
        return []
    return [
        Error(
            f"PostgreSQL {version} is too old for Ilara.",
            hint=f"Use PostgreSQL {OLDEST_POSTGRESQL} or newer.",
            id="ilara.E003",
        )
    ]


@register(Tags.database)
def check_encoding(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> Iterable[CheckMessage]:
    """Runs with `migrate` and `check --database default`. Other encodings refuse texts that players
    send, or store bytes that are no text."""
    if "default" not in (databases or ()):
        return []
    connection = connections["default"]
    connection.ensure_connection()
    assert connection.connection
    encoding = connection.connection.info.parameter_status("server_encoding")
    if encoding == "UTF8":
        return []
    return [
        Error(
            f"The database's encoding is {encoding}; Ilara needs UTF8.",
            hint="An encoding cannot be changed: create the database again with "
            "`createdb --template template0 --encoding UTF8 NAME`.",
            id="ilara.E004",
        )
    ]


@register(Tags.database)
def check_pooled_role(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> Iterable[CheckMessage]:
    """Through a pooler, only the defaults of the role limit statements."""
    if "default" not in (databases or ()) or not settings.POOLED_DATABASE:
        return []
    role = settings.POOLED_DATABASE["USER"]
    with connections["default"].cursor() as cursor:
        cursor.execute(
            """SELECT count(DISTINCT split_part(item, '=', 1))
               FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole,
                    unnest(s.setconfig) item
               WHERE r.rolname = %s AND split_part(item, '=', 1) = ANY(%s)""",
            [role, list(PAGE.settings)],
        )
        (found,) = cursor.fetchone()
    if found == len(PAGE.settings):
        return []
    statements = " ".join(
        f"ALTER ROLE {connections['default'].ops.quote_name(role)} SET {name} = {value};"
        for name, value in PAGE.settings.items()
    )
    return [
        Warning(
            "Statements through the pooler have no time limits: it refuses those of Ilara.",
            hint=f"Give its role defaults, then reload the pooler: {statements}",
            id="ilara.W004",
        )
    ]
