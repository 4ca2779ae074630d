"""The limits of a player's attributes, kept where merges of concurrent requests meet."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("players", "0001_initial")]

    operations = [
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
            """
            ALTER TABLE player
                ALTER COLUMN attributes DROP DEFAULT,
                DROP CONSTRAINT player_attributes_size,
                DROP CONSTRAINT player_attributes_keys
            """,
        )
    ]
