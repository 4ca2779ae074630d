from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("players", "0006_unverified_revenue"),
    ]

    operations = [
        migrations.AddField(
            model_name="churnfit",
            name="before",
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name="churnfit",
            name="c0",
            field=models.FloatField(db_default=0.0),
        ),
        migrations.AddField(
            model_name="churnfit",
            name="c1",
            field=models.FloatField(db_default=1.0),
        ),
        migrations.AddField(
            model_name="churnfit",
            name="c2",
            field=models.FloatField(db_default=1.0),
        ),
    ]
