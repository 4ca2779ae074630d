"""Reads the audit log by its filters, newest first, one page at a time.

A million entries may be from one account, of one action, or about one player, and what a page shows
may be rare among them. So each action and name is read from its own index, and the newest of all
are merged.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from ilara_admin.models import AUDITED, AuditEntry, Environment, Role, User

FEW = 2_000  # entries that are sorted after they are found
MAX_NAMES = 500
COMMON = 10  # matches among the newest entries, with which the next ones are soon found
READ_NAMES = 5  # that are read one by one; the entries of more names are frequent
COMMAND = "manage.py "
PUNCTUATION = "-/#.:@_()[]\"'"
# The expression of the index audit_reason.
WORDS = """to_tsvector('simple'::regconfig, translate(reason, '-/#.:@_()[]"''', '             '))"""
NEWEST_REASONS = """
SELECT count(*) FROM (
    SELECT reason FROM audit_entry WHERE environment_id = %(environment)s
    ORDER BY created_at DESC, id DESC LIMIT 1000) newest"""
# IS TRUE keeps the planner from the indexes of the foreign keys, which would find too many.
BY = {
    "staff": "(actor_key_id IS NULL AND actor_name NOT LIKE 'manage.py %%') IS TRUE",
    "key": "(actor_key_id IS NOT NULL) IS TRUE",
    "command": "(actor_key_id IS NULL AND actor_name LIKE 'manage.py %%') IS TRUE",
}


class Wanted(NamedTuple):
    """What to read; an empty value means everything.

    `by` is a key of BY. `actor` is a part of a name. `about` is `<type>:<id or name>`, like
    `flag:new_tutorial`, or an id, or the beginning of a name. Each word of `reason` is the
    beginning of a word of the entry's. `until` is exclusive. With `break_glass`, only changes that
    went around the guard.
    """

    actions: Sequence[str]
    by: str = ""
    actor: str = ""
    about: str = ""
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None
    break_glass: bool = False


class AuditReader:
    """Reads entries of an environment and of its project as a whole, as `visible_to` the user."""

    def __init__(self, environment: Environment, wanted: Wanted, user: User) -> None:
        self.environment = environment
        self.wanted = wanted
        self.params: dict[str, Any] = {
            "environment": environment.pk,
            "project": environment.project_id,
            "actions": list(wanted.actions),
            "since": wanted.since,
            "until": wanted.until,
        }
        shared = "project_id = %(project)s AND object_type <> 'staff'"
        if user.is_owner:
            shared = "(project_id = %(project)s OR project_id IS NULL AND object_type = 'staff')"
        elif user.may(Role.ADMIN, environment.project_id):
            shared = "project_id = %(project)s"
        self.scopes = ("environment_id = %(environment)s", f"environment_id IS NULL AND {shared}")
        self.conditions = [
            *([BY[wanted.by]] if wanted.by else []),
            *(["created_at >= %(since)s"] if wanted.since else []),
            *(["created_at < %(until)s"] if wanted.until else []),
        ]
        self.names = self._names() if wanted.actor or wanted.by else None
        texts = [self._about()] if wanted.about else []
        texts += [self._reason()] if wanted.reason else []
        texts += [self._few("glass", "break_glass", "break_glass")] if wanted.break_glass else []
        self.is_searched = bool(texts)
        self.conditions += texts

    def read(
        self, after: Sequence[Any] | None, size: int, *, backwards: bool = False
    ) -> list[AuditEntry]:
        """Up to `size` entries after the time and id of an entry, newest first; `backwards`, those
        before it, oldest first."""
        if self.names == []:
            return []
        sign, order = (">", "ASC") if backwards else ("<", "DESC")
        params = {**self.params, "size": size, "names": self.names}
        conditions = list(self.conditions)
        if after:
            params["at"], params["id"] = after
            conditions.append(f"(created_at, id) {sign} (%(at)s, %(id)s)")
        newest = f"ORDER BY created_at {order}, id {order} LIMIT %(size)s"
        own, shared = self.scopes
        among = ["action = ANY(%(actions)s)"]
        among += [] if self.names is None else ["actor_name = ANY(%(names)s)"]
        parts = [_newest([shared, *among, *conditions], newest)]
        if self.is_searched or len(self.names or ()) > READ_NAMES:
            parts.append(_newest([own, *among, *conditions], newest))
        else:
            each = [own, "action = each_action", *conditions]
            each += [] if self.names is None else ["actor_name = each_name"]
            names = "" if self.names is None else ", unnest(%(names)s::text[]) each_name"
            parts.append(
                f"""(SELECT found.* FROM unnest(%(actions)s::text[]) each_action{names}
                CROSS JOIN LATERAL {_newest(each, newest)} found)"""
            )
        sql = f"SELECT * FROM ({' UNION ALL '.join(parts)}) entries {newest}"
        return list(AuditEntry.objects.raw(sql, params))

    def _names(self) -> list[str]:
        """The names of the actors that the filters mean."""
        found = actors(self.environment)
        if self.wanted.by == "command":
            found = [name for name in found if name.startswith(COMMAND)]
        elif self.wanted.by == "key":
            keys = set(self.environment.api_keys.values_list("name", flat=True))
            found = [name for name in found if name in keys]
        part = self.wanted.actor.casefold()
        return [name for name in found if part in name.casefold()]

    def _about(self) -> str:
        kind, colon, rest = self.wanted.about.partition(":")
        typed = colon and kind in AUDITED
        text = rest if typed else self.wanted.about
        like = re.sub(r"([\\%_])", r"\\\1", text) + "%"
        self.params |= {
            "types": [kind] if typed else list(AUDITED), "object": text, "like": like,
        }  # fmt: skip
        named = "object_name = %(object)s" if typed else "object_name LIKE %(like)s"
        by_id = "object_type = ANY(%(types)s) AND object_id = %(object)s"
        by_name = f"object_type = ANY(%(types)s) AND {named}"
        in_scopes = [f"{scope} AND {by_name}" for scope in self.scopes]
        return self._few("about", f"{by_name} OR {by_id}", by_id, *in_scopes)

    def _reason(self) -> str:
        spaced = self.wanted.reason.translate(dict.fromkeys(map(ord, PUNCTUATION), " "))
        words = [f"'{word}':*" for word in spaced.replace("\\", " ").split()]
        if not words:
            return "false"
        self.params["words"] = " & ".join(words)
        condition = f"reason <> '' AND {WORDS} @@ to_tsquery('simple', %(words)s)"
        with connection.cursor() as cursor:
            cursor.execute(f"{NEWEST_REASONS} WHERE {condition}", self.params)
            if cursor.fetchone()[0] >= COMMON:  # the index would collect them all first
                return f"({condition}) IS TRUE"
        return self._few("reasons", condition, condition)

    def _few(self, name: str, condition: str, *indexed: str) -> str:
        """The condition; if few entries meet it, their ids instead. An index serves each of
        `indexed`, which find the same entries and those of other environments."""
        each = f"(SELECT id FROM audit_entry WHERE {{}} LIMIT {FEW + 1})"
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(map(each.format, indexed)), self.params)
            ids = [pk for (pk,) in cursor.fetchall()]
        if len(ids) > FEW:
            # So frequent that the newest are soon found: no index should collect them all first.
            return f"({condition}) IS TRUE"
        self.params[name] = ids
        return f"id = ANY(%({name})s)"


def _newest(conditions: Sequence[str], newest: str) -> str:
    return f"(SELECT * FROM audit_entry WHERE {' AND '.join(conditions)} {newest})"


ACTORS = f"""
WITH RECURSIVE found(name) AS (
    (SELECT actor_name FROM audit_entry WHERE environment_id = %(environment)s
     ORDER BY actor_name LIMIT 1)
    UNION ALL
    SELECT (SELECT actor_name FROM audit_entry
            WHERE environment_id = %(environment)s AND actor_name > found.name
            ORDER BY actor_name LIMIT 1)
    FROM found WHERE found.name IS NOT NULL)
(SELECT name FROM found WHERE name IS NOT NULL LIMIT {MAX_NAMES})
UNION
SELECT actor_name FROM audit_entry WHERE environment_id IS NULL AND project_id = %(project)s
ORDER BY 1"""


def actors(environment: Environment) -> list[str]:
    """The names of accounts, keys and commands that made entries of the environment, sorted. The
    index is asked for each name, since reading all entries would take seconds."""
    with connection.cursor() as cursor:
        cursor.execute(ACTORS, {"environment": environment.pk, "project": environment.project_id})
        return [name for (name,) in cursor.fetchall()]
