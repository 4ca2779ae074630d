"""Notifications: their kinds, who gets them, and what a person chose and has read.

An app registers its kinds and calls `notify`. A person gets the notifications of projects that they
are a member of, if their role is enough for the kind. Nothing in a notification is personal data of
players, since it is also sent by e-mail and to channels.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, Q, QuerySet
from django.urls import get_script_prefix, reverse
from django.utils import timezone

from ilara_admin.core.text import visible
from ilara_admin.models import (
    DeliveryState,
    Environment,
    Membership,
    Notification,
    NotificationChannel,
    NotificationChoice,
    NotificationDelivery,
    NotificationPlace,
    NotificationRecipient,
    Project,
    Role,
    User,
)

KEPT_DAYS = 90
MAX_LINES = 12
TITLE_CHARACTERS = 300
LINE_CHARACTERS = 300
FORGOTTEN_AT_ONCE = 500

# Only here do changes, events and stale flags matter to others.
LIVE = "live"


@dataclass(frozen=True, slots=True)
class NotificationKind:
    """What a notification is about. Members with `role` and above can get it. In the product they
    do, unless they choose otherwise or `default_on` is false. E-mails and channels are chosen."""

    key: str
    label: str
    description: str
    default_on: bool
    role: Role

    def is_on(self, place: NotificationPlace) -> bool:
        return self.default_on and place is NotificationPlace.PRODUCT


_kinds: dict[str, NotificationKind] = {}


def register_kind(
    key: str, label: str, description: str, *, default_on: bool = True, role: Role = Role.VIEWER
) -> None:
    _kinds[key] = NotificationKind(key, label, description, default_on, role)


def all_kinds() -> list[NotificationKind]:
    return list(_kinds.values())


def kind_of(key: str) -> NotificationKind:
    """A kind of a former version is shown to admins."""
    return _kinds.get(key) or NotificationKind(
        key, key.replace("_", " ").capitalize(), "", False, Role.ADMIN
    )


LIVE_CHANGE, BREAK_GLASS = "live_change", "break_glass"
register_kind(
    LIVE_CHANGE,
    "Changes in live",
    "Someone else changed flags, segments, keys or settings in live: who, what and why.",
)
register_kind(
    BREAK_GLASS,
    "Guard bypassed",
    "An admin or a command went around the guard of an environment, with the reason.",
)


# --- Notifying ------------------------------------------------------------------------------------


@transaction.atomic
def notify(
    kind: str,
    environment: Environment,
    title: str,
    lines: Sequence[str] = (),
    *,
    page: str = "",
    args: Sequence[object] = (),
    query: Mapping[str, str] | None = None,
    only: Collection[User] | None = None,
    actor: User | None = None,
    dedupe_key: str,
) -> Notification | None:
    """Notify members of the project, all or `only` some, and the channels that chose this kind.

    `page`, `args` and `query` are the URL that it links to, without project and environment.
    `actor`, who caused it, does not get it. With `only`, channels do not get it. Returns None if
    there is a notification with this `dedupe_key`, which must begin with the kind.
    """
    path = _path(environment, page, args, query or {})
    found = _insert(kind, environment, title, lines, path, dedupe_key)
    if found is None:
        return None
    people = members(environment.project_id, kind_of(kind).role)
    if only is not None:
        people = people.filter(pk__in=[each.pk for each in only])
    if actor is not None:
        people = people.exclude(pk=actor.pk)
    notified = list(people)
    choices = _choices(notified, environment.project_id, kind)
    NotificationRecipient.objects.bulk_create(
        NotificationRecipient(notification=found, user=user, project_id=environment.project_id)
        for user in notified
        if choices[user.pk, NotificationPlace.PRODUCT]
    )
    mailed = [
        each for each in notified
        if choices[each.pk, NotificationPlace.EMAIL] and not mail_problem(each)
    ]  # fmt: skip
    channels = NotificationChannel.objects.filter(
        project=environment.project_id, kinds__contains=[kind]
    )
    _queue(found, mailed, [] if only is not None else list(channels))
    return found


def was_notified(dedupe_key: str) -> bool:
    """Whether `notify` was called with this key, for callers to whom the answer saves work."""
    return Notification.objects.filter(dedupe_key=dedupe_key).exists()


def _insert(
    kind: str, environment: Environment, title: str, lines: Sequence[str], path: str, key: str
) -> Notification | None:
    if not key.startswith(kind):
        raise ValueError(f"The dedupe_key {key!r} must begin with the kind, {kind}.")
    more = len(lines) - MAX_LINES
    kept = [*lines[:MAX_LINES], *([f"and {more:,} more"] if more > 0 else [])]
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO notification (environment_id, kind, title, lines, path, dedupe_key)
               VALUES (%s, %s, %s, %s::jsonb, %s, %s)
               ON CONFLICT (dedupe_key) DO NOTHING RETURNING id""",
            [
                environment.pk,
                kind,
                _one_line(title, TITLE_CHARACTERS),
                json.dumps([_one_line(line, LINE_CHARACTERS) for line in kept]),
                path,
                key,
            ],
        )
        row = cursor.fetchone()
    return Notification.objects.get(pk=row[0]) if row else None


