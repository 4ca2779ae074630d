"""Projects, environments, staff, API keys, reviews of changes, the audit log, notifications."""

import uuid

from django.conf import settings
from django.contrib.auth.models import UserManager
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.contrib.postgres.functions import RandomUUID
from django.db import migrations, models
from django.db.models.functions import Now
from django.utils import timezone

from ilara_admin.core.table_creation import CreateTables
from ilara_admin.models import default_scopes

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
ROLE = models.CharField(
    max_length=10,
    choices=[
        ("viewer", "Viewer"),
        ("support", "Support"),
        ("live-ops", "Live Ops"),
        ("admin", "Admin"),
    ],
)
NAMES = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))
# The words of reasons, without the punctuation that would join "SUP-12" into other words. Only the
# filter of the audit log uses it: pages/audit_search.py has the same expression.
WORDS = """to_tsvector('simple'::regconfig, translate(reason, '-/#.:@_()[]"''', '             '))"""


class Migration(migrations.Migration):
    initial = True
    dependencies = [("auth", "0012_alter_user_first_name_max_length")]
    tables = [
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
                ("searchable_attributes", NAMES),
                ("personal_attributes", NAMES),
                ("personal_properties", NAMES),
                ("guard_reason", NAMES),
                ("guard_name", NAMES),
                ("guard_approval", NAMES),
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
                ("is_owner", models.BooleanField(default=False, db_default=False)),
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
            "Membership",
            [
                ID,
                (
                    "user",
                    models.ForeignKey(
                        settings.AUTH_USER_MODEL,
                        models.CASCADE,
                        related_name="memberships",
                        db_index=False,
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        "ilara_admin.project", models.CASCADE, related_name="memberships"
                    ),
                ),
                ("role", ROLE),
            ],
            {
                "db_table": "membership",
                "constraints": [
                    models.UniqueConstraint(fields=("user", "project"), name="membership_unique"),
                    models.CheckConstraint(
                        condition=models.Q(role__in=["viewer", "support", "live-ops", "admin"]),
                        name="membership_role",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            "Invite",
            [
                ID,
                (
                    "project",
                    models.ForeignKey(
                        "ilara_admin.project", models.CASCADE, related_name="invites"
                    ),
                ),
                ("key", models.CharField(max_length=43, unique=True)),
                ("role", ROLE),
                ("name", models.CharField(max_length=150, blank=True)),
                ("email", models.EmailField(max_length=254, blank=True)),
                ("created_by", STAFF),
                ("created_by_name", models.CharField(max_length=150)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("expires_at", models.DateTimeField()),
                ("accepted_at", models.DateTimeField(null=True)),
                ("accepted_by", STAFF),
                ("revoked_at", models.DateTimeField(null=True)),
            ],
            {"db_table": "invite", "ordering": ("-id",)},
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
                ("last_client", models.CharField(max_length=80, default="", db_default="")),
                ("last_address", models.CharField(max_length=64, default="", db_default="")),
                (
                    "scopes",
                    models.JSONField(
                        default=default_scopes,
                        db_default=models.Value(
                            ["evaluate", "personal", "read", "stream", "track"], models.JSONField()
                        ),
                    ),
                ),
                ("networks", NAMES),
                (
                    "successor",
                    models.ForeignKey(
                        "ilara_admin.apikey", models.SET_NULL, null=True, related_name="+"
                    ),
                ),
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
            "FreezeWindow",
            [
                ID,
                (
                    "environment",
                    models.ForeignKey(
                        "ilara_admin.environment",
                        models.CASCADE,
                        related_name="freeze_windows",
                        db_index=False,
                    ),
                ),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("reason", models.CharField(max_length=500)),
                ("created_by_name", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "freeze_window",
                "ordering": ("starts_at", "id"),
                "indexes": [
                    models.Index(fields=["environment", "ends_at"], name="freeze_window_end")
                ],
            },
        ),
        migrations.CreateModel(
            "ChangeRequest",
            [
                ID,
                (
                    "environment",
                    models.ForeignKey(
                        "ilara_admin.environment",
                        models.CASCADE,
                        related_name="change_requests",
                        db_index=False,
                    ),
                ),
                ("author", STAFF),
                ("author_name", models.CharField(max_length=200)),
                ("title", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=500, blank=True)),
                (
                    "state",
                    models.CharField(
                        max_length=10,
                        default="open",
                        choices=[
                            ("open", "Open"),
                            ("approved", "Approved"),
                            ("refused", "Changes requested"),
                            ("withdrawn", "Withdrawn"),
                            ("applied", "Applied"),
                        ],
                    ),
                ),
                ("items", models.JSONField()),
                ("fingerprint", models.CharField(max_length=64)),
                ("version", models.PositiveIntegerField(default=1)),
                ("writers", models.JSONField(default=list)),
                ("closed_by_name", models.CharField(max_length=200, blank=True)),
                ("closed_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("edited_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "change_request",
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        fields=["environment", "state", "-id"], name="change_request_state"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "ChangeApproval",
            [
                ID,
                (
                    "request",
                    models.ForeignKey(
                        "ilara_admin.changerequest", models.CASCADE, related_name="approvals"
                    ),
                ),
                ("user", STAFF),
                ("user_name", models.CharField(max_length=200)),
                ("version", models.PositiveIntegerField()),
                ("fingerprint", models.CharField(max_length=64)),
                (
                    "verdict",
                    models.CharField(
                        max_length=10,
                        choices=[
                            ("approve", "Approve"),
                            ("refuse", "Request changes"),
                            ("comment", "Comment"),
                        ],
                    ),
                ),
                ("comment", models.CharField(max_length=1000, blank=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            {"db_table": "change_approval", "ordering": ("id",)},
        ),
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
                ("break_glass", models.BooleanField(default=False, db_default=False)),
                (
                    "change_request",
                    models.ForeignKey(
                        "ilara_admin.changerequest",
                        models.SET_NULL,
                        null=True,
                        related_name="entries",
                        db_index=False,
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "audit_entry",
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        fields=["environment", "-created_at", "-id"], name="audit_environment"
                    ),
                    models.Index(
                        fields=["environment", "action", "-created_at", "-id"], name="audit_action"
                    ),
                    models.Index(
                        fields=["environment", "actor_name", "action", "-created_at", "-id"],
                        name="audit_actor",
                    ),
                    models.Index(
                        fields=["environment", "object_name"],
                        name="audit_name",
                        opclasses=["int8_ops", "text_pattern_ops"],
                    ),
                    models.Index(fields=["object_type", "object_id", "-id"], name="audit_object"),
                    models.Index(fields=["request_id"], name="audit_request"),
                    models.Index(
                        fields=["change_request"],
                        name="audit_change_request",
                        condition=models.Q(change_request__isnull=False),
                    ),
                    models.Index(
                        fields=["-id"],
                        name="audit_break_glass",
                        condition=models.Q(break_glass=True),
                    ),
                    models.Index(
                        fields=["object_id", "-created_at", "-id"],
                        name="audit_player_time",
                        condition=models.Q(object_type="player")
                        & ~models.Q(action="player.data_seen"),
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            f"CREATE INDEX audit_reason ON audit_entry USING gin (({WORDS})) WHERE reason <> ''",
            migrations.RunSQL.noop,
        ),
        # An override has the player's external id, the replaced overrides of a flag have many, and
        # a change of a segment's list has the ids that were typed.
        migrations.RunSQL(
            """CREATE INDEX audit_names_player ON audit_entry USING gin ((
                   jsonb_path_query_array(coalesce(before, '[]'), '$.**{0 to 2}.player')
                   || jsonb_path_query_array(coalesce(after, '[]'), '$.**{0 to 2}.player')
                   || jsonb_path_query_array(coalesce(after, '[]'), '$.ids[*]')
               ))
               WHERE action IN ('flag.overridden', 'flag.override_removed',
                                'flag.overrides_replaced', 'segment.list_changed')""",
            migrations.RunSQL.noop,
        ),
        migrations.CreateModel(
            "SavedView",
            [
                ID,
                (
                    "user",
                    models.ForeignKey(
                        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False
                    ),
                ),
                (
                    "project",
                    models.ForeignKey("ilara_admin.project", models.CASCADE, related_name="+"),
                ),
                ("page", models.CharField(max_length=40)),
                ("name", models.CharField(max_length=60)),
                ("query", models.CharField(max_length=2000)),
            ],
            {
                "db_table": "saved_view",
                "ordering": ("name",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "project", "page", "name"), name="saved_view_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "Notification",
            [
                ID,
                (
                    "environment",
                    models.ForeignKey("ilara_admin.environment", models.CASCADE, related_name="+"),
                ),
                ("kind", models.CharField(max_length=40)),
                ("title", models.CharField(max_length=300)),
                ("lines", models.JSONField(default=list)),
                ("path", models.CharField(max_length=300, blank=True)),
                ("dedupe_key", models.CharField(max_length=200, unique=True)),
                ("created_at", models.DateTimeField(db_default=Now(), db_index=True)),
            ],
            {"db_table": "notification", "ordering": ("-id",)},
        ),
        migrations.CreateModel(
            "NotificationRecipient",
            [
                ID,
                (
                    "notification",
                    models.ForeignKey(
                        "ilara_admin.notification", models.CASCADE, related_name="recipients"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False
                    ),
                ),
                (
                    "project",
                    models.ForeignKey("ilara_admin.project", models.CASCADE, related_name="+"),
                ),
                ("read_at", models.DateTimeField(null=True)),
            ],
            {
                "db_table": "notification_recipient",
                "ordering": ("-id",),
                "indexes": [
                    models.Index(fields=["user", "project", "-id"], name="notification_list"),
                    models.Index(
                        fields=["user", "project"],
                        name="notification_unread",
                        condition=models.Q(read_at=None),
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "notification"), name="notification_recipient_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "NotificationChoice",
            [
                ID,
                (
                    "user",
                    models.ForeignKey(
                        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False
                    ),
                ),
                (
                    "project",
                    models.ForeignKey("ilara_admin.project", models.CASCADE, related_name="+"),
                ),
                ("kind", models.CharField(max_length=40)),
                (
                    "place",
                    models.CharField(
                        max_length=10, choices=[("product", "Product"), ("email", "Email")]
                    ),
                ),
                ("is_on", models.BooleanField()),
            ],
            {
                "db_table": "notification_choice",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "project", "kind", "place"),
                        name="notification_choice_unique",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "NotificationChannel",
            [
                ID,
                (
                    "project",
                    models.ForeignKey(
                        "ilara_admin.project", models.CASCADE, related_name="+", db_index=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        max_length=10, choices=[("slack", "Slack"), ("discord", "Discord")]
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                ("url", models.CharField(max_length=500)),
                ("kinds", models.JSONField(default=list)),
                ("created_by_name", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            {
                "db_table": "notification_channel",
                "ordering": ("name",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("project", "name"), name="notification_channel_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "NotificationDelivery",
            [
                ID,
                (
                    "notification",
                    models.ForeignKey(
                        "ilara_admin.notification", models.CASCADE, related_name="deliveries"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        "ilara_admin.project", models.CASCADE, related_name="+", db_index=False
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+"
                    ),
                ),
                (
                    "channel",
                    models.ForeignKey(
                        "ilara_admin.notificationchannel",
                        models.CASCADE,
                        null=True,
                        related_name="+",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        max_length=10,
                        default="queued",
                        db_default="queued",
                        choices=[
                            ("queued", "Queued"),
                            ("sending", "Sending"),
                            ("sent", "Sent"),
                            ("failed", "Failed"),
                        ],
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0, db_default=0)),
                ("error", models.CharField(max_length=300, blank=True, default="", db_default="")),
                ("queued_at", models.DateTimeField(db_default=Now())),
                ("next_try_at", models.DateTimeField(db_default=Now())),
                ("sent_at", models.DateTimeField(null=True)),
            ],
            {
                "db_table": "notification_delivery",
                "ordering": ("-id",),
                "indexes": [
                    models.Index(fields=["project", "-id"], name="notification_deliveries"),
                    models.Index(
                        fields=["next_try_at"],
                        name="notification_due",
                        condition=models.Q(state__in=["queued", "sending"]),
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(user=None) ^ models.Q(channel=None),
                        name="notification_delivery_to",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "NotificationPosition",
            [ID, ("entry_id", models.BigIntegerField())],
            {"db_table": "notification_position"},
        ),
        # The only row: how far the audit log is searched.
        migrations.RunSQL(
            "INSERT INTO notification_position (entry_id) VALUES (0)", migrations.RunSQL.noop
        ),
        # The table of Django's database cache, as `createcachetable` would create it.
        migrations.RunSQL(
            """
            CREATE TABLE cache_entry (
                cache_key varchar(255) PRIMARY KEY,
                value text NOT NULL,
                expires timestamptz NOT NULL
            );
            CREATE INDEX cache_entry_expires ON cache_entry (expires)
            """,
            "DROP TABLE cache_entry",
        ),
    ]
    operations = [CreateTables(tables)]
