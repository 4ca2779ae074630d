"""Django's PostgreSQL engine, which counts errors and logs slow statements.

On the embedded server, HOST is ILARA_HOME. Opening a connection starts the server and replaces HOST
by the socket folder.
"""

import sys
from collections.abc import Callable, Iterable
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base, client

from ilara_admin.core import logs, metrics
from ilara_admin.runtime import embedded_postgres
from ilara_admin.runtime.postgresql.site import program


class DatabaseClient(client.DatabaseClient):
    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        if settings.DATABASE_URL:
            return super().settings_to_cmd_args_env(settings_dict, parameters)
        server = embedded_postgres.lease(Path(settings_dict["HOST"]))
        settings_dict = {**settings_dict, "HOST": str(server.socket)}
        command, env = super().settings_to_cmd_args_env(settings_dict, parameters)
        return [str(program("psql")), *command[1:]], env


class DatabaseWrapper(base.DatabaseWrapper):
    client_class = DatabaseClient

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if float("inf") != settings.SLOW_QUERY_SECONDS:
            self.execute_wrappers.append(_log_if_slow)

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        if settings.DATABASE_URL:
            return params
        server = embedded_postgres.lease(Path(self.settings_dict["HOST"]))
        return {**params, "host": str(server.socket)}

    def _set_errors_occurred(self, occurred: bool) -> None:
        self._errors_occurred = occurred
        error = sys.exception()
        if occurred and isinstance(error, psycopg.Error):
            metrics.DATABASE_ERRORS.labels(metrics.database_error_kind(error.sqlstate)).inc()

    # Django sets it where it turns any error of psycopg into its own, except refused values.
    errors_occurred = property(attrgetter("_errors_occurred"), _set_errors_occurred)


def _log_if_slow(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    started = monotonic()
    try:
        return execute(sql, params, many, context)
    finally:
        seconds = monotonic() - started
        if seconds > settings.SLOW_QUERY_SECONDS:
            logs.slow_query(sql, seconds)
