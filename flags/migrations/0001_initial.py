"""Flags, their revisions, overrides, usage and impact; metrics, experiments and their results."""

from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now
from django.utils import timezone

from flags.models import CountsField, FloatsField, new_salt
from ilara_admin.core.table_creation import CreateTables

ID = (
    "id",
    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
)
PRIMARY = {"blank": True, "editable": False, "primary_key": True, "serialize": False}
ENVIRONMENT = (
    "environment",
    models.ForeignKey("ilara_admin.environment", models.CASCADE, related_name="+", db_index=False),
)
STAFF = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")


class Migration(migrations.Migration):
    initial = True
    dependencies = [("ilara_admin", "0001_initial")]
    tables = [
        migrations.CreateModel(
            "Flag",
            [
                ID,
                ENVIRONMENT,
                ("key", models.CharField(max_length=128)),
                ("name", models.CharField(max_length=200)),
                ("description", models.CharField(max_length=500, blank=True)),
                ("owner", models.CharField(max_length=200, blank=True)),
                ("expected_end", models.DateField(null=True)),
                ("tags", models.JSONField(default=list)),
                ("links", models.JSONField(default=list)),
                ("salt", models.CharField(max_length=32, default=new_salt)),
                ("revision", models.IntegerField(default=1)),
                ("document", models.JSONField()),
                ("archived_at", models.DateTimeField(null=True)),
                ("archives_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("updated_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "flag",
                "ordering": ("key",),
                "constraints": [
                    models.UniqueConstraint(fields=("environment", "key"), name="flag_key_unique")
                ],
            },
        ),
        migrations.CreateModel(
            "FlagRevision",
            [
                ID,
                (
                    "flag",
                    models.ForeignKey(
                        "flags.flag", models.CASCADE, related_name="revisions", db_index=False
                    ),
                ),
                ("number", models.IntegerField()),
                ("name", models.CharField(max_length=200)),
                ("description", models.CharField(max_length=500, blank=True)),
                ("owner", models.CharField(max_length=200, blank=True)),
                ("expected_end", models.DateField(null=True)),
                ("tags", models.JSONField(default=list)),
                ("links", models.JSONField(default=list)),
                ("document", models.JSONField()),
                ("archived", models.BooleanField(default=False)),
                ("author", STAFF),
                ("author_name", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=500, blank=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "flag_revision",
                "ordering": ("-number",),
                "constraints": [
                    models.UniqueConstraint(fields=("flag", "number"), name="flag_revision_unique")
                ],
            },
        ),
        migrations.CreateModel(
            "FlagOverride",
            [
                ("pk", models.CompositePrimaryKey("player_id", "flag_id", **PRIMARY)),
                ("player_id", models.UUIDField()),
                ("flag", models.ForeignKey("flags.flag", models.CASCADE, related_name="overrides")),
                ("variant", models.CharField(max_length=128)),
                ("expires_at", models.DateTimeField(null=True)),
                ("author_name", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=500, blank=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            {"db_table": "flag_override"},
        ),
        migrations.CreateModel(
            "FlagUsage",
            [
                ("pk", models.CompositePrimaryKey("flag_id", "hour", "variant", **PRIMARY)),
                (
                    "flag",
                    models.ForeignKey(
                        "flags.flag", models.CASCADE, related_name="usage", db_index=False
                    ),
                ),
                ("hour", models.DateTimeField()),
                ("variant", models.CharField(max_length=128)),
                ("count", models.BigIntegerField()),
                ("single", models.BigIntegerField(default=0)),
                ("last_at", models.DateTimeField()),
            ],
            {"db_table": "flag_usage"},
        ),
        migrations.CreateModel(
            "FlagUsageDay",
            [
                ("pk", models.CompositePrimaryKey("flag_id", "day", **PRIMARY)),
                (
                    "flag",
                    models.ForeignKey(
                        "flags.flag", models.CASCADE, related_name="+", db_index=False
                    ),
                ),
                ("day", models.DateField()),
                ("hours", CountsField()),
            ],
            {"db_table": "flag_usage_day"},
        ),
        migrations.CreateModel(
            "EnvironmentUsage",
            [
                ("pk", models.CompositePrimaryKey("environment_id", "hour", **PRIMARY)),
                ENVIRONMENT,
                ("hour", models.DateTimeField()),
                ("count", models.BigIntegerField()),
            ],
            {"db_table": "environment_usage"},
        ),
        migrations.CreateModel(
            "FlagClient",
            [
                ("pk", models.CompositePrimaryKey("flag_id", "client", **PRIMARY)),
                (
                    "flag",
                    models.ForeignKey(
                        "flags.flag", models.CASCADE, related_name="clients", db_index=False
                    ),
                ),
                ("client", models.CharField(max_length=128)),
                ("count", models.BigIntegerField()),
                ("last_at", models.DateTimeField()),
            ],
            {"db_table": "flag_client"},
        ),
        migrations.CreateModel(
            "FlagImpact",
            [
                ID,
                ("flag", models.ForeignKey("flags.flag", models.CASCADE, related_name="+")),
                ("fingerprint", models.CharField(max_length=64, unique=True)),
                ("config_version", models.BigIntegerField()),
                ("document", models.JSONField()),
                ("archived", models.BooleanField(default=False)),
                ("players", models.BigIntegerField()),
                ("chunk", models.IntegerField(default=0)),
                ("chunks", models.IntegerField()),
                ("found", models.JSONField(null=True)),
                ("created_at", models.DateTimeField(default=timezone.now)),
                ("touched_at", models.DateTimeField(default=timezone.now)),
            ],
            {"db_table": "flag_impact"},
        ),
        migrations.CreateModel(
            "Metric",
            [
                ID,
                ENVIRONMENT,
                ("key", models.CharField(max_length=128)),
                ("name", models.CharField(max_length=200)),
                ("description", models.CharField(max_length=500, blank=True)),
                (
                    "kind",
                    models.CharField(
                        max_length=10,
                        choices=[
                            ("count", "Events per player"),
                            ("share", "Share of players with an event"),
                            ("sum", "Sum of a property per player"),
                            ("mean", "Mean of a property"),
                            ("revenue", "Revenue per player"),
                            ("payers", "Share of players who pay"),
                            ("sessions", "Sessions per player"),
                            ("retention", "Retention on a day"),
                        ],
                    ),
                ),
                ("event", models.CharField(max_length=128, blank=True)),
                ("property", models.CharField(max_length=128, blank=True)),
                ("conditions", models.JSONField(null=True)),
                ("window_days", models.SmallIntegerField(null=True)),
                ("percentile", models.FloatField(null=True)),
                (
                    "direction",
                    models.CharField(
                        max_length=4,
                        choices=[("up", "Higher is better"), ("down", "Lower is better")],
                    ),
                ),
                ("unit", models.CharField(max_length=20, blank=True)),
                ("owner", models.CharField(max_length=200, blank=True)),
                ("revision", models.IntegerField(default=1)),
                ("archived_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("updated_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "metric",
                "ordering": ("key",),
                "constraints": [
                    models.UniqueConstraint(fields=("environment", "key"), name="metric_key_unique")
                ],
            },
        ),
        migrations.CreateModel(
            "ExperimentGroup",
            [
                ID,
                ENVIRONMENT,
                ("key", models.CharField(max_length=128)),
                ("name", models.CharField(max_length=200)),
                ("salt", models.CharField(max_length=32, default=new_salt)),
                ("holdout", models.IntegerField(default=0)),
                ("revision", models.IntegerField(default=1)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "experiment_group",
                "ordering": ("key",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("environment", "key"), name="experiment_group_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "Experiment",
            [
                ID,
                ENVIRONMENT,
                (
                    "flag",
                    models.ForeignKey("flags.flag", models.CASCADE, related_name="experiments"),
                ),
                ("rule_id", models.CharField(max_length=64)),
                ("key", models.CharField(max_length=128)),
                ("name", models.CharField(max_length=200)),
                ("hypothesis", models.TextField(blank=True)),
                (
                    "kind",
                    models.CharField(
                        max_length=10,
                        choices=[("experiment", "Experiment"), ("rollout", "Guarded rollout")],
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        max_length=8,
                        default="draft",
                        choices=[
                            ("draft", "Draft"),
                            ("running", "Running"),
                            ("stopped", "Stopped"),
                            ("decided", "Decided"),
                        ],
                    ),
                ),
                ("control", models.CharField(max_length=128, blank=True)),
                ("population", models.JSONField(null=True)),
                (
                    "group",
                    models.ForeignKey(
                        "flags.experimentgroup",
                        models.PROTECT,
                        null=True,
                        related_name="experiments",
                    ),
                ),
                ("first_bucket", models.IntegerField(null=True)),
                ("end_bucket", models.IntegerField(null=True)),
                ("planned_players", models.IntegerField(null=True)),
                ("planned_end", models.DateField(null=True)),
                ("min_players", models.IntegerField(default=100)),
                (
                    "on_breach",
                    models.CharField(
                        max_length=9,
                        default="notify",
                        choices=[
                            ("notify", "Notify only"),
                            ("hold", "Hold the percentage"),
                            ("step_back", "Return to the last good percentage"),
                            ("turn_off", "Turn the flag off"),
                        ],
                    ),
                ),
                ("breached_at", models.DateTimeField(null=True)),
                ("phase", models.SmallIntegerField(default=0)),
                ("phase_at", models.DateTimeField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("decision", models.CharField(max_length=4, blank=True)),
                ("decided_variant", models.CharField(max_length=128, blank=True)),
                ("decision_reason", models.CharField(max_length=500, blank=True)),
                ("evidence", models.JSONField(null=True)),
                ("owner", models.CharField(max_length=200, blank=True)),
                ("revision", models.IntegerField(default=1)),
                ("rebuild", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("updated_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "experiment",
                "ordering": ("-id",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("environment", "key"), name="experiment_key_unique"
                    ),
                    models.UniqueConstraint(
                        fields=("flag", "rule_id"),
                        name="experiment_running_unique",
                        condition=models.Q(state="running"),
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            "ExperimentMetric",
            [
                ("pk", models.CompositePrimaryKey("experiment_id", "metric_id", **PRIMARY)),
                (
                    "experiment",
                    models.ForeignKey(
                        "flags.experiment", models.CASCADE, related_name="metrics", db_index=False
                    ),
                ),
                ("metric", models.ForeignKey("flags.metric", models.PROTECT, related_name="uses")),
                (
                    "role",
                    models.CharField(
                        max_length=9,
                        choices=[
                            ("primary", "Primary"),
                            ("secondary", "Secondary"),
                            ("guard", "Guard"),
                        ],
                    ),
                ),
                ("position", models.SmallIntegerField()),
                ("tolerance", models.FloatField(null=True)),
            ],
            {
                "db_table": "experiment_metric",
                "ordering": ("position",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("experiment", "position"), name="experiment_metric_position"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "Exposure",
            [
                (
                    "pk",
                    models.CompositePrimaryKey("player_id", "experiment_id", "phase", **PRIMARY),
                ),
                ("player_id", models.UUIDField()),
                (
                    "experiment",
                    models.ForeignKey(
                        "flags.experiment", models.CASCADE, related_name="exposures", db_index=False
                    ),
                ),
                ("phase", models.SmallIntegerField()),
                ("variant", models.CharField(max_length=128)),
                ("exposed_at", models.DateTimeField()),
                ("overridden", models.BooleanField(default=False)),
                ("second_variant", models.CharField(max_length=128, null=True)),
                ("second_at", models.DateTimeField(null=True)),
                ("stage", models.CharField(max_length=20, blank=True)),
                ("payer", models.BooleanField(default=False)),
                ("country", models.CharField(max_length=32, blank=True)),
                ("platform", models.CharField(max_length=32, blank=True)),
                ("figures", FloatsField(null=True)),
                ("before", FloatsField(null=True)),
                ("is_new", models.BooleanField(default=True, db_default=True)),
            ],
            {
                "db_table": "exposure",
                "indexes": [
                    models.Index(
                        fields=["experiment", "phase", "exposed_at"], name="exposure_time"
                    ),
                    models.Index(
                        fields=["experiment"], name="exposure_new", condition=models.Q(is_new=True)
                    ),
                ],
            },
        ),
        # Each refresh updates the figures: room on the page keeps that cheap.
        migrations.RunSQL("ALTER TABLE exposure SET (fillfactor = 85)", migrations.RunSQL.noop),
        migrations.CreateModel(
            "ExperimentDay",
            [
                ("pk", models.CompositePrimaryKey("experiment_id", "phase", "day", **PRIMARY)),
                (
                    "experiment",
                    models.ForeignKey(
                        "flags.experiment", models.CASCADE, related_name="days", db_index=False
                    ),
                ),
                ("phase", models.SmallIntegerField()),
                ("day", models.DateField()),
                ("computed_at", models.DateTimeField()),
                ("players", models.JSONField()),
                ("left_out", models.JSONField()),
                ("ratio_p", models.FloatField(null=True)),
                ("places", models.JSONField(default=list)),
            ],
            {"db_table": "experiment_day"},
        ),
        migrations.CreateModel(
            "ExperimentResult",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "experiment_id", "phase", "metric_id", "day", **PRIMARY
                    ),
                ),
                (
                    "experiment",
                    models.ForeignKey(
                        "flags.experiment", models.CASCADE, related_name="results", db_index=False
                    ),
                ),
                ("phase", models.SmallIntegerField()),
                ("metric", models.ForeignKey("flags.metric", models.CASCADE, related_name="+")),
                ("day", models.DateField()),
                ("computed_at", models.DateTimeField()),
                ("arms", models.JSONField()),
                ("breakdowns", models.JSONField(null=True)),
            ],
            {"db_table": "experiment_result"},
        ),
        migrations.CreateModel(
            "ResultRefresh",
            [
                (
                    "environment",
                    models.OneToOneField(
                        "ilara_admin.environment",
                        models.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                    ),
                ),
                ("event_id", models.BigIntegerField(db_default=0)),
                ("refreshed_at", models.DateTimeField(null=True)),
            ],
            {"db_table": "result_refresh"},
        ),
    ]
    operations = [CreateTables(tables)]
