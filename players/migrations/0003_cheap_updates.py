"""Indexes that an event does not change, free space in the pages of players, and daily figures."""

from django.db import migrations, models

PRIMARY = {"blank": True, "editable": False, "primary_key": True, "serialize": False}


class Migration(migrations.Migration):
    dependencies = [("players", "0002_amounts_and_transactions")]
    operations = [
        migrations.RemoveIndex("player", "player_last_seen"),
        # Applies to pages that are filled from now on; VACUUM FULL would rewrite the others.
        migrations.RunSQL(
            "ALTER TABLE player SET (fillfactor = 85)", "ALTER TABLE player RESET (fillfactor)"
        ),
        migrations.AddIndex(
            "player",
            models.Index(fields=["environment", "-last_active_on", "id"], name="player_recent"),
        ),
        migrations.AddIndex(
            "player",
            models.Index(fields=["environment", "first_seen_at"], name="player_first_seen"),
        ),
        migrations.AddIndex(
            "player",
            models.Index(
                fields=["environment", "returned_at"],
                name="player_returned",
                condition=models.Q(returned_at__isnull=False),
            ),
        ),
        migrations.AddIndex(
            "purchase", models.Index(fields=["environment", "received_at"], name="purchase_time")
        ),
        migrations.CreateModel(
            "PlayerDay",
            [
                ("pk", models.CompositePrimaryKey("environment_id", "day", **PRIMARY)),
                (
                    "environment",
                    models.ForeignKey(
                        "ilara_admin.environment",
                        models.CASCADE,
                        related_name="+",
                        db_index=False,
                    ),
                ),
                ("day", models.DateField()),
                ("active", models.IntegerField()),
                ("new", models.IntegerField()),
                ("purchases", models.IntegerField()),
                ("payers", models.IntegerField()),
                ("revenue", models.DecimalField()),
                ("counted_at", models.DateTimeField()),
            ],
            {"db_table": "player_day"},
        ),
    ]
