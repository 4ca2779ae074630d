"""Segments: named sets of players, by rule."""

from typing import ClassVar, Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from ilara_admin.models import Environment
from segments.rules import Group, RuleError, parse, segments_named
from segments.words import describe


class SegmentQuerySet(models.QuerySet["Segment"]):
    def matching(self, text: str) -> Self:
        return self.filter(Q(key__icontains=text) | Q(name__icontains=text))


class Segment(models.Model):
    """`rule` is the document of segments/rules.py. In the API a segment's id is its key."""

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=128)
    name = models.CharField(max_length=200)
    description = models.CharField(max_length=500, blank=True)
    rule = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    objects = SegmentQuerySet.as_manager()

    class Meta:
        db_table = "segment"
        ordering = ("key",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment", "key"], name="segment_key_unique"),
        ]

    def __str__(self) -> str:
        return self.name or self.key

    @property
    def spec(self) -> Group | None:
        """The rule, or None if it cannot be read: then nobody matches it."""
        try:
            return parse(self.rule)
        except RuleError:
            return None

    @property
    def words(self) -> str:
        """Who is in it, as a sentence; of a rule that cannot be read, what is wrong with it."""
        try:
            return describe(parse(self.rule))
        except RuleError as error:
            return f"this rule cannot be read, so it takes in nobody ({error})"


def segments_by_segment(environment: Environment) -> dict[str, list[str]]:
    """By segment key, the segments whose rules ask for it."""
    found: dict[str, list[str]] = {}
    rows = Segment.objects.filter(environment=environment).values_list("key", "rule")
    for key, rule in rows:
        for segment in segments_named(rule):
            found.setdefault(segment, []).append(key)
    return found
