"""Events partitioned by day, event receipts, the catalogue and its counts.

The stream reads by (environment_id, id). Counts of a name use (environment_id, name, received_at),
which includes the players. One player's events use the primary key. Time ranges use a BRIN index,
as rows are stored in order of arrival. Identity columns on partitioned tables need PostgreSQL 17,
so `id` comes from a sequence.
"""

from django.db import migrations, models

from ilara_admin.core.table_creation import CreateTables

ID = (
    "id",
    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
)
PRIMARY = {"blank": True, "editable": False, "primary_key": True, "serialize": False}
ENVIRONMENT = (
    "environment",
    models.ForeignKey("ilara_admin.environment", models.CASCADE, related_name="+", db_index=False),
)


class Migration(migrations.Migration):
    initial = True
    dependencies = [("ilara_admin", "0001_initial")]
    tables = [
        migrations.CreateModel(
            "Event",
            [
                ("pk", models.CompositePrimaryKey("player_id", "received_at", "id", **PRIMARY)),
                ("id", models.BigIntegerField()),
                ("environment_id", models.BigIntegerField()),
                ("player_id", models.UUIDField()),
                ("event_id", models.CharField(max_length=128)),
                ("name", models.CharField(max_length=128)),
                ("session_id", models.CharField(max_length=128, null=True)),
                ("properties", models.JSONField()),
                ("occurred_at", models.DateTimeField()),
                ("received_at", models.DateTimeField()),
            ],
            {"db_table": "event", "managed": False},
        ),
        migrations.RunSQL(
            [
                "CREATE SEQUENCE event_id_seq AS bigint CACHE 1",
                """
                CREATE TABLE event (
                    player_id uuid NOT NULL,
                    received_at timestamptz NOT NULL,
                    id bigint NOT NULL DEFAULT nextval('event_id_seq'),
                    environment_id bigint NOT NULL,
                    event_id varchar(128) NOT NULL,
                    name varchar(128) NOT NULL,
                    session_id varchar(128),
                    properties jsonb NOT NULL,
                    occurred_at timestamptz NOT NULL,
                    PRIMARY KEY (player_id, received_at, id)
                ) PARTITION BY RANGE (received_at)
                """,
                "CREATE INDEX event_stream ON event (environment_id, id)",
                """CREATE INDEX event_name_time ON event (environment_id, name, received_at)
                   INCLUDE (player_id)""",
                """CREATE INDEX event_time ON event USING brin (received_at)
                   WITH (autosummarize = on)""",
                "CREATE TABLE event_default PARTITION OF event DEFAULT",
                """
                CREATE TABLE event_receipt (
                    player_id uuid NOT NULL,
                    digest bytea NOT NULL,
                    received_at timestamptz NOT NULL,
                    PRIMARY KEY (player_id, digest)
                )
                """,
                "CREATE INDEX event_receipt_time ON event_receipt (received_at)",
            ],
            [
                "DROP TABLE event_receipt",
                "DROP TABLE event",
                "DROP SEQUENCE event_id_seq",
            ],
        ),
        migrations.CreateModel(
            "EventName",
            [
                ID,
                ENVIRONMENT,
                ("name", models.CharField(max_length=128)),
                ("description", models.CharField(max_length=500, blank=True, db_default="")),
                ("owner", models.CharField(max_length=200, blank=True, db_default="")),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("count", models.BigIntegerField()),
            ],
            {
                "db_table": "event_name",
                "ordering": ("name",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("environment", "name"), name="event_name_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "EventProperty",
            [
                ("pk", models.CompositePrimaryKey("event_name_id", "name", "type", **PRIMARY)),
                (
                    "event_name",
                    models.ForeignKey(
                        "events.eventname",
                        models.CASCADE,
                        related_name="properties",
                        db_index=False,
                    ),
                ),
                ("name", models.CharField(max_length=128)),
                ("type", models.CharField(max_length=7)),
                ("count", models.BigIntegerField()),
            ],
            {"db_table": "event_property"},
        ),
        migrations.CreateModel(
            "EventMinute",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "environment_id", "start", "event_name_id", **PRIMARY
                    ),
                ),
                ENVIRONMENT,
                (
                    "event_name",
                    models.ForeignKey(
                        "events.eventname", models.CASCADE, related_name="+", db_index=False
                    ),
                ),
                ("start", models.DateTimeField()),
                ("count", models.BigIntegerField()),
            ],
            {"db_table": "event_minute"},
        ),
        # Rows are inserted once an hour for each name; their updates change no indexed column.
        migrations.CreateModel(
            "EventHour",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "environment_id", "start", "event_name_id", **PRIMARY
                    ),
                ),
                ENVIRONMENT,
                (
                    "event_name",
                    models.ForeignKey(
                        "events.eventname", models.CASCADE, related_name="hours", db_index=False
                    ),
                ),
                ("start", models.DateTimeField()),
                ("count", models.BigIntegerField()),
            ],
            {
                "db_table": "event_hour",
                "indexes": [
                    models.Index(fields=["event_name", "start"], name="event_hour_of_name")
                ],
            },
        ),
        migrations.CreateModel(
            "EventFold",
            [
                (
                    "environment",
                    models.OneToOneField(
                        "ilara_admin.environment",
                        models.CASCADE,
                        primary_key=True,
                        serialize=False,
                        related_name="+",
                    ),
                ),
                ("folded_id", models.BigIntegerField(db_default=0)),
                ("counted_until", models.DateTimeField(null=True)),
            ],
            {"db_table": "event_fold"},
        ),
        migrations.CreateModel(
            "RejectedEvent",
            [
                ID,
                ENVIRONMENT,
                ("received_at", models.DateTimeField()),
                ("event_name", models.TextField(null=True)),
                ("player", models.TextField(null=True)),
                ("code", models.TextField()),
                ("message", models.TextField()),
                ("field", models.TextField(null=True)),
                ("payload", models.TextField()),
            ],
            {
                "db_table": "event_rejected",
                "ordering": ("-id",),
                "indexes": [
                    models.Index(fields=["environment", "-id"], name="event_rejected_list"),
                    models.Index(
                        fields=["environment", "event_name", "-id"], name="event_rejected_name"
                    ),
                    models.Index(fields=["received_at"], name="event_rejected_time"),
                ],
            },
        ),
    ]
    operations = [CreateTables(tables)]
