"""Projects, environments, API keys, staff and the audit log."""

import uuid

from django.conf import settings
from django.contrib.auth.models import UserManager
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.contrib.postgres.functions import RandomUUID
from django.db import migrations, models
from django.db.models.functions import Now
from django.utils import timezone

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
    dependencies = [("auth", "0012_alter_user_first_name_max_length")]
    operations = [
        migrations.CreateModel(
            "Project",
            [
                ID,
                ("name", models.CharField(max_length=100)),
                ("slug", models.SlugField(max_length=40, unique=True)),
                (
                    "tier",
                    models.CharField(
                        max_length=10,
                        default="enterprise",
                        choices=[
                            ("free", "Free"),
                            ("growth", "Growth"),
                            ("pro", "Pro"),
                            ("enterprise", "Enterprise"),
                        ],
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            {"db_table": "project", "ordering": ("slug",)},
        ),
        migrations.CreateModel(
            "Environment",
            [
                ID,
                (
                    "project",
                    models.ForeignKey(
                        "ilara_admin.project", models.CASCADE, related_name="environments"
                    ),
                ),
                ("slug", models.SlugField(max_length=20)),
                (
                    "namespace",
                    models.UUIDField(default=uuid.uuid4, db_default=RandomUUID(), editable=False),
                ),
                ("config_version", models.BigIntegerField(default=1, db_default=1)),
                ("new_days", models.PositiveSmallIntegerField(default=7, db_default=7)),
                ("at_risk_days", models.PositiveSmallIntegerField(default=7, db_default=7)),
                ("churned_days", models.PositiveSmallIntegerField(default=30, db_default=30)),
                ("retention_days", models.PositiveSmallIntegerField(default=90, db_default=90)),
                ("currency", models.CharField(max_length=3, default="USD", db_default="USD")),
                ("public_keys_read_email", models.BooleanField(default=False, db_default=False)),
                ("public_keys_restricted", models.BooleanField(default=False, db_default=False)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "environment",
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("project", "slug"), name="environment_slug_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "User",
            [
                ID,
                ("password", models.CharField(verbose_name="password", max_length=128)),
                (
                    "last_login",
                    models.DateTimeField(verbose_name="last login", blank=True, null=True),
                ),
                (
                    "is_superuser",
                    models.BooleanField(
                        verbose_name="superuser status",
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        verbose_name="username",
                        max_length=150,
                        unique=True,
                        help_text="Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.",
                        validators=[UnicodeUsernameValidator()],
                        error_messages={"unique": "A user with that username already exists."},
                    ),
                ),
                (
                    "first_name",
                    models.CharField(verbose_name="first name", max_length=150, blank=True),
                ),
                (
                    "last_name",
                    models.CharField(verbose_name="last name", max_length=150, blank=True),
                ),
                (
                    "email",
                    models.EmailField(verbose_name="email address", max_length=254, blank=True),
                ),
                (
                    "is_staff",
                    models.BooleanField(
                        verbose_name="staff status",
                        default=False,
                        help_text="Designates whether the user can log into this admin site.",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        verbose_name="active",
                        default=True,
                        help_text="Designates whether this user should be treated as active. Unselect this instead of deleting accounts.",
                    ),
                ),
                (
                    "date_joined",
                    models.DateTimeField(verbose_name="date joined", default=timezone.now),
                ),
                (
                    "role",
                    models.CharField(
                        max_length=10,
                        default="viewer",
                        choices=[
                            ("viewer", "Viewer"),
                            ("support", "Support"),
                            ("live-ops", "Live Ops"),
                            ("admin", "Admin"),
                        ],
                    ),
                ),
                ("time_zone", models.CharField(max_length=64, default="UTC")),
                (
                    "groups",
                    models.ManyToManyField(
                        "auth.group",
                        verbose_name="groups",
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        "auth.permission",
                        verbose_name="user permissions",
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                    ),
                ),
            ],
            {"db_table": "staff"},
            managers=[("objects", UserManager())],
        ),
        migrations.CreateModel(
            "SignInAttempt",
            [
                ("subject", models.CharField(primary_key=True, max_length=64, serialize=False)),
                ("failures", models.PositiveIntegerField()),
                ("window_ends_at", models.DateTimeField(db_index=True)),
            ],
            {"db_table": "sign_in_attempt"},
        ),
        migrations.CreateModel(
            "ApiKey",
            [
                ID,
                (
                    "environment",
                    models.ForeignKey(
                        "ilara_admin.environment", models.CASCADE, related_name="api_keys"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        max_length=6, choices=[("public", "Public"), ("secret", "Secret")]
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                ("prefix", models.CharField(max_length=40)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("last_four", models.CharField(max_length=4)),
                ("created_by", STAFF),
                ("created_by_name", models.CharField(max_length=150)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("expires_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
                ("last_used_at", models.DateTimeField(null=True)),
            ],
            {"db_table": "api_key", "ordering": ("id",)},
        ),
        migrations.CreateModel(
            "RateWindow",
            [
                ("pk", models.CompositePrimaryKey("environment_id", "policy", **PRIMARY)),
                ENVIRONMENT,
                ("policy", models.CharField(max_length=10)),
                ("opened_at", models.DateTimeField()),
                ("used", models.BigIntegerField()),
            ],
            {"db_table": "rate_window"},
        ),
        # The one busy row is rewritten all the time: room on its page keeps that cheap.
        migrations.RunSQL("ALTER TABLE rate_window SET (fillfactor = 10)", migrations.RunSQL.noop),
        migrations.CreateModel(
            "AuditEntry",
            [
                ID,
                (
                    "project",
                    models.ForeignKey(
                        "ilara_admin.project", models.SET_NULL, null=True, related_name="+"
                    ),
                ),
                (
                    "environment",
                    models.ForeignKey(
                        "ilara_admin.environment", models.SET_NULL, null=True, related_name="+"
                    ),
                ),
                ("actor_user", STAFF),
                (
                    "actor_key",
                    models.ForeignKey(
                        "ilara_admin.apikey", models.SET_NULL, null=True, related_name="+"
                    ),
                ),
                ("actor_name", models.CharField(max_length=200)),
                ("action", models.CharField(max_length=40)),
                ("object_type", models.CharField(max_length=20)),
                ("object_id", models.CharField(max_length=140)),
                ("object_name", models.CharField(max_length=300)),
                ("before", models.JSONField(null=True)),
                ("after", models.JSONField(null=True)),
                ("reason", models.CharField(max_length=500, blank=True)),
                ("request_id", models.CharField(max_length=64, blank=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "audit_entry",
                "ordering": ("-id",),
                "indexes": [
                    models.Index(fields=["environment", "-id"], name="audit_environment"),
                    models.Index(fields=["object_type", "object_id", "-id"], name="audit_object"),
                ],
            },
        ),
    ]
