"""The event table by days, and the ledger of event ids.

The stream reads by (environment_id, id), counts of a name use (environment_id, name, received_at),
which tells the players along, and one player's events the primary key. Spans of time are found by
a BRIN index, which costs next to nothing: rows lie in the order of their arrival. An identity column on a partitioned table needs a newer
PostgreSQL than 15, so a sequence of its own feeds `id`.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("events", "0001_initial")]

    operations = [
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
        )
    ]
