"""Players, their aliases, notes and ledgers, daily figures, and fits of the churn model."""

import uuid
from typing import ClassVar, Self

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Value
from django.db.models.fields.json import KT
from django.db.models.functions import Collate, Lower, Now
from django.utils import timezone

from ilara_admin.core.text import isolated
from ilara_admin.models import Environment, User
from players.lifecycle import History

MAX_ATTRIBUTES_BYTES = 64 * 1024
MAX_ATTRIBUTE_KEYS = 200
MAX_NOTE = 2_000  # characters
MAX_VALUE = 255  # characters of a searchable value


def player_id_for(namespace: uuid.UUID, external_id: str) -> uuid.UUID:
    """The id of the player with this external id, whether or not it is registered yet."""
    return uuid.uuid5(namespace, external_id)


def attributes_problem(error: IntegrityError) -> str | None:
    """The message if the error is a limit on attributes, else None."""
    text = str(error)
    if "player_attributes_size" in text:
        return f"The player's attributes would exceed {MAX_ATTRIBUTES_BYTES // 1024} KiB"
    if "player_attributes_keys" in text:
        return f"A player can have at most {MAX_ATTRIBUTE_KEYS} attributes"
    return None


class BitsField(models.CharField):  # type: ignore[type-arg]  # generic for mypy alone
    """A bit string of any length; in Python a str of 0 and 1."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "varbit"


class IdsField(models.Field):  # type: ignore[type-arg]  # generic for mypy alone
    """A list of UUIDs. Django's ArrayField needs the app django.contrib.postgres, which asks each
    new connection for types that nothing here uses."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "uuid[]"


class PlayerQuerySet(models.QuerySet["Player"]):
    def of(self, environment: Environment) -> Self:
        return self.filter(environment=environment)

    def recent_first(self) -> Self:
        """By the day last seen, then by id: an order by last_seen_at would need an index that each
        event changes."""
        return self.order_by("-last_active_on", "id")

    def starting_with(self, prefix: str) -> Self:
        """Players whose external id starts with `prefix`, ordered by external id.

        The condition and the order use the index player_search, so the cost of a page does not
        depend on the number of players. Compares bytes, whatever the database's collation.
        """
        found = self.annotate(sort_id=Collate("external_id", "C"))
        return found.filter(sort_id__startswith=prefix).order_by("sort_id")

    def payers(self, paying: bool = True) -> Self:
        condition = models.Q(purchase_count__gt=0)
        return self.filter(condition if paying else ~condition)

    def for_list(self) -> Self:
        """Without the attributes, which may be large, but with the attribute `country`."""
        return self.defer("attributes").annotate(country=KT("attributes__country"))


