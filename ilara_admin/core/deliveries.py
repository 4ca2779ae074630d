"""Sending notifications by e-mail and to channels.

A job sends all that is due to one receiver as one message. The state is in the database: rows are
taken for LEASE, and those of a killed worker are taken again. So each notification is delivered at
least once. No transaction is open while a message is sent.
"""

import smtplib
from collections.abc import Callable, Sequence
from datetime import timedelta
from time import monotonic
from typing import NamedTuple

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone

from ilara_admin.core import message_texts, webhooks
from ilara_admin.core.message_texts import Item
from ilara_admin.core.notifications import kind_of, mail_problem, members, scope_path
from ilara_admin.core.retry_times import pause_after
from ilara_admin.core.webhooks import Undelivered
from ilara_admin.models import (
    ChannelKind,
    DeliveryState,
    Notification,
    NotificationChannel,
    NotificationDelivery,
    User,
)

# Longer than sending one message takes.
LEASE = timedelta(minutes=2)
# One run takes no further message after this time, since the next one begins soon.
RUN_SECONDS = 40.0
MOST_IN_ONE = 100  # notifications in one message
ERROR_CHARACTERS = 300

TEST_KIND = "test"

_PAYLOADS: dict[ChannelKind, Callable[[Sequence[Item]], dict[str, object]]] = {
    ChannelKind.SLACK: message_texts.slack,
    ChannelKind.DISCORD: message_texts.discord,
}


class Batch(NamedTuple):
    """What one receiver, a user or a channel, gets in one message."""

    user: User | None
    channel: NotificationChannel | None
    deliveries: list[NotificationDelivery]


def deliver() -> int:
    """Send what is due; returns the number of messages that were sent."""
    sent, started = 0, monotonic()
    while monotonic() - started < RUN_SECONDS and (batch := take()):
        sent += send(batch)
    return sent


def send(batch: Batch, *, is_last: bool = False) -> bool:
    """Send a batch that was taken, and record what became of it. After the last attempt nothing is
    tried again."""
    allowed = [each for each in batch.deliveries if _may_see(batch.user, each.notification)]
    refused = [each for each in batch.deliveries if each not in allowed]
    _fail(refused, "Their role no longer allows to see this, or they left the project.")
    if not allowed:
        return False
    items = [_item(each.notification) for each in allowed]
    try:
        if batch.channel is not None:
            kind = ChannelKind(batch.channel.kind)
            webhooks.post(kind, batch.channel.url, _PAYLOADS[kind](items))
        else:
            assert batch.user is not None
            _mail(batch.user, items, allowed[0].notification)
    except Undelivered as problem:
        if problem.is_final or is_last:
            _fail(allowed, str(problem))
        else:
            _postpone(allowed, problem)
        return False
    _update(allowed, state=DeliveryState.SENT, sent_at=timezone.now(), error="")
    return True


# --- Taking ---------------------------------------------------------------------------------------

TAKE_SQL = """
WITH receiver AS (
    SELECT user_id, channel_id FROM notification_delivery
    WHERE state IN ('queued', 'sending') AND next_try_at <= %(now)s
    ORDER BY next_try_at, id LIMIT 1),
due AS (
    SELECT id FROM notification_delivery
    WHERE state IN ('queued', 'sending') AND next_try_at <= %(now)s
      AND (user_id = (SELECT user_id FROM receiver)
           OR channel_id = (SELECT channel_id FROM receiver))
    ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED)
UPDATE notification_delivery SET state = 'sending', attempts = attempts + 1,
    next_try_at = %(until)s
WHERE id IN (SELECT id FROM due) RETURNING id"""


