"""Revisions keep the flag's name and description, too, so that renaming can be undone."""

from django.db import migrations, models

# What they were at earlier revisions is not known: restoring one of those changes neither.
FILL = """
    UPDATE flag_revision r SET name = f.name, description = f.description
    FROM flag f WHERE f.id = r.flag_id"""


class Migration(migrations.Migration):
    dependencies = [("flags", "0001_initial")]

    operations = [
        migrations.AddField(
            "flagrevision",
            "name",
            models.CharField(default="", max_length=200),
            preserve_default=False,
        ),
        migrations.AddField(
            "flagrevision",
            "description",
            models.CharField(blank=True, default="", max_length=500),
            preserve_default=False,
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
