"""Figures by country, platform and version, weekly and monthly players, retention."""

from django.db import migrations, models

PRIMARY = {"blank": True, "editable": False, "primary_key": True, "serialize": False}


class Migration(migrations.Migration):
    dependencies = [
        ("ilara_admin", "0014_break_glass_index"),
        ("players", "0007_churn_calibration"),
    ]
    operations = [
        # In place: processes of the old version read the rows without a dimension.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    """ALTER TABLE player_day
                           ADD COLUMN dimension varchar(10) NOT NULL DEFAULT '',
                           ADD COLUMN value varchar(64) NOT NULL DEFAULT '',
                           ADD COLUMN sessions integer,
                           ADD COLUMN weekly integer,
                           ADD COLUMN monthly integer;
                       ALTER TABLE player_day DROP CONSTRAINT player_day_pkey;
                       ALTER TABLE player_day
                           ADD PRIMARY KEY (environment_id, day, dimension, value)""",
                    """DELETE FROM player_day WHERE dimension <> '';
                       ALTER TABLE player_day DROP CONSTRAINT player_day_pkey;
                       ALTER TABLE player_day ADD PRIMARY KEY (environment_id, day);
                       ALTER TABLE player_day DROP COLUMN dimension, DROP COLUMN value,
                           DROP COLUMN sessions, DROP COLUMN weekly, DROP COLUMN monthly""",
                )
            ],
            state_operations=[
                migrations.DeleteModel("PlayerDay"),
                migrations.CreateModel(
                    "PlayerDay",
                    [
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "environment_id", "day", "dimension", "value", **PRIMARY
                            ),
                        ),
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
                        (
                            "dimension",
                            models.CharField(max_length=10, default="", db_default=""),
                        ),
                        ("value", models.CharField(max_length=64, default="", db_default="")),
                        ("active", models.IntegerField()),
                        ("new", models.IntegerField()),
                        ("sessions", models.IntegerField(null=True)),
                        ("purchases", models.IntegerField()),
                        ("payers", models.IntegerField()),
                        ("revenue", models.DecimalField()),
                        ("unverified", models.DecimalField(null=True)),
                        ("weekly", models.IntegerField(null=True)),
                        ("monthly", models.IntegerField(null=True)),
                        ("counted_at", models.DateTimeField()),
                    ],
                    {"db_table": "player_day"},
                ),
            ],
        ),
        migrations.CreateModel(
            "PlayerCohort",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "environment_id", "day", "dimension", "value", **PRIMARY
                    ),
                ),
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
                ("dimension", models.CharField(max_length=10)),
                ("value", models.CharField(max_length=64)),
                ("players", models.IntegerField()),
                ("day_1", models.IntegerField(null=True)),
                ("day_3", models.IntegerField(null=True)),
                ("day_7", models.IntegerField(null=True)),
                ("day_14", models.IntegerField(null=True)),
                ("day_30", models.IntegerField(null=True)),
                ("until", models.DateField()),
            ],
            {"db_table": "player_cohort"},
        ),
        migrations.CreateModel(
            "LateDay",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "environment",
                    models.ForeignKey("ilara_admin.environment", models.CASCADE, related_name="+"),
                ),
                ("day", models.DateField()),
            ],
            {"db_table": "player_late_day"},
        ),
        migrations.CreateModel(
            "FiguresState",
            [
                (
                    "environment",
                    models.OneToOneField(
                        "ilara_admin.environment",
                        models.CASCADE,
                        related_name="+",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("stages", models.JSONField(default=dict)),
                ("stages_at", models.DateTimeField(null=True)),
                ("sessions_until", models.DateTimeField(null=True)),
                ("seconds", models.FloatField(default=0)),
            ],
            {"db_table": "player_figures_state"},
        ),
        migrations.AddIndex(
            "playersession", models.Index(fields=["started_at"], name="session_started")
        ),
        # The table is in the order of receipt, so an index of blocks is enough to find late
        # sessions, and costs an insert next to nothing.
        migrations.RunSQL(
            """CREATE INDEX session_received ON player_session USING brin (received_at)
                   WITH (autosummarize = on)""",
            "DROP INDEX session_received",
        ),
    ]
