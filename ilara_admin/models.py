"""Shared models: projects, environments, API keys, staff, rate limits and the audit log."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models.functions import Now
from django.utils.functional import cached_property

NO_NAMES = models.Value([], models.JSONField())


class Tier(models.TextChoices):
    FREE = "free"
    GROWTH = "growth"
    PRO = "pro"
    ENTERPRISE = "enterprise"


class Project(models.Model):
    """A game."""

    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=40, unique=True)
    tier = models.CharField(max_length=10, choices=Tier, default=Tier.ENTERPRISE)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "project"
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.name


class Environment(models.Model):
    """An isolated part of a project, with separate keys, players, flags, segments and events."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="environments")
    slug = models.SlugField(max_length=20)
    # Player ids are uuid5(namespace, external_id). Secret, since it allows computing ids.
    namespace = models.UUIDField(default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    # Incremented by every change that is visible under /v1; see api/environment_cache.py.
    config_version = models.BigIntegerField(default=1, db_default=1)
    new_days = models.PositiveSmallIntegerField(default=7, db_default=7)
    at_risk_days = models.PositiveSmallIntegerField(default=7, db_default=7)
    churned_days = models.PositiveSmallIntegerField(default=30, db_default=30)
    retention_days = models.PositiveSmallIntegerField(default=90, db_default=90)
    currency = models.CharField(max_length=3, default="USD", db_default="USD")
    public_keys_read_email = models.BooleanField(default=False, db_default=False)
    public_keys_restricted = models.BooleanField(default=False, db_default=False)
    # Sorted names: attributes that staff can search by, and what is personal beside e-mails, device
    # ids and linked ids.
    searchable_attributes = models.JSONField(default=list, db_default=NO_NAMES)
    personal_attributes = models.JSONField(default=list, db_default=NO_NAMES)
    personal_properties = models.JSONField(default=list, db_default=NO_NAMES)
    # Sorted acts, see core/guard.py, that need a reason, its name typed, or a second person.
    guard_reason = models.JSONField(default=list, db_default=NO_NAMES)
    guard_name = models.JSONField(default=list, db_default=NO_NAMES)
    guard_approval = models.JSONField(default=list, db_default=NO_NAMES)
    created_at = models.DateTimeField(db_default=Now())

    # The core.guard.Freeze that are active or near, if web/access.environments_of read this row.
    freezes: Sequence[Any] = ()

    class Meta:
        db_table = "environment"
        ordering = ("id",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "slug"], name="environment_slug_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.project.slug}/{self.slug}"

    def key_hint(self, keys: "Iterable[ApiKey]") -> str:
        """The prefix of the first public key, for examples; the rest is not stored."""
        prefixes = (key.prefix for key in keys if key.kind == KeyKind.PUBLIC)
        return f"{next(prefixes, f'pk_{self.slug}_')}…"


class Role(models.TextChoices):
    """Roles of staff in a project. Each includes the permissions of the previous ones.

    Owners of the installation have the last one, in every project; it is not stored in memberships.
    """

    VIEWER = "viewer"
    SUPPORT = "support"
    LIVE_OPS = "live-ops"
    ADMIN = "admin"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        return list(Role).index(self)


MEMBER_ROLES = tuple(Role)[:-1]  # of a membership
MEMBER_CHOICES = [(role.value, role.label) for role in MEMBER_ROLES]


class User(AbstractUser):
    """A staff account."""

    is_owner = models.BooleanField(default=False, db_default=False)  # of the installation
    time_zone = models.CharField(max_length=64, default="UTC")

    # Unread notifications by the project's id. Pages set it, see web/access.py.
    unread: dict[int, int]

    class Meta:
        db_table = "staff"

    @cached_property
    def roles(self) -> dict[int, Role]:
        """The roles of the memberships, by the project's id. Pages set it, see web/access.py."""
        return {each.project_id: Role(each.role) for each in self.memberships.all()}

    def role_in(self, project: Project | int | None) -> Role | None:
        """The role in a project, given itself or its id; without a project that of owners."""
        if self.is_owner:
            return Role.OWNER
        return self.roles.get(project.pk if isinstance(project, Project) else project or 0)

    def may(self, role: Role, project: Project | int | None) -> bool:
        """Whether the account has this role, or a higher one, in the project. Without a project
        only owners do."""
        own = self.role_in(project)
        return self.is_active and own is not None and own.rank >= role.rank


class Membership(models.Model):
    """The role of a member of staff in a project."""

    user = models.ForeignKey(User, models.CASCADE, related_name="memberships", db_index=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=MEMBER_CHOICES)

    class Meta:
        db_table = "membership"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "project"], name="membership_unique"),
            models.CheckConstraint(
                condition=models.Q(role__in=list(MEMBER_ROLES)), name="membership_role"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.role} of {self.project}"


