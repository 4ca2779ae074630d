"""System checks: what is set in a way that will disappoint, with an id and a way out.

Errors would leave Ilara unusable or open; warnings are choices to be sure of. Those marked for
deployment run with `check --deploy` only, since a laptop may do without.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]", ".localhost"})
SECRET_KEY_CHARACTERS = 50
SECRET_KEY_DISTINCT = 5
OLDEST_POSTGRESQL = 15


@register(Tags.security)
def check_hosts_exist(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> Iterable[CheckMessage]:
    if settings.ALLOWED_HOSTS or settings.DEBUG:
        return []
    return [
        Error(
            "ALLOWED_HOSTS is empty: the dashboard answers nobody.",
            hint="Set ALLOWED_HOSTS to the names people type, for example ilara.example.com.",
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
                "ALLOWED_HOSTS is *: links in the dashboard can be made to point elsewhere.",
                hint="Set ALLOWED_HOSTS to the names people type, for example ilara.example.com.",
                id="ilara.W002",
            )
        ]
    if hosts <= LOCAL_HOSTS:
        return [
            Warning(
                "ALLOWED_HOSTS names this machine only: the dashboard answers nobody else.",
                hint="Set ALLOWED_HOSTS to the names people type, for example ilara.example.com.",
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
            f"SECRET_KEY has fewer than {SECRET_KEY_CHARACTERS} characters, or hardly any "
            "different ones: sign-ins can be forged.",
            hint="Make one with `python -c 'import secrets; print(secrets.token_urlsafe(50))'` "
            "and give it to every machine as SECRET_KEY, or in a file named by SECRET_KEY_FILE.",
            id="ilara.E002",
        )
    ]


@register(Tags.security, deploy=True)
def check_https(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> Iterable[CheckMessage]:
    if not settings.DATABASE_URL or settings.HTTPS:
        return []
    return [
        Warning(
            "ILARA_HTTPS is off: passwords, sessions and API keys travel readable.",
            hint="Put a proxy in front that speaks HTTPS and sets X-Forwarded-Proto, "
            "then set ILARA_HTTPS=1.",
            id="ilara.W003",
        )
    ]


@register(Tags.database)
def check_postgresql(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> Iterable[CheckMessage]:
    """Runs where Django asks the database anyway: `migrate`, and `check --database default`."""
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
