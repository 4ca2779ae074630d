from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ilara_admin", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="SignInAttempt",
            fields=[
                ("subject", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("failures", models.PositiveIntegerField()),
                ("window_ends_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "db_table": "sign_in_attempt",
            },
        ),
    ]
