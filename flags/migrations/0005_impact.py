from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("flags", "0004_charts"),
    ]

    operations = [
        migrations.AddField(
            model_name="flagimpact",
            name="archived",
            field=models.BooleanField(default=False),
        ),
    ]
