from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("segments", "0003_sizes"),
    ]

    operations = [
        migrations.AddField(
            model_name="segment",
            name="sized_among",
            field=models.BigIntegerField(null=True),
        ),
    ]
