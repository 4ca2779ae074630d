"""The player that a registration by an external id is about.

A function, because in one statement the alias would be read by a snapshot that is older than the
lock. The seed 1 is aliases.ID_SEED.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("players", "0006_aliases_and_notes")]

    operations = [
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
        )
    ]
