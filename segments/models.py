"""Segments: named sets of players, defined by a rule, an include list and an exclude list."""

import json
import re
from collections.abc import Collection, Iterable
from typing import Any, ClassVar, Self

from django.db import connection, models
from django.db.models import Q
from django.db.models.functions import Coalesce, Collate, Now

from ilara_admin.models import ChangeRequest, Environment, User
from segments.language.parser import Group, RuleError, events_named, parse, segments_named
from segments.language.sentences import describe


class SegmentQuerySet(models.QuerySet["Segment"]):
    def matching(self, text: str) -> Self:
        return self.filter(Q(key__icontains=text) | Q(name__icontains=text))

    def sortable(self) -> Self:
        """Adds `known_size`: the size, -1 before the first count."""
        return self.annotate(known_size=Coalesce("size", -1))


class Segment(models.Model):
    """`rule` is a document as described in segments/language/parser.py. In the API, a segment's id
    is its key.

    `included` and `excluded` are the sizes of its lists. List rows refer to the segment by an id
    that is never reused, without a foreign key: deleting a million rows in a cascade takes minutes.
    """

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=128)
    name = models.CharField(max_length=200)
    description = models.CharField(max_length=500, blank=True)
    rule = models.JSONField()
    included = models.BigIntegerField(default=0, db_default=0)
    excluded = models.BigIntegerField(default=0, db_default=0)
    # The last exact member count, the number of players at that time, when it was taken, and when
    # the next count was requested.
    size = models.BigIntegerField(null=True)
    sized_among = models.BigIntegerField(null=True)
    sized_at = models.DateTimeField(null=True)
    size_wanted_at = models.DateTimeField(null=True)
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
        """The parsed rule, or None if it cannot be parsed; then it matches no players."""
        try:
            return parse(self.rule)
        except RuleError:
            return None

    @property
    def size_share(self) -> float | None:
        """Members as a percentage of all players."""
        return 100 * self.size / self.sized_among if self.size and self.sized_among else None

    @property
    def words(self) -> str:
        """The rule as a sentence, or the error if it cannot be parsed."""
        try:
            return describe(parse(self.rule))
        except RuleError as error:
            return f"this rule cannot be parsed, so it matches no players ({error})"


