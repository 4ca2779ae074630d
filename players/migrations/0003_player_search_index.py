"""One index for looking players up by the start of their external id, in the order of its bytes.

It takes the place of one that only a database of the locale C could have used for that.
"""

from django.db import migrations, models
from django.db.models.functions import Collate


class Migration(migrations.Migration):
    dependencies = [("players", "0002_attribute_limits")]

    operations = [
        migrations.AddIndex(
            model_name="player",
            index=models.Index("environment", Collate("external_id", "C"), name="player_search"),
        ),
        migrations.RemoveIndex(model_name="player", name="player_external_id"),
    ]
