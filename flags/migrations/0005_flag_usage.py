"""How often each flag gave each variant, by the hour."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("flags", "0004_flag_owner_and_end")]

    operations = [
        migrations.CreateModel(
            "FlagUsage",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "flag_id", "hour", "variant",
                        blank=True, editable=False, primary_key=True, serialize=False,
                    ),
                ),
                (
                    "flag",
                    models.ForeignKey(
                        "flags.flag", django.db.models.deletion.CASCADE,
                        related_name="usage", db_index=False,
                    ),
                ),
                ("hour", models.DateTimeField()),
                ("variant", models.CharField(max_length=128)),
                ("count", models.BigIntegerField()),
                ("last_at", models.DateTimeField()),
            ],
            options={"db_table": "flag_usage"},
        ),
    ]  # fmt: skip