class InviteQuerySet(models.QuerySet["Invite"]):
    def open_at(self, now: datetime) -> "InviteQuerySet":
        """Those that can be accepted at `now`."""
        return self.filter(expires_at__gt=now, accepted_at=None, revoked_at=None)


class Invite(models.Model):
    """A link to join a project, which works once; see core/invites.py."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="invites")
    # The link consists of this and its signature, so the table alone gives no links.
    key = models.CharField(max_length=43, unique=True)
    role = models.CharField(max_length=10, choices=MEMBER_CHOICES)
    name = models.CharField(max_length=150, blank=True)
    email = models.EmailField(blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_by_name = models.CharField(max_length=150)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    revoked_at = models.DateTimeField(null=True)

    objects = InviteQuerySet.as_manager()

    class Meta:
        db_table = "invite"
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name or self.email or f"invite {self.pk}"


class SignInAttempt(models.Model):
    """Recent failed attempts to get in: of a network, of a username, or of both.

    `subject` is a digest, so that a password typed into the username field is not stored.
    """

    subject = models.CharField(max_length=64, primary_key=True)
    failures = models.PositiveIntegerField()
    window_ends_at = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "sign_in_attempt"


class KeyKind(models.TextChoices):
    PUBLIC = "public"
    SECRET = "secret"  # noqa: S105  # the name of a kind of key


class KeyScope(models.TextChoices):
    """What a secret key may do. The labels say it to staff."""

    READ = "read", "Read players, their stage and churn risk, and results of experiments"
    TRACK = "track", "Register and change players, record sessions, purchases and events"
    EVALUATE = "evaluate", "Evaluate flags and segments"
    PERSONAL = (
        "personal",
        "See e-mails, device ids and other personal data in full",
    )
    STREAM = "stream", "Stream events as they arrive"
    MANAGE = "manage", "Change flags, segments and lists (reserved: no call needs it yet)"


def default_scopes() -> list[str]:
    """Those of a new secret key, sorted: all but `manage`."""
    return sorted(set(KeyScope.values) - {KeyScope.MANAGE})


DEFAULT_SCOPES = models.Value(default_scopes(), models.JSONField())


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable_at(self, now: datetime) -> "ApiKeyQuerySet":
        """Keys that authenticate a request at `now`."""
        unexpired = models.Q(expires_at=None) | models.Q(expires_at__gt=now)
        return self.filter(unexpired, revoked_at=None)


class ApiKey(models.Model):
    """A key of one environment. Only the digest of the token is stored.

    `scopes` are those of a secret key, sorted; what a public key may do depends on the environment.
    `networks` are where requests with it may come from, such as 10.0.0.0/8; empty: from anywhere.
    `successor` is the key that a rotation issued in its place. `last_client` is the name of the
    program that used it last and `last_address` its address, which is not stored for public keys:
    it would be a player's.
    """

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="api_keys")
    kind = models.CharField(max_length=6, choices=KeyKind)
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=40)  # shown to staff: pk_live_ and four more characters
    digest = models.BinaryField(max_length=32, unique=True)  # SHA-256 of the whole token
    last_four = models.CharField(max_length=4)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_by_name = models.CharField(max_length=150)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    last_client = models.CharField(max_length=80, default="", db_default="")
    last_address = models.CharField(max_length=64, default="", db_default="")
    scopes = models.JSONField(default=default_scopes, db_default=DEFAULT_SCOPES)
    networks = models.JSONField(default=list, db_default=NO_NAMES)
    successor = models.ForeignKey("self", models.SET_NULL, null=True, related_name="+")

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        db_table = "api_key"
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.masked} ({self.name})"

    @property
    def masked(self) -> str:
        return f"{self.prefix}…{self.last_four}"

    def state_at(self, now: datetime) -> str:
        """`active`, `expiring` (has an expiry in the future), `expired` or `revoked`."""
        if self.revoked_at:
            return "revoked"
        if self.expires_at is None:
            return "active"
        return "expired" if self.expires_at <= now else "expiring"


class RateWindow(models.Model):
    """An environment's use of a rate limit; see api/rate_limits.py."""

    pk = models.CompositePrimaryKey("environment_id", "policy")
    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    policy = models.CharField(max_length=10)
    opened_at = models.DateTimeField()
    used = models.BigIntegerField()

    class Meta:
        db_table = "rate_window"