class Player(models.Model):
    """One player of one environment.

    The row stores counters; the ledgers below store what they count. The lifecycle stage and the
    churn risk are computed from these columns and the current time, never stored.

    No index has a column that each event changes: such an update would write to all indexes. With
    the free space that the fillfactor leaves in a page it is HOT and writes the changed bytes only.
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
    # Of any precision, as the places depend on the currency.
    total_revenue = models.DecimalField(default=0, db_default=0)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    last_active_on = models.DateField()  # the UTC day of last_seen_at
    # One bit per day from the first to the last active one, 1 if the player was active: active_days
    # is the number of ones. A year takes 46 bytes.
    activity = BitsField(default="1", db_default=Value("1"))
    active_since = models.DateTimeField()  # the last return from at risk or churned
    returned_at = models.DateTimeField(null=True)  # the last return from churned
    gap_before_return = models.DurationField(null=True)  # time unseen before returned_at

    objects = PlayerQuerySet.as_manager()

    class Meta:
        db_table = "player"
        indexes: ClassVar = [
            models.Index(fields=["environment", "-last_active_on", "id"], name="player_recent"),
            models.Index(fields=["environment", "first_seen_at"], name="player_first_seen"),
            models.Index(
                fields=["environment", "returned_at"],
                name="player_returned",
                condition=models.Q(returned_at__isnull=False),
            ),
            models.Index("environment", Collate("external_id", "C"), name="player_search"),
            models.Index(fields=["environment", "id"], name="player_environment"),
            models.Index(
                "environment",
                Collate(Lower("email"), "C"),
                name="player_email",
                condition=models.Q(email__isnull=False),
            ),
            models.Index(
                "environment",
                Collate("device_id", "C"),
                name="player_device_id",
                condition=models.Q(device_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.external_id

    @property
    def is_payer(self) -> bool:
        return self.purchase_count > 0

    @property
    def history(self) -> History:
        """The columns that determine the lifecycle stage."""
        return History(self.first_seen_at, self.last_seen_at, self.active_since, self.returned_at)

    def lock(self) -> None:
        """Lock the row until the transaction ends. Lock order: the player before its other rows, as
        erasure does; the reverse may deadlock. Raises ValidationError if the player was erased."""
        rows = Player.objects.select_for_update(no_key=True).filter(pk=self.pk)
        if not rows.values_list("pk").first():
            raise ValidationError(f"{isolated(self.external_id)} was erased meanwhile.")


class PlayerAlias(models.Model):
    """Another external id of a player, such as the guest id of a player with an account.

    `id` is derived from the external id as a player's is, so both are found by primary key. No
    player has the id of an alias; aliases.py ensures that.
    """

    id = models.UUIDField(primary_key=True)
    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    external_id = models.CharField(max_length=255)
    # No database constraint: if players are distributed, this is a reference table, which cannot
    # reference them. Erasure deletes the rows.
    player = models.ForeignKey(
        Player, models.DO_NOTHING, related_name="aliases", db_constraint=False, db_index=False
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "player_alias"
        indexes: ClassVar = [
            models.Index(fields=["player", "created_at"], name="alias_of_player"),
            models.Index("environment", Collate("external_id", "C"), name="alias_search"),
        ]


class PlayerNote(models.Model):
    """A note by staff about a player. Not visible to the game."""

    pk = models.CompositePrimaryKey("player_id", "id")
    player = models.ForeignKey(Player, models.CASCADE, related_name="notes", db_index=False)
    id = models.UUIDField(default=uuid.uuid4)
    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    text = models.CharField(max_length=MAX_NOTE)
    author = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    author_name = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "player_note"
        indexes: ClassVar = [
            models.Index(fields=["player", "-created_at", "id"], name="note_player_time"),
        ]


class PlayerExport(models.Model):
    """A list of players as CSV for the member of staff who asked, written by a job; see exports.py.

    Either `rule`, a rule document of segments and null for everyone, or `ids` selects the players.
    `columns` are keys of the list, `filters` the rule in words. If it is `masked`, personal data
    is, to which the attributes `personal` belonged. The players are walked by external id; those
    after `position` are left. Of about `total` players, `looked` were looked at; `rows` are written
    in `chunks`. A `problem` ended it early.
    """

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+")
    user = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    rule = models.JSONField(null=True)
    ids = models.JSONField(null=True)
    columns = models.JSONField()
    filters = models.TextField(blank=True)
    masked = models.BooleanField()
    personal = models.JSONField()
    position = models.JSONField(null=True)
    total = models.BigIntegerField(default=0)
    looked = models.BigIntegerField(default=0)
    rows = models.BigIntegerField(default=0)
    chunks = models.IntegerField(default=0)
    done = models.BooleanField(default=False)
    problem = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    touched_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "player_export"
        indexes: ClassVar = [models.Index(fields=["user", "-id"], name="player_export_of_user")]


class PlayerExportChunk(models.Model):
    """A part of an export: compressed CSV, and the ids of its players, for erasure."""

    export = models.ForeignKey(PlayerExport, models.CASCADE, related_name="parts", db_index=False)
    number = models.IntegerField()
    data = models.BinaryField()
    players = IdsField()

    class Meta:
        db_table = "player_export_chunk"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["export", "number"], name="player_export_chunk_unique"),
        ]


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
            models.Index(fields=["digest"], name="session_digest"),
            models.Index(fields=["started_at"], name="session_started"),
        ]


class Purchase(models.Model):
    """The ledger of purchases. `digest` makes a client's transaction id count once per environment.

    The amount has the decimal places of its currency.

    `counted` is false if the currency is not the environment's. `verified` is true if sent with a
    secret key, by the game's server. A refund sets `refunded_at`. A player's revenue is the sum of
    purchases that are `counted` and not refunded.
    """

    pk = models.CompositePrimaryKey("player_id", "digest")
    player = models.ForeignKey(Player, models.CASCADE, related_name="purchases", db_index=False)
    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    digest = models.BinaryField(max_length=16)
    transaction_id = models.CharField(max_length=128, null=True)
    amount = models.DecimalField()
    currency = models.CharField(max_length=3)
    counted = models.BooleanField()
    verified = models.BooleanField()
    product_id = models.CharField(max_length=128, null=True)
    received_at = models.DateTimeField(db_default=Now())
    refunded_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "purchase"
        indexes: ClassVar = [
            models.Index(fields=["environment", "received_at"], name="purchase_time"),
            models.Index(fields=["player", "-received_at"], name="purchase_player_time"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment", "digest"], name="purchase_unique"),
        ]

    @property
    def audit_name(self) -> str:
        """What the audit log calls it: the same whichever id was given, because undo searches for
        it."""
        return self.transaction_id or bytes(self.digest).hex()


class PlayerValue(models.Model):
    """A value that staff find a player by: `field` is `attributes.<name>` of an attribute that the
    environment declares searchable. Null after the value was removed.

    A trigger on `player` writes it when a value changes, so that `player` needs no index on
    attributes, which games change often. Texts are in lower case, numbers as text, all cut to
    MAX_VALUE characters. Arrays, objects and booleans have no row. Readers ignore attributes that
    are not declared (any more).
    """

    pk = models.CompositePrimaryKey("player_id", "field")
    # No database constraint, which would cost a query per value: the trigger runs while the player
    # is locked. Erasure deletes the rows.
    player = models.ForeignKey(
        Player, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    field = models.CharField(max_length=120)
    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    value = models.CharField(max_length=MAX_VALUE, null=True, db_collation="C")

    class Meta:
        db_table = "player_value"
        indexes: ClassVar = [
            models.Index(fields=["environment", "field", "value"], name="player_value_search"),
        ]


class ValueFill(models.Model):
    """A field whose rows of PlayerValue are not complete, or not yet removed. A job works through
    the players in the order of their ids; `position` is how far it is, the first 32 bits of an id.
    """

    pk = models.CompositePrimaryKey("environment_id", "field")
    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    field = models.CharField(max_length=120)
    position = models.BigIntegerField(default=0)

    class Meta:
        db_table = "player_value_fill"


class Dimension(models.TextChoices):
    """What figures are broken down by: attributes of players. TOTAL is all players."""

    TOTAL = "", "All players"
    COUNTRY = "country", "Country"
    PLATFORM = "platform", "Platform"
    VERSION = "version", "Version"


class PlayerDay(models.Model):
    """The figures of one environment and UTC day, as of `counted_at`: of all players, and of those
    with the value `value` of a dimension, "" if they have none. Only days.py writes it.

    Of a dimension, the TOP_VALUES values with the most active players have a row; the others are
    what remains of the total. `active` players were seen, `new` ones for the first time.
    `sessions` began on the day. `purchases` count as revenue and were not refunded when they were
    counted; `payers` made them. `unverified` is the part of the revenue that only game clients
    reported. `weekly` and `monthly` players were seen on at least one of the 7 or 30 days that end
    with the day; only the total has them. Null: the day was counted before the column existed.
    """

    pk = models.CompositePrimaryKey("environment_id", "day", "dimension", "value")
    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()
    dimension = models.CharField(max_length=10, default="", db_default="")
    value = models.CharField(max_length=64, default="", db_default="")
    active = models.IntegerField()
    new = models.IntegerField()
    sessions = models.IntegerField(null=True)
    purchases = models.IntegerField()
    payers = models.IntegerField()
    revenue = models.DecimalField()
    unverified = models.DecimalField(null=True)
    weekly = models.IntegerField(null=True)
    monthly = models.IntegerField(null=True)
    counted_at = models.DateTimeField()

    class Meta:
        db_table = "player_day"


class PlayerCohort(models.Model):
    """The players first seen on a UTC day, by country and platform as in PlayerDay, and how many of
    them were active 1, 3, 7, 14 and 30 days later; null if that day had not ended by the end of the
    day `until`. Only retention.py writes it.

    Not by version: players who stay update the game, so newer versions would seem to keep them.
    """

    pk = models.CompositePrimaryKey("environment_id", "day", "dimension", "value")
    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()
    dimension = models.CharField(max_length=10)
    value = models.CharField(max_length=64)
    players = models.IntegerField()
    day_1 = models.IntegerField(null=True)
    day_3 = models.IntegerField(null=True)
    day_7 = models.IntegerField(null=True)
    day_14 = models.IntegerField(null=True)
    day_30 = models.IntegerField(null=True)
    until = models.DateField()

    class Meta:
        db_table = "player_cohort"


class LateDay(models.Model):
    """A past UTC day whose figures have to be counted again. A day may have several rows, so that
    writers never wait for each other or for the count."""

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+")
    day = models.DateField()

    class Meta:
        db_table = "player_late_day"


class FiguresState(models.Model):
    """`stages` is the number of players in each lifecycle stage at `stages_at`. Sessions received
    before `sessions_until` are in the figures. Counting the current day took `seconds`."""

    environment = models.OneToOneField(
        Environment, models.CASCADE, related_name="+", primary_key=True
    )
    stages = models.JSONField(default=dict)
    stages_at = models.DateTimeField(null=True)
    sessions_until = models.DateTimeField(null=True)
    seconds = models.FloatField(default=0)

    class Meta:
        db_table = "player_figures_state"


class ChurnFit(models.Model):
    """One fit of an environment's churn model with its backtest. The newest is in use; the others
    are its history. Rows are never changed.

    `players` is the number of players first seen by the end of the day `until`, all of whom were
    fitted. The backtest covers the `tested` players who existed `days` days earlier; the figures
    are those of churn_model.fit.Backtest for scores that were calibrated on other players. `before`
    has the same without calibration: `left` of 1 - P(alive), `model` of P(silent). It is null in
    fits of versions that did not calibrate; their figures are those of `left`.
    """

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    fitted_at = models.DateTimeField(db_default=Now())
    model = models.CharField(max_length=10)
    until = models.DateField()
    players = models.IntegerField()
    r = models.FloatField()
    alpha = models.FloatField()
    a = models.FloatField()
    b = models.FloatField()
    log_likelihood = models.FloatField()
    c0 = models.FloatField(db_default=0.0)
    c1 = models.FloatField(db_default=1.0)
    c2 = models.FloatField(db_default=1.0)
    days = models.SmallIntegerField()
    tested = models.IntegerField()
    brier = models.FloatField()
    base_rate = models.FloatField()
    bins = models.JSONField()  # ten churn_model.fit.Bin
    before = models.JSONField(null=True)

    class Meta:
        db_table = "churn_fit"
        ordering = ("-id",)
        indexes: ClassVar = [models.Index(fields=["environment", "-id"], name="churn_fit_newest")]
