from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("events", "0002_property_without_example")]
    operations: ClassVar = [
        migrations.AddField(
            "EventName", "owner", models.CharField(max_length=200, blank=True, db_default="")
        ),
        migrations.AlterField(
            "EventHour",
            "event_name",
            models.ForeignKey(
                "events.eventname", models.CASCADE, related_name="hours", db_index=False
            ),
        ),
        # Rows are inserted once an hour for each name; their updates change no indexed column.
        migrations.AddIndex(
            "EventHour", models.Index(fields=["event_name", "start"], name="event_hour_of_name")
        ),
    ]