def mentioning(
    table: str, column: str, environment: Environment, names: Iterable[str]
) -> list[tuple[str, Any]]:
    """The key and the JSON of an environment's rows whose JSON column contains one of the names as
    a string anywhere, by key; so that only these need parsing."""
    written = (json.dumps(name, ensure_ascii=False)[1:-1] for name in names)
    any_name = "|".join(re.escape(text) for text in written)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT key, {column} FROM {table}
                WHERE environment_id = %s AND {column}::text ~ %s ORDER BY key""",
            [environment.pk, f'"({any_name})"'],
        )
        return [(key, json.loads(document)) for key, document in cursor]


def segments_by_event(environment: Environment, names: Collection[str]) -> dict[str, list[str]]:
    """The keys of the segments whose rule counts each of the events `names`, by event name."""
    found: dict[str, list[str]] = {}
    for key, rule in mentioning("segment", "rule", environment, names):
        for name in events_named(rule).intersection(names):
            found.setdefault(name, []).append(key)
    return found


def segments_by_segment(environment: Environment, keys: Collection[str]) -> dict[str, list[str]]:
    """The keys of the segments that refer to each of the segments `keys`, by segment key."""
    found: dict[str, list[str]] = {}
    for key, rule in mentioning("segment", "rule", environment, keys):
        for segment in segments_named(rule).intersection(keys):
            found.setdefault(segment, []).append(key)
    return found


class SegmentSize(models.Model):
    """The number of members at the last count of a UTC hour, and of all players then. After two
    days the last row of each UTC day remains, see size_history.py."""

    pk = models.CompositePrimaryKey("segment_id", "hour")
    segment = models.ForeignKey(
        Segment, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    hour = models.DateTimeField()
    size = models.BigIntegerField()
    among = models.BigIntegerField()

    class Meta:
        db_table = "segment_size"


class ListAction(models.TextChoices):
    ADD = "add"
    REMOVE = "remove"
    IMPORT = "import"
    REPLACE = "replace"
    CLEAR = "clear"
    UNDO = "undo"
    DELETE = "delete"  # the segment is deleted; its lists are stored for a while, for undo


class ListState(models.TextChoices):
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


class SegmentListChange(models.Model):
    """One change of one list of a segment. segments/lists/services.py runs it.

    `added` and `removed` grow with each committed chunk. Each run increments `attempt`; a run with
    an older number is considered dead and may not write any more.
    """

    segment = models.ForeignKey(
        Segment, models.DO_NOTHING, related_name="list_changes", db_constraint=False, db_index=False
    )
    excluded = models.BooleanField()  # True: the exclude list
    action = models.CharField(max_length=10, choices=ListAction)
    state = models.CharField(max_length=10, choices=ListState, default=ListState.RUNNING)
    problem = models.CharField(max_length=300, blank=True)  # why it stopped early
    undoes = models.ForeignKey("self", models.DO_NOTHING, null=True, related_name="+")
    undone = models.BooleanField(default=False)
    file_name = models.CharField(max_length=255, blank=True)
    # Progress: bytes read of a file, or rows scanned. A total of 0 means unknown.
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    lines = models.BigIntegerField(default=0)  # ids in the input, valid and invalid
    bad = models.BigIntegerField(default=0)
    bad_lines = models.JSONField(default=list)  # the first few, as pairs of line number and problem
    added = models.BigIntegerField(default=0)
    removed = models.BigIntegerField(default=0)
    actor_user = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    actor_name = models.CharField(max_length=200)
    reason = models.CharField(max_length=500, blank=True)
    # What the guard of the environment had when the change began, for its audit entry.
    break_glass = models.BooleanField(default=False, db_default=False)
    change_request = models.ForeignKey(
        ChangeRequest, models.DO_NOTHING, null=True, related_name="+", db_constraint=False,
        db_index=False,
    )  # fmt: skip
    attempt = models.IntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    touched_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "segment_list_change"
        indexes: ClassVar = [
            models.Index(fields=["segment", "-id"], name="segment_list_change_latest"),
            models.Index(
                fields=["touched_at"],
                name="segment_list_change_running",
                condition=Q(state="running"),
            ),
        ]

    @property
    def present(self) -> int:
        """Ids that were on the list already, or occur twice in the input."""
        return self.lines - self.bad - self.added


class SegmentListPiece(models.Model):
    """A piece of an uploaded file that waits to be imported."""

    change = models.ForeignKey(
        SegmentListChange, models.CASCADE, related_name="pieces", db_index=False
    )
    number = models.IntegerField()
    data = models.BinaryField()

    class Meta:
        db_table = "segment_list_piece"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["change", "number"], name="segment_list_piece_unique"),
        ]


class SegmentMemberQuerySet(models.QuerySet["SegmentMember"]):
    def on(self, segment: Segment, *, excluded: bool) -> Self:
        """One list, ordered by external id in byte order, as in the index."""
        found = self.filter(segment=segment, excluded=excluded)
        return found.annotate(sort_id=Collate("external_id", "C")).order_by("sort_id")

    def starting_with(self, segment: Segment, prefix: str, *, excluded: bool) -> Self:
        """The members whose external id starts with `prefix`; uses the index."""
        return self.on(segment, excluded=excluded).filter(sort_id__startswith=prefix)


class SegmentMember(models.Model):
    """An external id on one of a segment's lists. If it is on both, exclude wins.

    `player_id` is derived from the external id, so a list may name players who are not registered
    yet. Rows are read together with the player, so a change applies to the next request without a
    reload of the environment cache.
    """

    pk = models.CompositePrimaryKey("player_id", "segment_id", "excluded")
    player_id = models.UUIDField()
    segment = models.ForeignKey(
        Segment, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    excluded = models.BooleanField()
    external_id = models.CharField(max_length=255)
    # The change that added it, for undo.
    change = models.ForeignKey(
        SegmentListChange, models.DO_NOTHING, related_name="+", db_constraint=False
    )

    objects = SegmentMemberQuerySet.as_manager()

    class Meta:
        db_table = "segment_member"
        indexes: ClassVar = [
            models.Index(
                "segment", "excluded", Collate("external_id", "C"), name="segment_member_list"
            ),
        ]


class SegmentFormerMember(models.Model):
    """A row that a change removed from its list, stored for KEPT_DAYS for undo."""

    pk = models.CompositePrimaryKey("change_id", "player_id")
    change = models.ForeignKey(
        SegmentListChange, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    player_id = models.UUIDField()
    external_id = models.CharField(max_length=255)
    added_by = models.BigIntegerField()  # SegmentMember.change_id of the removed row

    class Meta:
        db_table = "segment_former_member"
