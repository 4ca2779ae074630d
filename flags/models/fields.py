"""Columns with several numbers."""

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class FloatsField(models.Field):  # type: ignore[type-arg]  # generic for mypy alone
    """A list of floats, which may be None. See IdsField of players for why not ArrayField."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "float8[]"


class CountsField(FloatsField):
    """A list of integers."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "bigint[]"
