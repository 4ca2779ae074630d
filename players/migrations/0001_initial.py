"""Players, their aliases, notes and ledgers, and fits of the churn model."""

import uuid

from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Collate, Now
from django.utils import timezone

from players.models import BitsField

ID = (
    "id",
    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
)
PRIMARY = {"blank": True, "editable": False, "primary_key": True, "serialize": False}
ENVIRONMENT = (
    "environment",
    models.ForeignKey("ilara_admin.environment", models.CASCADE, related_name="+", db_index=False),
)
STAFF = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")


class Migration(migrations.Migration):
    initial = True
    dependencies = [("ilara_admin", "0001_initial")]
    operations = [
        migrations.CreateModel(
            "Player",
            [
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ENVIRONMENT,
                ("external_id", models.CharField(max_length=255)),
                ("device_id", models.CharField(max_length=255, null=True)),
                ("email", models.CharField(max_length=254, null=True)),
                ("attributes", models.JSONField(default=dict)),
                ("session_count", models.IntegerField(default=0, db_default=0)),
                ("active_days", models.IntegerField(default=1, db_default=1)),
                ("purchase_count", models.IntegerField(default=0, db_default=0)),
                (
                    "total_revenue",
                    models.DecimalField(default=0, db_default=0, max_digits=16, decimal_places=2),
                ),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("last_active_on", models.DateField()),
                ("activity", BitsField(default="1", db_default=models.Value("1"))),
                ("active_since", models.DateTimeField()),
                ("returned_at", models.DateTimeField(null=True)),
                ("gap_before_return", models.DurationField(null=True)),
            ],
            {
                "db_table": "player",
                "indexes": [
                    models.Index(
                        fields=["environment", "-last_seen_at", "id"], name="player_last_seen"
                    ),
                    models.Index("environment", Collate("external_id", "C"), name="player_search"),
                    models.Index(fields=["environment", "id"], name="player_environment"),
                ],
            },
        ),
        # Concurrent requests merge attributes, so the database enforces their limits.
        migrations.RunSQL(
            """
            ALTER TABLE player
                ALTER COLUMN attributes SET DEFAULT '{}',
                ADD CONSTRAINT player_attributes_size
                    CHECK (octet_length(attributes::text) <= 65536),
                ADD CONSTRAINT player_attributes_keys
                    CHECK (jsonb_array_length(
                        jsonb_path_query_array(attributes, '$.keyvalue()')) <= 200)
            """,
            migrations.RunSQL.noop,
        ),
        migrations.CreateModel(
            "PlayerAlias",
            [
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ENVIRONMENT,
                ("external_id", models.CharField(max_length=255)),
                (
                    "player",
                    models.ForeignKey(
                        "players.player",
                        models.DO_NOTHING,
                        related_name="aliases",
                        db_index=False,
                        db_constraint=False,
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "player_alias",
                "indexes": [
                    models.Index(fields=["player", "created_at"], name="alias_of_player"),
                    models.Index("environment", Collate("external_id", "C"), name="alias_search"),
                ],
            },
        ),
        migrations.CreateModel(
            "PlayerNote",
            [
                ("pk", models.CompositePrimaryKey("player_id", "id", **PRIMARY)),
                (
                    "player",
                    models.ForeignKey(
                        "players.player", models.CASCADE, related_name="notes", db_index=False
                    ),
                ),
                ("id", models.UUIDField(default=uuid.uuid4)),
                ENVIRONMENT,
                ("text", models.CharField(max_length=2000)),
                ("author", STAFF),
                ("author_name", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(default=timezone.now)),
            ],
            {
                "db_table": "player_note",
                "indexes": [
                    models.Index(fields=["player", "-created_at", "id"], name="note_player_time")
                ],
            },
        ),
        migrations.CreateModel(
            "PlayerSession",
            [
                ("pk", models.CompositePrimaryKey("player_id", "digest", **PRIMARY)),
                (
                    "player",
                    models.ForeignKey(
                        "players.player", models.CASCADE, related_name="sessions", db_index=False
                    ),
                ),
                ("digest", models.BinaryField(max_length=16)),
                ("session_id", models.CharField(max_length=128, null=True)),
                ("started_at", models.DateTimeField()),
                ("duration_seconds", models.IntegerField(null=True)),
                ("received_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "player_session",
                "indexes": [
                    models.Index(fields=["player", "-received_at"], name="session_player_time")
                ],
            },
        ),
        migrations.CreateModel(
            "Purchase",
            [
                ("pk", models.CompositePrimaryKey("player_id", "digest", **PRIMARY)),
                (
                    "player",
                    models.ForeignKey(
                        "players.player", models.CASCADE, related_name="purchases", db_index=False
                    ),
                ),
                ("digest", models.BinaryField(max_length=16)),
                ("transaction_id", models.CharField(max_length=128, null=True)),
                ("amount", models.DecimalField(max_digits=12, decimal_places=2)),
                ("currency", models.CharField(max_length=3)),
                ("counted", models.BooleanField()),
                ("verified", models.BooleanField()),
                ("product_id", models.CharField(max_length=128, null=True)),
                ("received_at", models.DateTimeField(db_default=Now())),
                ("refunded_at", models.DateTimeField(null=True)),
            ],
            {
                "db_table": "purchase",
                "indexes": [
                    models.Index(fields=["player", "-received_at"], name="purchase_player_time")
                ],
            },
        ),
        migrations.CreateModel(
            "ChurnFit",
            [
                ID,
                ENVIRONMENT,
                ("fitted_at", models.DateTimeField(db_default=Now())),
                ("model", models.CharField(max_length=10)),
                ("until", models.DateField()),
                ("players", models.IntegerField()),
                ("r", models.FloatField()),
                ("alpha", models.FloatField()),
                ("a", models.FloatField()),
                ("b", models.FloatField()),
                ("log_likelihood", models.FloatField()),
                ("days", models.SmallIntegerField()),
                ("tested", models.IntegerField()),
                ("brier", models.FloatField()),
                ("base_rate", models.FloatField()),
                ("bins", models.JSONField()),
            ],
            {
                "db_table": "churn_fit",
                "ordering": ("-id",),
                "indexes": [models.Index(fields=["environment", "-id"], name="churn_fit_newest")],
            },
        ),
        # A function, as within one statement the alias would be read from a snapshot older than the
        # lock. The seed 1 is aliases.ID_SEED.
        migrations.RunSQL(
            """
            CREATE FUNCTION player_registered_by(alias_id uuid) RETURNS uuid
            LANGUAGE plpgsql VOLATILE AS $$
            BEGIN
                -- IF instead of PERFORM, which would run a query.
                IF pg_advisory_xact_lock_shared(uuid_hash_extended(alias_id, 1)) IS NULL THEN
                END IF;
                RETURN coalesce(
                    (SELECT player_id FROM player_alias WHERE id = alias_id FOR KEY SHARE),
                    alias_id);
            END
            $$
            """,
            "DROP FUNCTION player_registered_by",
        ),
    ]
