"""Players, their aliases, notes, ledgers and searchable values, exports, daily figures, and fits of
the churn model."""

import uuid

from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Collate, Lower, Now
from django.utils import timezone

from ilara_admin.core.table_creation import CreateTables
from players.models import BitsField, IdsField

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

# The value by which an attribute is found, or null.
SEARCHABLE = """
CREATE FUNCTION player_searchable(attribute jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(attribute)
        WHEN 'string' THEN nullif(left(btrim(lower(attribute #>> '{}')), 255), '')
        WHEN 'number' THEN left(trim_scale(attribute::numeric)::text, 255) END
$$"""

# A removed value stays as a row with null: a job that fills in the values of a field, and has read
# the value before, then finds the row and does not store the value again.
KEEP = """
CREATE FUNCTION player_value_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO player_value (player_id, field, environment_id, value)
    SELECT NEW.id, 'attributes.' || name, NEW.environment_id,
           player_searchable(NEW.attributes -> name)
    FROM environment e, jsonb_array_elements_text(e.searchable_attributes) name
    WHERE e.id = NEW.environment_id AND player_searchable(NEW.attributes -> name) IS NOT NULL;
    RETURN NULL;
END
$$;
CREATE FUNCTION player_value_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO player_value (player_id, field, environment_id, value)
    SELECT NEW.id, 'attributes.' || name, NEW.environment_id,
           player_searchable(NEW.attributes -> name)
    FROM environment e, jsonb_array_elements_text(e.searchable_attributes) name
    WHERE e.id = NEW.environment_id
      AND OLD.attributes -> name IS DISTINCT FROM NEW.attributes -> name
    ON CONFLICT (player_id, field) DO UPDATE SET value = excluded.value;
    RETURN NULL;
END
$$"""

# The conditions decide most writes, as calling a function costs more. values.py sets them to the
# attributes that staff declare searchable.
TRIGGERS = """
CREATE TRIGGER player_value_inserted AFTER INSERT ON player
FOR EACH ROW WHEN (false) EXECUTE FUNCTION player_value_insert();
CREATE TRIGGER player_value_updated AFTER UPDATE OF attributes ON player
FOR EACH ROW WHEN (false) EXECUTE FUNCTION player_value_update()"""


