from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Examples of property values may be personal data of a player who was erased."""

    dependencies: ClassVar = [("events", "0001_initial")]
    operations: ClassVar = [
        # The default lets the column return to a table with rows.
        migrations.AlterField(
            "EventProperty", "example", models.TextField(default="", db_default="")
        ),
        migrations.RemoveField("EventProperty", "example"),
    ]
