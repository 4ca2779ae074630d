"""The log lines of gunicorn's main process, in the format of the application's."""

import os
from typing import Any

from gunicorn import glogging

from ilara_admin.core import logs


class ServerLogger(glogging.Logger):  # type: ignore[misc]  # gunicorn is not typed
    """Web processes replace its handler when they load the settings."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        handler = logs.RepeatHandler()
        handler.setFormatter(logs.JsonFormatter() if _as_json() else logs.LineFormatter())
        self.error_log.handlers = [handler]


def _as_json() -> bool:
    """What LOG_FORMAT of the settings will be, without loading them: each web process reads them
    anew, so that a reload applies changes."""
    url = os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE", "")
    return os.environ.get("ILARA_LOG_FORMAT", logs.default_format(url)) == "json"
