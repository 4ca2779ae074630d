"""Flags, their revisions, overrides and usage."""

from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now

from flags.models import new_salt

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
    operations = [
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
                ("salt", models.CharField(max_length=32, default=new_salt)),
                ("revision", models.IntegerField(default=1)),
                ("document", models.JSONField()),
                ("archived_at", models.DateTimeField(null=True)),
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
                ("last_at", models.DateTimeField()),
            ],
            {"db_table": "flag_usage"},
        ),
    ]
