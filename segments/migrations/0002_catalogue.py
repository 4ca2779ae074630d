from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("segments", "0001_initial")]
    operations: ClassVar = [
        migrations.CreateModel(
            "SegmentSize",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "segment_id",
                        "hour",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "segment",
                    models.ForeignKey(
                        "segments.segment",
                        models.DO_NOTHING,
                        related_name="+",
                        db_index=False,
                        db_constraint=False,
                    ),
                ),
                ("hour", models.DateTimeField()),
                ("size", models.BigIntegerField()),
                ("among", models.BigIntegerField()),
            ],
            {"db_table": "segment_size"},
        ),
    ]
