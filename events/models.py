"""Events. The migration creates the tables with SQL, because Django has no partitioned tables."""

from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.db.models import FilteredRelation, Q, Sum
from django.db.models.functions import Coalesce

from ilara_admin.models import Environment

DESCRIPTION_CHARACTERS = 500
OWNER_CHARACTERS = 200
# The INSERT clause of each statement that stores events.
INSERT_EVENT = """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                       session_id, properties, occurred_at)"""


class EventQuerySet(models.QuerySet["Event"]):
    def of(self, environment: Environment) -> Self:
        return self.filter(environment_id=environment.pk)


class EventNameQuerySet(models.QuerySet["EventName"]):
    def of(self, environment: Environment) -> Self:
        return self.filter(environment=environment)

    def matching(self, text: str) -> Self:
        return self.filter(
            Q(name__icontains=text) | Q(description__icontains=text) | Q(owner__icontains=text)
        )

    def counted_since(self, start: datetime) -> Self:
        """Adds `recent`: the number of events in the hours from `start` on."""
        hours = FilteredRelation("hours", condition=Q(hours__start__gte=start))
        return self.annotate(since=hours).annotate(recent=Coalesce(Sum("since__count"), 0))


class Event(models.Model):
    """One tracked event, in a table partitioned by the day of `received_at` (UTC).

    `id` is in order of arrival and is the stream's cursor; `event_id` comes from the client or is
    generated. Nothing references an event, and it has no foreign key to the player: the insert
    checks that the player exists.
    """

    pk = models.CompositePrimaryKey("player_id", "received_at", "id")
    id = models.BigIntegerField()
    environment_id = models.BigIntegerField()
    player_id = models.UUIDField()
    event_id = models.CharField(max_length=128)
    name = models.CharField(max_length=128)
    session_id = models.CharField(max_length=128, null=True)
    properties = models.JSONField()
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField()

    objects = EventQuerySet.as_manager()

    class Meta:
        db_table = "event"
        managed = False
        indexes: ClassVar = []

    def __str__(self) -> str:
        return f"{self.name} {self.event_id}"


class EventName(models.Model):
    """The catalogue: an event name seen in an environment, with first and last time and total.

    Only rollups.py writes it, its properties and counts, except for description and owner.
    """

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    name = models.CharField(max_length=128)
    description = models.CharField(max_length=DESCRIPTION_CHARACTERS, blank=True, db_default="")
    owner = models.CharField(max_length=OWNER_CHARACTERS, blank=True, db_default="")
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    count = models.BigIntegerField()

    objects = EventNameQuerySet.as_manager()

    class Meta:
        db_table = "event_name"
        ordering = ("name",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment", "name"], name="event_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class EventProperty(models.Model):
    """A property of the events of one name, one row per JSON type of its values.

    Values are not stored here: they belong to a player, and erasure would have to find them.
    """

    pk = models.CompositePrimaryKey("event_name_id", "name", "type")
    event_name = models.ForeignKey(
        EventName, models.CASCADE, related_name="properties", db_index=False
    )
    name = models.CharField(max_length=128)
    type = models.CharField(max_length=7)  # as returned by jsonb_typeof
    count = models.BigIntegerField()

    class Meta:
        db_table = "event_property"


class EventRollup(models.Model):
    """How many events of a name arrived in the minute or hour that starts at `start` (UTC)."""

    pk = models.CompositePrimaryKey("environment_id", "start", "event_name_id")
    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    event_name = models.ForeignKey(EventName, models.CASCADE, related_name="+", db_index=False)
    start = models.DateTimeField()
    count = models.BigIntegerField()

    class Meta:
        abstract = True


class EventMinute(EventRollup):
    class Meta:
        db_table = "event_minute"


class EventHour(EventRollup):
    event_name = models.ForeignKey(EventName, models.CASCADE, related_name="hours", db_index=False)

    class Meta:
        db_table = "event_hour"
        # For the days of one name: with the primary key, those of all names would be read.
        indexes: ClassVar = [
            models.Index(fields=["event_name", "start"], name="event_hour_of_name"),
        ]


class EventFold(models.Model):
    """How far an environment's events are counted: up to `folded_id`, which covers all events
    stored by `counted_until`."""

    environment = models.OneToOneField(
        Environment, models.CASCADE, primary_key=True, related_name="+"
    )
    folded_id = models.BigIntegerField(db_default=0)
    counted_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "event_fold"


class RejectedEvent(models.Model):
    """A rejected event, truncated as rejections.py describes."""

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    received_at = models.DateTimeField()
    event_name = models.TextField(null=True)
    player = models.TextField(null=True)
    code = models.TextField()
    message = models.TextField()
    field = models.TextField(null=True)
    payload = models.TextField()

    class Meta:
        db_table = "event_rejected"
        ordering = ("-id",)
        indexes: ClassVar = [
            models.Index(fields=["environment", "-id"], name="event_rejected_list"),
            models.Index(fields=["environment", "event_name", "-id"], name="event_rejected_name"),
            models.Index(fields=["received_at"], name="event_rejected_time"),
        ]
