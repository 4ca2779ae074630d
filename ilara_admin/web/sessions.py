"""The session engine: Django's sessions in the database, read without its query builder, which
takes ten times as long as the statement."""

from datetime import datetime
from typing import Any

from django.contrib.sessions.backends import db
from django.db import connection
from django.utils import timezone

SESSION = """
SELECT session_data, last_seen_at FROM django_session
LEFT JOIN usersessions_usersession USING (session_key)
WHERE session_key = %s AND expire_date > %s"""


class SessionStore(db.SessionStore):
    seen_at: datetime | None = None  # when accounts/sessions.py last noted a use of the session

    def load(self) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute(SESSION, [self.session_key, timezone.now()])
            row = cursor.fetchone()
        if row is None:
            self._session_key = None
            return {}
        data, self.seen_at = row
        return self.decode(data)