class Migration(migrations.Migration):
    initial = True
    dependencies = [("ilara_admin", "0001_initial")]
    tables = [
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
                ("total_revenue", models.DecimalField(default=0, db_default=0)),
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
                        fields=["environment", "-last_active_on", "id"], name="player_recent"
                    ),
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
        # Events update their player: room on its page keeps that cheap.
        migrations.RunSQL("ALTER TABLE player SET (fillfactor = 85)", migrations.RunSQL.noop),
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
            "PlayerExport",
            [
                ID,
                (
                    "environment",
                    models.ForeignKey("ilara_admin.environment", models.CASCADE, related_name="+"),
                ),
                (
                    "user",
                    models.ForeignKey(
                        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False
                    ),
                ),
                ("rule", models.JSONField(null=True)),
                ("ids", models.JSONField(null=True)),
                ("columns", models.JSONField()),
                ("filters", models.TextField(blank=True)),
                ("masked", models.BooleanField()),
                ("personal", models.JSONField()),
                ("position", models.JSONField(null=True)),
                ("total", models.BigIntegerField(default=0)),
                ("looked", models.BigIntegerField(default=0)),
                ("rows", models.BigIntegerField(default=0)),
                ("chunks", models.IntegerField(default=0)),
                ("done", models.BooleanField(default=False)),
                ("problem", models.CharField(max_length=300, blank=True)),
                ("created_at", models.DateTimeField(default=timezone.now)),
                ("touched_at", models.DateTimeField(default=timezone.now)),
            ],
            {
                "db_table": "player_export",
                "indexes": [models.Index(fields=["user", "-id"], name="player_export_of_user")],
            },
        ),
        migrations.CreateModel(
            "PlayerExportChunk",
            [
                ID,
                (
                    "export",
                    models.ForeignKey(
                        "players.playerexport", models.CASCADE, related_name="parts", db_index=False
                    ),
                ),
                ("number", models.IntegerField()),
                ("data", models.BinaryField()),
                ("players", IdsField()),
            ],
            {
                "db_table": "player_export_chunk",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("export", "number"), name="player_export_chunk_unique"
                    )
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
                    models.Index(fields=["player", "-received_at"], name="session_player_time"),
                    models.Index(fields=["digest"], name="session_digest"),
                    models.Index(fields=["started_at"], name="session_started"),
                ],
            },
        ),
        # The table is in the order of receipt, so an index of blocks is enough to find late
        # sessions, and costs an insert next to nothing.
        migrations.RunSQL(
            """CREATE INDEX session_received ON player_session USING brin (received_at)
                   WITH (autosummarize = on)""",
            migrations.RunSQL.noop,
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
                ENVIRONMENT,
                ("digest", models.BinaryField(max_length=16)),
                ("transaction_id", models.CharField(max_length=128, null=True)),
                ("amount", models.DecimalField()),
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
                    models.Index(fields=["environment", "received_at"], name="purchase_time"),
                    models.Index(fields=["player", "-received_at"], name="purchase_player_time"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("environment", "digest"), name="purchase_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "PlayerValue",
            [
                ("pk", models.CompositePrimaryKey("player_id", "field", **PRIMARY)),
                (
                    "player",
                    models.ForeignKey(
                        "players.player",
                        models.DO_NOTHING,
                        related_name="+",
                        db_index=False,
                        db_constraint=False,
                    ),
                ),
                ("field", models.CharField(max_length=120)),
                (
                    "environment",
                    models.ForeignKey(
                        "ilara_admin.environment",
                        models.CASCADE,
                        related_name="+",
                        db_index=False,
                        db_constraint=False,
                    ),
                ),
                ("value", models.CharField(max_length=255, null=True, db_collation="C")),
            ],
            {
                "db_table": "player_value",
                "indexes": [
                    models.Index(
                        fields=["environment", "field", "value"], name="player_value_search"
                    )
                ],
            },
        ),
        migrations.RunSQL(SEARCHABLE, "DROP FUNCTION player_searchable"),
        migrations.RunSQL(KEEP, "DROP FUNCTION player_value_update, player_value_insert"),
        migrations.RunSQL(
            TRIGGERS,
            """DROP TRIGGER player_value_updated ON player;
               DROP TRIGGER player_value_inserted ON player""",
        ),
        migrations.CreateModel(
            "ValueFill",
            [
                ("pk", models.CompositePrimaryKey("environment_id", "field", **PRIMARY)),
                ENVIRONMENT,
                ("field", models.CharField(max_length=120)),
                ("position", models.BigIntegerField(default=0)),
            ],
            {"db_table": "player_value_fill"},
        ),
        migrations.CreateModel(
            "PlayerDay",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "environment_id", "day", "dimension", "value", **PRIMARY
                    ),
                ),
                ENVIRONMENT,
                ("day", models.DateField()),
                ("dimension", models.CharField(max_length=10, default="", db_default="")),
                ("value", models.CharField(max_length=64, default="", db_default="")),
                ("active", models.IntegerField()),
                ("new", models.IntegerField()),
                ("sessions", models.IntegerField(null=True)),
                ("purchases", models.IntegerField()),
                ("payers", models.IntegerField()),
                ("revenue", models.DecimalField()),
                ("unverified", models.DecimalField(null=True)),
                ("weekly", models.IntegerField(null=True)),
                ("monthly", models.IntegerField(null=True)),
                ("counted_at", models.DateTimeField()),
            ],
            {"db_table": "player_day"},
        ),
        migrations.CreateModel(
            "PlayerCohort",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "environment_id", "day", "dimension", "value", **PRIMARY
                    ),
                ),
                ENVIRONMENT,
                ("day", models.DateField()),
                ("dimension", models.CharField(max_length=10)),
                ("value", models.CharField(max_length=64)),
                ("players", models.IntegerField()),
                ("day_1", models.IntegerField(null=True)),
                ("day_3", models.IntegerField(null=True)),
                ("day_7", models.IntegerField(null=True)),
                ("day_14", models.IntegerField(null=True)),
                ("day_30", models.IntegerField(null=True)),
                ("until", models.DateField()),
            ],
            {"db_table": "player_cohort"},
        ),
        migrations.CreateModel(
            "LateDay",
            [
                ID,
                (
                    "environment",
                    models.ForeignKey("ilara_admin.environment", models.CASCADE, related_name="+"),
                ),
                ("day", models.DateField()),
            ],
            {"db_table": "player_late_day"},
        ),
        migrations.CreateModel(
            "FiguresState",
            [
                (
                    "environment",
                    models.OneToOneField(
                        "ilara_admin.environment",
                        models.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                    ),
                ),
                ("stages", models.JSONField(default=dict)),
                ("stages_at", models.DateTimeField(null=True)),
                ("sessions_until", models.DateTimeField(null=True)),
                ("seconds", models.FloatField(default=0)),
            ],
            {"db_table": "player_figures_state"},
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
                ("c0", models.FloatField(db_default=0.0)),
                ("c1", models.FloatField(db_default=1.0)),
                ("c2", models.FloatField(db_default=1.0)),
                ("days", models.SmallIntegerField()),
                ("tested", models.IntegerField()),
                ("brier", models.FloatField()),
                ("base_rate", models.FloatField()),
                ("bins", models.JSONField()),
                ("before", models.JSONField(null=True)),
            ],
            {
                "db_table": "churn_fit",
                "ordering": ("-id",),
                "indexes": [models.Index(fields=["environment", "-id"], name="churn_fit_newest")],
            },
        ),
    ]
    operations = [CreateTables(tables)]
