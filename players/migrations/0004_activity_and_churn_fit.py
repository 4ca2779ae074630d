"""Which days a player was active on, and fits of the churn model to them."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import players.models


class Migration(migrations.Migration):
    dependencies = [
        ("ilara_admin", "0005_audit_action"),
        ("players", "0003_player_search_index"),
    ]

    operations = [
        migrations.AddField(
            model_name="player",
            name="activity",
            field=players.models.BitsField(db_default=models.Value("1"), default="1"),
        ),
        # Of players from before, the first and the last day are all that is known.
        migrations.RunSQL(
            """
            UPDATE player SET activity = ('1' || repeat('0', days - 1) || '1')::varbit
            FROM (SELECT id, last_active_on - (first_seen_at AT TIME ZONE 'UTC')::date AS days
                  FROM player) p
            WHERE player.id = p.id AND days > 0
            """,
            migrations.RunSQL.noop,
        ),
        migrations.CreateModel(
            name="ChurnFit",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "fitted_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("model", models.CharField(max_length=10)),
                ("until", models.DateField()),
                ("players", models.IntegerField()),
                ("r", models.FloatField()),
                ("alpha", models.FloatField()),
                ("a", models.FloatField()),
                ("b", models.FloatField()),
                ("log_likelihood", models.FloatField()),
                ("days", models.SmallIntegerField()),
                ("tested", models.IntegerField()),
                ("brier", models.FloatField()),
                ("base_rate", models.FloatField()),
                ("bins", models.JSONField()),
                (
                    "environment",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="ilara_admin.environment",
                    ),
                ),
            ],
            options={
                "db_table": "churn_fit",
                "ordering": ("-id",),
                "indexes": [models.Index(fields=["environment", "-id"], name="churn_fit_newest")],
            },
        ),
    ]