class AuditAction(models.TextChoices):
    """`<object type>.<action>`. A value is never reused with another meaning."""

    PROJECT_CREATED = "project.created"
    PROJECT_UPDATED = "project.updated"
    ENVIRONMENT_CREATED = "environment.created"
    ENVIRONMENT_UPDATED = "environment.updated"
    ENVIRONMENT_EVENTS_EXPORTED = "environment.events_exported"
    ENVIRONMENT_PLAYERS_EXPORTED = "environment.players_exported"
    ENVIRONMENT_AUDIT_EXPORTED = "environment.audit_exported"
    API_KEY_CREATED = "api_key.created"
    API_KEY_UPDATED = "api_key.updated"
    API_KEY_ROTATED = "api_key.rotated"
    API_KEY_REVOKED = "api_key.revoked"
    STAFF_CREATED = "staff.created"
    STAFF_UPDATED = "staff.updated"
    STAFF_FACTOR_ADDED = "staff.factor_added"
    STAFF_FACTOR_REMOVED = "staff.factor_removed"
    STAFF_RECOVERY_CODES_MADE = "staff.recovery_codes_made"
    STAFF_RECOVERY_CODE_USED = "staff.recovery_code_used"
    STAFF_SESSIONS_ENDED = "staff.sessions_ended"
    STAFF_INVITED = "staff.invited"
    STAFF_INVITE_ACCEPTED = "staff.invite_accepted"
    STAFF_INVITE_REVOKED = "staff.invite_revoked"
    STAFF_RESET_LINK_CREATED = "staff.reset_link_created"
    STAFF_MEMBERSHIP_CHANGED = "staff.membership_changed"
    STAFF_OPENID_CONNECTED = "staff.openid_connected"
    STAFF_OPENID_DISCONNECTED = "staff.openid_disconnected"
    FLAG_CREATED = "flag.created"
    FLAG_DELETED = "flag.deleted"
    FLAG_UPDATED = "flag.updated"
    FLAG_ENABLED = "flag.enabled"
    FLAG_DISABLED = "flag.disabled"
    FLAG_ARCHIVED = "flag.archived"
    FLAG_UNARCHIVED = "flag.unarchived"
    FLAG_ARCHIVE_SCHEDULED = "flag.archive_scheduled"
    FLAG_ARCHIVE_CANCELLED = "flag.archive_cancelled"
    FLAG_RESTORED = "flag.restored"
    FLAG_OVERRIDDEN = "flag.overridden"
    FLAG_OVERRIDE_REMOVED = "flag.override_removed"
    FLAG_OVERRIDES_REPLACED = "flag.overrides_replaced"
    SEGMENT_CREATED = "segment.created"
    SEGMENT_UPDATED = "segment.updated"
    SEGMENT_DELETED = "segment.deleted"
    SEGMENT_LIST_CHANGED = "segment.list_changed"
    SEGMENT_LIST_EXPORTED = "segment.list_exported"
    PLAYER_UPDATED = "player.updated"
    PLAYER_PURCHASE_REFUNDED = "player.purchase_refunded"
    PLAYER_REFUND_REVERSED = "player.refund_reversed"
    PLAYER_ALIAS_LINKED = "player.alias_linked"
    PLAYER_ALIAS_UNLINKED = "player.alias_unlinked"
    PLAYER_NOTE_ADDED = "player.note_added"
    PLAYER_NOTE_DELETED = "player.note_deleted"
    PLAYER_DATA_SEEN = "player.data_seen"
    PLAYER_EXPORTED = "player.exported"
    PLAYER_ERASED = "player.erased"
    EVENT_NAME_DESCRIBED = "event_name.described"
    FREEZE_WINDOW_CREATED = "freeze_window.created"
    FREEZE_WINDOW_UPDATED = "freeze_window.updated"
    FREEZE_WINDOW_DELETED = "freeze_window.deleted"
    CHANGE_REQUEST_OPENED = "change_request.opened"
    CHANGE_REQUEST_EDITED = "change_request.edited"
    CHANGE_REQUEST_APPROVED = "change_request.approved"
    CHANGE_REQUEST_REFUSED = "change_request.refused"
    CHANGE_REQUEST_WITHDRAWN = "change_request.withdrawn"
    CHANNEL_CREATED = "channel.created"
    CHANNEL_UPDATED = "channel.updated"
    CHANNEL_DELETED = "channel.deleted"
    METRIC_CREATED = "metric.created"
    METRIC_UPDATED = "metric.updated"
    METRIC_ARCHIVED = "metric.archived"
    METRIC_UNARCHIVED = "metric.unarchived"
    METRIC_DELETED = "metric.deleted"
    EXPERIMENT_CREATED = "experiment.created"
    EXPERIMENT_UPDATED = "experiment.updated"
    EXPERIMENT_STARTED = "experiment.started"
    EXPERIMENT_STOPPED = "experiment.stopped"
    EXPERIMENT_DECIDED = "experiment.decided"
    EXPERIMENT_DELETED = "experiment.deleted"
    EXPERIMENT_BREACHED = "experiment.breached"
    EXPERIMENT_GROUP_CREATED = "experiment_group.created"
    EXPERIMENT_GROUP_UPDATED = "experiment_group.updated"
    EXPERIMENT_GROUP_DELETED = "experiment_group.deleted"


