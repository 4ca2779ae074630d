from typing import ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    """Examples of property values may be personal data of a player who was erased."""

    dependencies: ClassVar = [("events", "0001_initial")]
    operations: ClassVar = [migrations.RemoveField("EventProperty", "example")]
