"""Flags and their revisions."""

import secrets
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from flags.document import FlagDocument, decode_document
from ilara_admin.models import Environment, User


def new_salt() -> str:
    return secrets.token_hex(8)


class Flag(models.Model):
    """A feature flag. `document` is the current revision's; document.py gives its shape.

    The salt feeds the bucketing. It stays when the flag is renamed or restored, so that nobody
    switches sides for a reason staff cannot see.
    """

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=128)
    name = models.CharField(max_length=200)
    description = models.CharField(max_length=500, blank=True)
    salt = models.CharField(max_length=32, default=new_salt)
    revision = models.IntegerField(default=1)
    document = models.JSONField()
    archived_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "flag"
        ordering = ("key",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment", "key"], name="flag_key_unique"),
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def spec(self) -> FlagDocument:
        return decode_document(self.document)


class FlagRevision(models.Model):
    """One change of a flag. Append-only: restoring an old one writes a new one."""

    flag = models.ForeignKey(Flag, models.CASCADE, related_name="revisions", db_index=False)
    number = models.IntegerField()
    document = models.JSONField()
    author = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    author_name = models.CharField(max_length=200)
    reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "flag_revision"
        ordering = ("-number",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["flag", "number"], name="flag_revision_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.flag_id} revision {self.number}"