# Object types of audit entries.
AUDITED = tuple(dict.fromkeys(action.partition(".")[0] for action in AuditAction.values))


class FreezeWindow(models.Model):
    """A time in which an environment takes no changes of players' view; see core/guard.py."""

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="freeze_windows", db_index=False
    )
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=500)
    created_by_name = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "freeze_window"
        ordering = ("starts_at", "id")
        indexes: ClassVar = [
            models.Index(fields=["environment", "ends_at"], name="freeze_window_end"),
        ]

    def __str__(self) -> str:
        return f"{self.environment}: {self.reason}"


class ChangeRequestState(models.TextChoices):
    """See core/review.py."""

    OPEN = "open"
    APPROVED = "approved"
    REFUSED = "refused", "Changes requested"
    WITHDRAWN = "withdrawn"
    APPLIED = "applied"


class ChangeRequest(models.Model):
    """Changes that wait for a second person: `items` as core/guard.py stores them.

    `fingerprint` is that of the items. `version` counts the edits, and approvals name it: one of
    an earlier version counts no more, even if an edit restores the same content.
    """

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="change_requests", db_index=False
    )
    author = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    author_name = models.CharField(max_length=200)
    title = models.CharField(max_length=200)
    reason = models.CharField(max_length=500, blank=True)
    state = models.CharField(
        max_length=10, choices=ChangeRequestState, default=ChangeRequestState.OPEN
    )
    items = models.JSONField()
    fingerprint = models.CharField(max_length=64)
    version = models.PositiveIntegerField(default=1)
    writers = models.JSONField(default=list)  # ids of the accounts that wrote a version
    closed_by_name = models.CharField(max_length=200, blank=True)  # applied or withdrew it
    closed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    edited_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "change_request"
        ordering = ("-id",)
        indexes: ClassVar = [
            models.Index(fields=["environment", "state", "-id"], name="change_request_state"),
        ]

    def __str__(self) -> str:
        return f"Request {self.pk}: {self.title}"

    @property
    def is_closed(self) -> bool:
        return self.state in (ChangeRequestState.WITHDRAWN, ChangeRequestState.APPLIED)


