from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("players", "0005_player_list"),
    ]

    operations = [
        migrations.AddField(
            model_name="playerday",
            name="unverified",
            field=models.DecimalField(null=True),
        ),
    ]
