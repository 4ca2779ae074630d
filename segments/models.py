"""Segments: named sets of players, by rule and by two lists, of whom is always in and never in."""

from typing import ClassVar, Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Collate, Now

from ilara_admin.models import Environment, User
from segments.language.parser import Group, RuleError, parse, segments_named
from segments.language.sentences import describe


class SegmentQuerySet(models.QuerySet["Segment"]):
    def matching(self, text: str) -> Self:
        return self.filter(Q(key__icontains=text) | Q(name__icontains=text))


class Segment(models.Model):
    """`rule` is the document of segments/language/parser.py. In the API a segment's id is its key.

    `included` and `excluded` count its lists. Their rows name the segment by an id that is never
    used again, without a foreign key: a million of them would make its deletion take minutes.
    """

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=128)
    name = models.CharField(max_length=200)
    description = models.CharField(max_length=500, blank=True)
    rule = models.JSONField()
    included = models.BigIntegerField(default=0, db_default=0)
    excluded = models.BigIntegerField(default=0, db_default=0)
    # The last exact count of members, among how many players, when it was taken, and when the next
    # one was asked for.
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
        """The rule, or None if it cannot be read: then nobody matches it."""
        try:
            return parse(self.rule)
        except RuleError:
            return None

    @property
    def size_share(self) -> float | None:
        """The members among all players, as a percentage."""
        return 100 * self.size / self.sized_among if self.size and self.sized_among else None

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


class ListAction(models.TextChoices):
    ADD = "add"
    REMOVE = "remove"
    IMPORT = "import"
    REPLACE = "replace"
    CLEAR = "clear"
    UNDO = "undo"
    DELETE = "delete"  # of the segment: its lists are kept for a while, in case it comes back


class ListState(models.TextChoices):
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


class SegmentListChange(models.Model):
    """One change of one list of a segment, from the wish to its end; lists.py carries it out.

    `added` and `removed` grow with every chunk that is committed. `attempt` counts how often it was
    taken up: whoever holds an older number has been given up for dead and may write no more.
    """

    segment = models.ForeignKey(
        Segment, models.DO_NOTHING, related_name="list_changes", db_constraint=False, db_index=False
    )
    excluded = models.BooleanField()  # the list: of whom is never in, or of whom is always in
    action = models.CharField(max_length=10, choices=ListAction)
    state = models.CharField(max_length=10, choices=ListState, default=ListState.RUNNING)
    problem = models.CharField(max_length=300, blank=True)  # why it stopped
    undoes = models.ForeignKey("self", models.DO_NOTHING, null=True, related_name="+")
    undone = models.BooleanField(default=False)
    file_name = models.CharField(max_length=255, blank=True)
    # How far it is: bytes of a file that were read, or rows that were looked at. 0 is unknown.
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    lines = models.BigIntegerField(default=0)  # ids that were given, good and bad
    bad = models.BigIntegerField(default=0)
    bad_lines = models.JSONField(default=list)  # the first few, as pairs of number and problem
    added = models.BigIntegerField(default=0)
    removed = models.BigIntegerField(default=0)
    actor_user = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    actor_name = models.CharField(max_length=200)
    reason = models.CharField(max_length=500, blank=True)
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
        """Ids that were on the list before, or stand twice in the file."""
        return self.lines - self.bad - self.added


class SegmentListPiece(models.Model):
    """A part of an uploaded file that waits to be taken in."""

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
        """One list, in the order of its external ids, byte by byte as the index has them."""
        found = self.filter(segment=segment, excluded=excluded)
        return found.annotate(sort_id=Collate("external_id", "C")).order_by("sort_id")

    def starting_with(self, segment: Segment, prefix: str, *, excluded: bool) -> Self:
        """The part of a list whose external ids start so. The index finds it at once."""
        return self.on(segment, excluded=excluded).filter(sort_id__startswith=prefix)


class SegmentMember(models.Model):
    """An external id on one of a segment's lists. Who stands on both is not in the segment.

    `player_id` follows from the external id, so a list may come before its players. It is read
    with the player, so a change is in force at once without anybody's snapshot changing.
    """

    pk = models.CompositePrimaryKey("player_id", "segment_id", "excluded")
    player_id = models.UUIDField()
    segment = models.ForeignKey(
        Segment, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    excluded = models.BooleanField()
    external_id = models.CharField(max_length=255)
    # Which change added it, so that this change can be undone.
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
    """What a change took off its list, kept for lists.KEPT_DAYS so that it can be put back."""

    pk = models.CompositePrimaryKey("change_id", "player_id")
    change = models.ForeignKey(
        SegmentListChange, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    player_id = models.UUIDField()
    external_id = models.CharField(max_length=255)
    added_by = models.BigIntegerField()  # SegmentMember.change_id as it was

    class Meta:
        db_table = "segment_former_member"