class Verdict(models.TextChoices):
    APPROVE = "approve"
    REFUSE = "refuse", "Request changes"
    COMMENT = "comment"


class ChangeApproval(models.Model):
    """What one account said about one version of a change request."""

    request = models.ForeignKey(ChangeRequest, models.CASCADE, related_name="approvals")
    user = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    user_name = models.CharField(max_length=200)
    version = models.PositiveIntegerField()
    fingerprint = models.CharField(max_length=64)
    verdict = models.CharField(max_length=10, choices=Verdict)
    comment = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "change_approval"
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.user_name}: {self.verdict}"


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    def of(self, environment: Environment) -> "AuditEntryQuerySet":
        """Entries of this environment and of its project as a whole."""
        own = models.Q(environment=environment)
        return self.filter(own | models.Q(environment=None, project=environment.project_id))

    def visible_to(self, user: User, environment: Environment) -> "AuditEntryQuerySet":
        """Like `of`. Admins of the project see those about its members, owners also those about
        accounts, which belong to no project."""
        if user.is_owner:
            return self.of(environment) | self.filter(object_type="staff", project=None)
        if user.may(Role.ADMIN, environment.project_id):
            return self.of(environment)
        return self.of(environment).exclude(object_type="staff")


class AuditEntry(models.Model):
    """One change: who, what, when, why. Names are copied, so entries outlive their objects."""

    project = models.ForeignKey(Project, models.SET_NULL, null=True, related_name="+")
    environment = models.ForeignKey(Environment, models.SET_NULL, null=True, related_name="+")
    actor_user = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    actor_key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, related_name="+")
    actor_name = models.CharField(max_length=200)
    action = models.CharField(max_length=40)  # an AuditAction
    object_type = models.CharField(max_length=20)
    object_id = models.CharField(max_length=140)
    object_name = models.CharField(max_length=300)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.CharField(max_length=500, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    break_glass = models.BooleanField(default=False, db_default=False)  # went around the guard
    change_request = models.ForeignKey(
        ChangeRequest, models.SET_NULL, null=True, related_name="entries", db_index=False
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        db_table = "audit_entry"
        ordering = ("-id",)
        indexes: ClassVar = [
            # For the filters of the audit log, see pages/audit_search.py. The migration adds
            # one more, of the words of reasons.
            models.Index(fields=["environment", "-created_at", "-id"], name="audit_environment"),
            models.Index(
                fields=["environment", "action", "-created_at", "-id"], name="audit_action"
            ),
            models.Index(
                fields=["environment", "actor_name", "action", "-created_at", "-id"],
                name="audit_actor",
            ),
            models.Index(
                fields=["environment", "object_name"],
                opclasses=["int8_ops", "text_pattern_ops"],
                name="audit_name",
            ),
            models.Index(fields=["object_type", "object_id", "-id"], name="audit_object"),
            models.Index(fields=["request_id"], name="audit_request"),
            models.Index(
                fields=["change_request"],
                name="audit_change_request",
                condition=models.Q(change_request__isnull=False),
            ),
            models.Index(
                fields=["-id"], name="audit_break_glass", condition=models.Q(break_glass=True)
            ),
            # Of a player's timeline. The migration adds audit_names_player, of the entries about
            # flags and segments that name a player.
            models.Index(
                fields=["object_id", "-created_at", "-id"],
                name="audit_player_time",
                condition=models.Q(object_type="player") & ~models.Q(action="player.data_seen"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name} {self.action} {self.object_name}"


class SavedView(models.Model):
    """The filters and the order of a list, saved by a member of staff under a name. `page` is the
    name of the list's URL, `query` what follows the ? in its address."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="+")
    page = models.CharField(max_length=40)
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=2000)

    class Meta:
        db_table = "saved_view"
        ordering = ("name",)
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user", "project", "page", "name"], name="saved_view_unique"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Notification(models.Model):
    """Something that happened in an environment, as reported to staff and channels. It never holds
    personal data of players. `path` is a page below /<project>/<environment>/."""

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=40)  # see core/notifications.py
    title = models.CharField(max_length=300)
    lines = models.JSONField(default=list)
    path = models.CharField(max_length=300, blank=True)
    dedupe_key = models.CharField(max_length=200, unique=True)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        db_table = "notification"
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.title


class NotificationRecipient(models.Model):
    """A notification as one person sees it in the product."""

    notification = models.ForeignKey(Notification, models.CASCADE, related_name="recipients")
    user = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="+")
    read_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "notification_recipient"
        ordering = ("-id",)
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user", "notification"], name="notification_recipient_unique"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["user", "project", "-id"], name="notification_list"),
            models.Index(
                fields=["user", "project"],
                name="notification_unread",
                condition=models.Q(read_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.notification}"


class NotificationPlace(models.TextChoices):
    """Where a person gets notifications."""

    PRODUCT = "product"
    EMAIL = "email"


class NotificationChoice(models.Model):
    """Whether a person gets a kind in a place, where that differs from the default."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=40)
    place = models.CharField(max_length=10, choices=NotificationPlace)
    is_on = models.BooleanField()

    class Meta:
        db_table = "notification_choice"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user", "project", "kind", "place"], name="notification_choice_unique"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.kind} by {self.place}"


class ChannelKind(models.TextChoices):
    SLACK = "slack", "Slack"
    DISCORD = "discord", "Discord"


class NotificationChannel(models.Model):
    """An incoming webhook of Slack or Discord. Its `url` is enough to post there, so it is
    shown masked. `kinds` are the sorted kinds of notifications that it gets."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="+", db_index=False)
    kind = models.CharField(max_length=10, choices=ChannelKind)
    name = models.CharField(max_length=100)
    url = models.CharField(max_length=500)
    kinds = models.JSONField(default=list)
    created_by_name = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "notification_channel"
        ordering = ("name",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "name"], name="notification_channel_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class DeliveryState(models.TextChoices):
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


class NotificationDelivery(models.Model):
    """A notification on its way to a person's e-mail address or to a channel, see
    core/deliveries.py. While it is being sent, `next_try_at` is when it is taken over."""

    notification = models.ForeignKey(Notification, models.CASCADE, related_name="deliveries")
    project = models.ForeignKey(Project, models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="+")
    channel = models.ForeignKey(NotificationChannel, models.CASCADE, null=True, related_name="+")
    state = models.CharField(
        max_length=10, choices=DeliveryState, db_default=DeliveryState.QUEUED,
        default=DeliveryState.QUEUED,
    )  # fmt: skip
    attempts = models.PositiveSmallIntegerField(db_default=0, default=0)
    error = models.CharField(max_length=300, blank=True, db_default="", default="")
    queued_at = models.DateTimeField(db_default=Now())
    next_try_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "notification_delivery"
        ordering = ("-id",)
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(user=None) ^ models.Q(channel=None),
                name="notification_delivery_to",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["project", "-id"], name="notification_deliveries"),
            models.Index(
                fields=["next_try_at"],
                name="notification_due",
                condition=models.Q(state__in=["queued", "sending"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.notification} to {self.channel or self.user}"


class NotificationPosition(models.Model):
    """How far the audit log is searched for changes to notify of: one row, with the last entry's
    id."""

    entry_id = models.BigIntegerField()

    class Meta:
        db_table = "notification_position"
