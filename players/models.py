"""Players and their ledgers."""

import uuid
from typing import ClassVar, Self

from django.db import models
from django.db.models.functions import Now

from ilara_admin.models import Environment

MAX_ATTRIBUTES_BYTES = 64 * 1024
MAX_ATTRIBUTE_KEYS = 200


def player_id_for(namespace: uuid.UUID, external_id: str) -> uuid.UUID:
    """The id of the player with this external id, whether or not it is registered yet."""
    return uuid.uuid5(namespace, external_id)


class PlayerQuerySet(models.QuerySet["Player"]):
    def of(self, environment: Environment) -> Self:
        return self.filter(environment=environment)


class Player(models.Model):
    """One player of one environment.

    Counters are kept in the row, and the ledgers below say where they come from. The lifecycle
    stage and the churn risk are functions of these columns and the clock, never stored.
    """

    id = models.UUIDField(primary_key=True)
    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    external_id = models.CharField(max_length=255)
    device_id = models.CharField(max_length=255, null=True)
    email = models.CharField(max_length=254, null=True)
    attributes = models.JSONField(default=dict)
    session_count = models.IntegerField(default=0, db_default=0)
    active_days = models.IntegerField(default=1, db_default=1)
    purchase_count = models.IntegerField(default=0, db_default=0)
    total_revenue = models.DecimalField(max_digits=16, decimal_places=2, default=0, db_default=0)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    last_active_on = models.DateField()  # the UTC day of last_seen_at
    active_since = (
        models.DateTimeField()
    )  # the end of the last silence that made the player at risk
    returned_at = models.DateTimeField(null=True)  # the end of the last churned silence
    gap_before_return = models.DurationField(null=True)  # how long that silence was

    objects = PlayerQuerySet.as_manager()

    class Meta:
        db_table = "player"
        indexes: ClassVar = [
            models.Index(fields=["environment", "-last_seen_at", "id"], name="player_last_seen"),
            models.Index(fields=["environment", "external_id"], name="player_external_id"),
            models.Index(fields=["environment", "id"], name="player_environment"),
        ]

    def __str__(self) -> str:
        return self.external_id

    @property
    def is_payer(self) -> bool:
        return self.purchase_count > 0


class PlayerSession(models.Model):
    """The ledger of sessions. `digest` makes a client's session id count once per player."""

    pk = models.CompositePrimaryKey("player_id", "digest")
    player = models.ForeignKey(Player, models.CASCADE, related_name="sessions", db_index=False)
    digest = models.BinaryField(max_length=16)
    session_id = models.CharField(max_length=128, null=True)
    started_at = models.DateTimeField()
    duration_seconds = models.IntegerField(null=True)
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "player_session"
        indexes: ClassVar = [
            models.Index(fields=["player", "-received_at"], name="session_player_time"),
        ]


class Purchase(models.Model):
    """The ledger of purchases. `digest` makes a client's transaction id count once per player.

    `counted` is false for another currency than the environment's: kept, not summed. `verified`
    says that a secret key sent it, so a server of the game vouches for the receipt.
    """

    pk = models.CompositePrimaryKey("player_id", "digest")
    player = models.ForeignKey(Player, models.CASCADE, related_name="purchases", db_index=False)
    digest = models.BinaryField(max_length=16)
    transaction_id = models.CharField(max_length=128, null=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    currency = models.CharField(max_length=3)
    counted = models.BooleanField()
    verified = models.BooleanField()
    product_id = models.CharField(max_length=128, null=True)
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "purchase"
        indexes: ClassVar = [
            models.Index(fields=["player", "-received_at"], name="purchase_player_time"),
        ]
