"""Django's PostgreSQL engine on the embedded server.

HOST is ILARA_HOME. Opening a connection starts the server and replaces HOST by the socket folder.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.db.backends.postgresql import client

from ilara_admin.core.postgresql import base
from ilara_admin.runtime import embedded_postgres
from ilara_admin.runtime.postgresql.site import program


class DatabaseClient(client.DatabaseClient):
    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        server = embedded_postgres.lease(Path(settings_dict["HOST"]))
        settings_dict = {**settings_dict, "HOST": str(server.socket)}
        command, env = super().settings_to_cmd_args_env(settings_dict, parameters)
        return [str(program("psql")), *command[1:]], env


class DatabaseWrapper(base.DatabaseWrapper):
    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        server = embedded_postgres.lease(Path(self.settings_dict["HOST"]))
        return {**params, "host": str(server.socket)}
