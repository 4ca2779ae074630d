from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("players", "0004_activity_and_churn_fit")]

    operations = [
        migrations.AddField(
            model_name="purchase",
            name="refunded_at",
            field=models.DateTimeField(null=True),
        ),
    ]
