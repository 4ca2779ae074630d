"""Events. The tables are made by SQL in the migration: Django makes no partitioned ones."""

from typing import ClassVar, Self

from django.db import models

from ilara_admin.models import Environment


class EventQuerySet(models.QuerySet["Event"]):
    def of(self, environment: Environment) -> Self:
        return self.filter(environment_id=environment.pk)


class Event(models.Model):
    """One tracked event, in a table partitioned by the day of `received_at` (UTC).

    `id` orders by arrival and is the stream's cursor; `event_id` is the client's id or one made
    on arrival. Nothing points at an event, and there is no foreign key to the player: the insert
    itself checks that the player exists.
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
