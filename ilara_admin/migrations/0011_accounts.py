"""The table of Django's database cache, as `createcachetable` would create it."""

from django.db import migrations

CACHE = """
CREATE TABLE cache_entry (
    cache_key varchar(255) PRIMARY KEY,
    value text NOT NULL,
    expires timestamptz NOT NULL
);
CREATE INDEX cache_entry_expires ON cache_entry (expires);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("ilara_admin", "0010_invites"),
    ]

    operations = [
        migrations.RunSQL(CACHE, "DROP TABLE cache_entry"),
    ]