def take() -> Batch | None:
    """The due deliveries of one receiver, who has waited longest; None if there are none, or
    another worker takes them."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(TAKE_SQL, {"now": now, "until": now + LEASE, "most": MOST_IN_ONE})
        taken = [pk for (pk,) in cursor.fetchall()]
    return batch_of(taken) if taken else None


def batch_of(pks: Sequence[int]) -> Batch:
    """Deliveries of one receiver, oldest first."""
    rows = NotificationDelivery.objects.filter(pk__in=pks).order_by("pk")
    found = list(rows.select_related("user", "channel", "notification__environment__project"))
    return Batch(found[0].user, found[0].channel, found)


# --- Sending --------------------------------------------------------------------------------------


def _may_see(user: User | None, notification: Notification) -> bool:
    if user is None:
        return True
    role = kind_of(notification.kind).role
    return members(notification.environment.project_id, role).filter(pk=user.pk).exists()


def _item(notification: Notification) -> Item:
    environment = notification.environment
    return Item(
        title=notification.title,
        place=f"{environment.project.name} · {environment.slug}",
        lines=notification.lines,
        url=settings.ILARA_URL and settings.ILARA_URL + scope_path(environment) + notification.path,
    )


def _mail(user: User, items: Sequence[Item], first: Notification) -> None:
    """Raises Undelivered."""
    if problem := mail_problem(user):
        raise Undelivered(problem, is_final=True)
    environment = first.environment
    path = reverse("notification_choices", args=[environment.project.slug, environment.slug])
    subject, body = message_texts.mail(items, settings.ILARA_URL and settings.ILARA_URL + path)
    try:
        EmailMessage(subject, body, to=[user.email]).send()
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        text = f"The mail server refused the address ({', '.join(map(str, codes))})."
        raise Undelivered(text, is_final=all(code >= 500 for code in codes)) from None
    except (smtplib.SMTPException, OSError) as error:
        # The texts of some of these errors hold the user name.
        code = getattr(error, "smtp_code", None) or type(error).__name__
        raise Undelivered(f"The mail server did not accept it ({code}).") from None


# --- The outcome ----------------------------------------------------------------------------------


def _postpone(deliveries: Sequence[NotificationDelivery], problem: Undelivered) -> None:
    """All are tried again at the same time, as one message; those that are too old are given up."""
    now = timezone.now()
    pauses = {
        each.pk: pause_after(each.attempts, now - each.queued_at, problem.pause)
        for each in deliveries
    }
    _fail([each for each in deliveries if pauses[each.pk] is None], str(problem))
    waiting = [each for each in deliveries if pauses[each.pk] is not None]
    longest = max((pause for pause in pauses.values() if pause), default=timedelta())
    _update(
        waiting,
        state=DeliveryState.QUEUED,
        next_try_at=now + longest,
        error=str(problem)[:ERROR_CHARACTERS],
    )


def _fail(deliveries: Sequence[NotificationDelivery], text: str) -> None:
    _update(deliveries, state=DeliveryState.FAILED, error=text[:ERROR_CHARACTERS])


def _update(deliveries: Sequence[NotificationDelivery], **columns: object) -> None:
    if deliveries:
        rows = NotificationDelivery.objects.filter(pk__in=[each.pk for each in deliveries])
        rows.filter(state=DeliveryState.SENDING).update(**columns)


# --- By hand --------------------------------------------------------------------------------------


def send_again(delivery: NotificationDelivery) -> bool:
    """Queue a delivery that failed; False if it did not fail. It is new from now on."""
    now = timezone.now()
    failed = NotificationDelivery.objects.filter(pk=delivery.pk, state=DeliveryState.FAILED)
    return bool(
        failed.update(
            state=DeliveryState.QUEUED, attempts=0, error="", queued_at=now, next_try_at=now
        )
    )


def send_test(channel: NotificationChannel, actor_name: str) -> NotificationDelivery:
    """Send a message to a channel now, once; returns the delivery with its outcome."""
    environment = channel.project.environments.order_by("pk").first()
    assert environment is not None
    now = timezone.now()
    with transaction.atomic():
        notification = Notification.objects.create(
            environment=environment,
            kind=TEST_KIND,
            title="Test message",
            lines=[f"{actor_name} sent it from Ilara to see whether this channel works."],
            path="notifications/channels/",
            dedupe_key=f"{TEST_KIND}:{channel.pk}:{now.timestamp()}",
        )
        delivery = NotificationDelivery.objects.create(
            notification=notification,
            project=channel.project,
            channel=channel,
            state=DeliveryState.SENDING,
            attempts=1,
            next_try_at=now + LEASE,
        )
    send(batch_of([delivery.pk]), is_last=True)
    delivery.refresh_from_db()
    return delivery