def _one_line(text: str, characters: int) -> str:
    """Without line breaks, which would forge lines of a message, and other control characters."""
    text = visible(" ".join(text.split()))
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _path(
    environment: Environment, page: str, args: Sequence[object], query: Mapping[str, str]
) -> str:
    """The path of a page below the environment, whose slugs may change."""
    if not page:
        return ""
    scope = (environment.project.slug, environment.slug)
    path = reverse(page, args=[*scope, *args]).removeprefix(scope_path(environment))
    return f"{path}?{urlencode(query)}" if query else path


def scope_path(environment: Environment) -> str:
    return f"{get_script_prefix()}{environment.project.slug}/{environment.slug}/"


def members(project_id: int, role: Role) -> QuerySet[User]:
    """Active staff who have this role in the project, or a higher one."""
    roles = [each for each in Role if each.rank >= role.rank]
    found = Membership.objects.filter(project=project_id, role__in=roles).values("user")
    return User.objects.filter(Q(is_owner=True) | Q(pk__in=found), is_active=True)


def _choices(
    users: Iterable[User], project_id: int, kind: str
) -> dict[tuple[int, NotificationPlace], bool]:
    found = {
        (user.pk, place): kind_of(kind).is_on(place)
        for user in users
        for place in NotificationPlace
    }
    differing = NotificationChoice.objects.filter(user__in=users, project=project_id, kind=kind)
    for user, place, is_on in differing.values_list("user", "place", "is_on"):
        found[user, NotificationPlace(place)] = is_on
    return found


def _queue(
    found: Notification, users: Collection[User], channels: Collection[NotificationChannel]
) -> None:
    """Each waits as long as what failed before it, so that a receiver that is away gets few
    attempts and then one message."""
    waiting = NotificationDelivery.objects.filter(
        Q(user__in=users) | Q(channel__in=channels), state=DeliveryState.QUEUED
    ).order_by()
    until = {
        (user, channel): at
        for user, channel, at in waiting.values_list("user", "channel").annotate(
            at=Max("next_try_at")
        )
    }
    now = timezone.now()
    pairs = [(each, None) for each in users] + [(None, each) for each in channels]
    NotificationDelivery.objects.bulk_create(
        NotificationDelivery(
            notification=found,
            project_id=found.environment.project_id,
            user=user,
            channel=channel,
            next_try_at=until.get((user and user.pk, channel and channel.pk), now),
        )
        for user, channel in pairs
    )


def mail_problem(user: User) -> str:
    """Why a person cannot get e-mails, as a sentence; "" if they can."""
    if not settings.EMAIL_URL:
        return "E-mail is not set up on this server: its operator must set EMAIL_URL."
    return "" if user.email else "Your account has no e-mail address."


# --- One person's ---------------------------------------------------------------------------------


def choices_of(user: User, project: Project) -> dict[tuple[str, NotificationPlace], bool]:
    """What a person chose, by kind and place, with the defaults."""
    found = {
        (kind.key, place): kind.is_on(place) for kind in all_kinds() for place in NotificationPlace
    }
    differing = NotificationChoice.objects.filter(user=user, project=project)
    for key, place, is_on in differing.values_list("kind", "place", "is_on"):
        found[key, NotificationPlace(place)] = is_on
    return found


@transaction.atomic
def choices_set(
    user: User, project: Project, choices: Mapping[tuple[str, NotificationPlace], bool]
) -> None:
    """Store the given choices. They are a person's own and not audited."""
    NotificationChoice.objects.bulk_create(
        [
            NotificationChoice(user=user, project=project, kind=key, place=place, is_on=is_on)
            for (key, place), is_on in choices.items()
        ],
        update_conflicts=True,
        unique_fields=["user", "project", "kind", "place"],
        update_fields=["is_on"],
    )


def mark_read(user: User, project: Project, pk: int | None = None) -> int:
    """Mark one notification of a person as read, or all of the project; returns how many."""
    unread = NotificationRecipient.objects.filter(user=user, project=project, read_at=None)
    if pk is not None:
        unread = unread.filter(notification=pk)
    return unread.update(read_at=timezone.now())


def notifications_forget(now: datetime) -> None:
    """Delete notifications after KEPT_DAYS, with their deliveries."""
    old = Notification.objects.filter(created_at__lt=now - timedelta(days=KEPT_DAYS)).order_by("pk")
    while chunk := list(old.values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE]):
        Notification.objects.filter(pk__in=chunk).delete()
