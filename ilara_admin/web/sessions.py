"""The session engine: Django's sessions in the database, read with one prepared statement."""

from typing import Any

from django.contrib.sessions.backends import db
from django.utils import timezone

from ilara_admin.core.db import fetch_one

SESSION = "SELECT session_data FROM django_session WHERE session_key = $1 AND expire_date > $2"


class SessionStore(db.SessionStore):
    def load(self) -> dict[str, Any]:
        row = fetch_one(SESSION, [self.session_key, timezone.now()], safe_to_repeat=True)
        if row is None:
            self._session_key = None
            return {}
        return self.decode(row[0])
