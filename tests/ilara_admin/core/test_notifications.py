"""Who is notified of what, and where; sending it, once per receiver and again after a failure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core import mail
from django.core.exceptions import ValidationError
from django.test import override_settings
from django.utils import timezone

from ilara_admin.core.channels import channel_create, channel_update
from ilara_admin.core.deliveries import deliver, send_again, send_test, take
from ilara_admin.core.key_warnings import KEY_EXPIRING, KEY_UNUSED, expiry_days, keys_warn
from ilara_admin.core.notifications import (
    KEPT_DAYS,
    LIVE_CHANGE,
    MAX_LINES,
    choices_set,
    mark_read,
    notifications_forget,
    notify,
)
from ilara_admin.models import (
    ApiKey,
    AuditEntry,
    ChannelKind,
    DeliveryState,
    Environment,
    Membership,
    Notification,
    NotificationChannel,
    NotificationDelivery,
    NotificationPlace,
    NotificationRecipient,
    Role,
    User,
)
from tests.factories import ACTOR, make_environment, make_key, make_staff
from tests.members import make_member
from tests.webhook_receiver import Receiver

pytestmark = pytest.mark.slow

PRODUCT, EMAIL = NotificationPlace
LOCMEM = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
with_mail = override_settings(EMAIL_URL="smtp://mail.example.com", MAILERS=LOCMEM)
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def viewer(environment: Environment) -> User:
    return make_member(environment, Role.VIEWER, "viewer@example.com")


@pytest.fixture
def admin(environment: Environment) -> User:
    return make_member(environment, Role.ADMIN, "admin@example.com")


def tell(environment: Environment, kind: str = LIVE_CHANGE, **options: Any) -> Notification | None:
    options.setdefault("dedupe_key", f"{kind}:{Notification.objects.count()}")
    return notify(kind, environment, options.pop("title", "Ana did it"), **options)


def told() -> set[User]:
    return {row.user for row in NotificationRecipient.objects.select_related("user")}


def states() -> list[str]:
    return list(NotificationDelivery.objects.order_by("pk").values_list("state", flat=True))


# --- Who is notified ------------------------------------------------------------------------------


def test_members_of_the_project__are_told_but_not_who_caused_it(
    environment: Environment, viewer: User, admin: User
) -> None:
    make_member(make_environment(), Role.ADMIN)
    gone = make_member(environment, Role.ADMIN)
    User.objects.filter(pk=gone.pk).update(is_active=False)
    tell(environment, actor=viewer)
    assert told() == {admin}


def test_kind_of_a_higher_role__is_told_only_to_that_role(
    environment: Environment, viewer: User, admin: User
) -> None:
    tell(environment, KEY_EXPIRING)
    assert told() == {admin}


def test_owner__is_told_in_every_project(environment: Environment) -> None:
    owner = make_staff(Role.OWNER)
    tell(environment, KEY_EXPIRING)
    assert told() == {owner}


def test_only__names_members_and_nobody_else(
    environment: Environment, viewer: User, admin: User, channel: NotificationChannel
) -> None:
    stranger = make_member(make_environment(), Role.ADMIN)
    tell(environment, only=[viewer, stranger])
    assert told() == {viewer}
    assert states() == []


def test_same_key__is_told_once(environment: Environment, viewer: User) -> None:
    assert tell(environment, dedupe_key="live_change:1")
    assert tell(environment, dedupe_key="live_change:1") is None
    assert NotificationRecipient.objects.count() == 1
    with pytest.raises(ValueError, match="must begin with the kind"):
        tell(environment, dedupe_key="1")


def test_texts__are_single_lines_and_a_link_below_the_environment(
    environment: Environment, viewer: User
) -> None:
    found = tell(
        environment,
        title="a\nb\u202ec" + "x" * 500,
        lines=["one\r\ntwo", *["more"] * 50],
        page="audit_entry",
        args=[7],
        query={"view": "json"},
    )
    assert found
    found.refresh_from_db()
    assert found.title.startswith("a b\\u202ecx")
    assert len(found.title) == 300
    assert found.lines[0] == "one two"
    assert found.lines[MAX_LINES:] == [f"and {51 - MAX_LINES} more"]
    assert found.path == "audit/7/?view=json"


@with_mail
def test_choices__decide_where_a_person_is_told(
    environment: Environment, viewer: User, admin: User
) -> None:
    project = environment.project
    choices_set(viewer, project, {(LIVE_CHANGE, PRODUCT): False, (LIVE_CHANGE, EMAIL): True})
    choices_set(admin, make_environment().project, {(LIVE_CHANGE, PRODUCT): False})
    tell(environment)
    assert told() == {admin}
    assert [each.user for each in NotificationDelivery.objects.all()] == [viewer]
    choices_set(viewer, project, {(LIVE_CHANGE, EMAIL): False})
    tell(environment)
    assert len(states()) == 1


def test_without_a_mail_server__no_e_mail_is_queued(environment: Environment, viewer: User) -> None:
    choices_set(viewer, environment.project, {(LIVE_CHANGE, EMAIL): True})
    tell(environment)
    assert states() == []


def test_mark_read__is_for_one_person_and_project(
    environment: Environment, viewer: User, admin: User
) -> None:
    first = tell(environment)
    tell(environment)
    assert first
    assert mark_read(viewer, environment.project, first.pk) == 1
    assert mark_read(viewer, environment.project) == 1
    assert mark_read(viewer, environment.project) == 0
    assert NotificationRecipient.objects.filter(user=admin, read_at=None).count() == 2


def test_old_notifications__are_deleted_with_their_deliveries(
    environment: Environment, viewer: User, channel: NotificationChannel
) -> None:
    tell(environment)
    now = timezone.now()
    notifications_forget(now)
    assert states() == ["queued"]
    notifications_forget(now + timedelta(days=KEPT_DAYS, seconds=60))
    assert not Notification.objects.exists()
    assert not NotificationDelivery.objects.exists()


# --- Keys -----------------------------------------------------------------------------------------


def test_expiry__is_told_a_week_and_a_day_before() -> None:
    day = timedelta(days=1)
    assert expiry_days(None, NOW) is None
    assert expiry_days(NOW + 8 * day, NOW) is None
    assert expiry_days(NOW + 7 * day, NOW) == 7
    assert expiry_days(NOW + day + timedelta(seconds=1), NOW) == 7
    assert expiry_days(NOW + day, NOW) == 1
    assert expiry_days(NOW, NOW) is None


def test_keys__are_told_of_once_each_time(environment: Environment, admin: User) -> None:
    now = timezone.now().replace(day=10)  # the month ends after the next four days
    key, old = make_key(environment).key, make_key(environment).key
    ApiKey.objects.filter(pk=key.pk).update(expires_at=now + timedelta(days=5))
    ApiKey.objects.filter(pk=old.pk).update(created_at=now - timedelta(days=91))
    for _ in range(2):
        keys_warn(now)
    titles = dict(Notification.objects.values_list("kind", "title"))
    assert titles == {
        KEY_EXPIRING: f"The public key Test ({key.masked}) expires within 7 days",
        KEY_UNUSED: "A key is unused for 90 days",
    }
    keys_warn(now + timedelta(days=4, hours=1))
    expiring = Notification.objects.filter(kind=KEY_EXPIRING)
    assert expiring[0].title.endswith("within a day")
    keys_warn(now + timedelta(days=32))
    assert Notification.objects.filter(kind=KEY_UNUSED).count() == 2


# --- Channels -------------------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with override_settings(WEBHOOK_HOSTS=[receiver.host], ILARA_URL="https://ilara.example.com"):
        yield receiver
    receiver.close()


@pytest.fixture
def channel(environment: Environment, receiver: Receiver) -> NotificationChannel:
    return channel_create(
        project=environment.project,
        kind=ChannelKind.SLACK,
        name="#live-ops",
        url=f"{receiver.host}/services/secret-AbCd",
        kinds=[LIVE_CHANGE],
        actor=ACTOR,
    )


def pause_is_over() -> None:
    past = timezone.now() - timedelta(seconds=1)
    NotificationDelivery.objects.update(next_try_at=past)


def test_channel__gets_what_it_chose_as_one_message(
    environment: Environment, channel: NotificationChannel, receiver: Receiver
) -> None:
    tell(environment, title="First", page="audit_entry", args=[7])
    tell(environment, title="Second")
    tell(environment, KEY_EXPIRING, title="Not chosen")
    assert deliver() == 1
    assert deliver() == 0
    (payload,) = receiver.payloads
    assert "First" in payload["text"]
    assert "Second" in payload["text"]
    assert "Not chosen" not in payload["text"]
    scope = f"https://ilara.example.com/{environment.project.slug}/live/"
    assert f"<{scope}audit/7/|Open in Ilara>" in payload["text"]
    assert states() == ["sent", "sent"]


def test_failure__is_retried_and_what_came_meanwhile_joins(
    environment: Environment, channel: NotificationChannel, receiver: Receiver
) -> None:
    receiver.statuses = [500, 503, 200]
    tell(environment, title="First")
    assert deliver() == 0
    waiting = NotificationDelivery.objects.get()
    assert (waiting.state, waiting.attempts) == (DeliveryState.QUEUED, 1)
    assert waiting.error == "The host answered 500: answer"
    assert waiting.next_try_at > timezone.now()
    tell(environment, title="Second")
    assert deliver() == 0  # waits, too
    assert len(receiver.payloads) == 1
    pause_is_over()
    assert deliver() == 0
    pause_is_over()
    assert deliver() == 1
    assert "First" in receiver.payloads[-1]["text"]
    assert "Second" in receiver.payloads[-1]["text"]
    assert states() == ["sent", "sent"]
    assert not NotificationDelivery.objects.exclude(error="").exists()


def test_too_old_message__is_given_up_and_can_be_sent_again(
    environment: Environment, channel: NotificationChannel, receiver: Receiver
) -> None:
    receiver.statuses = [500, 200]
    tell(environment)
    NotificationDelivery.objects.update(queued_at=timezone.now() - timedelta(days=1))
    deliver()
    assert states() == ["failed"]
    assert deliver() == 0
    failed = NotificationDelivery.objects.get()
    assert send_again(failed)
    assert not send_again(failed)
    assert deliver() == 1


@pytest.mark.parametrize(
    ("status", "state"),
    [(400, "failed"), (404, "failed"), (302, "failed"), (429, "queued"), (500, "queued")],
)
def test_answer__decides_whether_to_try_again(
    status: int, state: str, environment: Environment, channel: NotificationChannel,
    receiver: Receiver,
) -> None:  # fmt: skip
    receiver.statuses = [status]
    receiver.headers = {"Location": f"{receiver.host}/elsewhere", "Retry-After": "3600"}
    tell(environment)
    assert deliver() == 0
    assert states() == [state]
    assert len(receiver.payloads) == 1  # a redirect is not followed
    if status == 429:
        pause = NotificationDelivery.objects.get().next_try_at - timezone.now()
        assert pause > timedelta(minutes=50)


def test_absent_host__is_named_without_the_secret_address(
    environment: Environment, channel: NotificationChannel, receiver: Receiver
) -> None:
    url = "http://127.0.0.1:9/services/secret-AbCd"
    with override_settings(WEBHOOK_HOSTS=["http://127.0.0.1:9"]):
        channel_update(channel, url=url, actor=ACTOR)
        tell(environment)
        deliver()
    assert NotificationDelivery.objects.get().error == "The host cannot be reached."
    entries = AuditEntry.objects.filter(object_type="channel").values_list("before", "after")
    assert "secret" not in str(list(entries))


def test_host_that_is_no_longer_allowed__gets_nothing(
    environment: Environment, channel: NotificationChannel, receiver: Receiver
) -> None:
    tell(environment)
    with override_settings(WEBHOOK_HOSTS=[]):
        deliver()
    assert states() == ["failed"]
    assert receiver.payloads == []


def test_rows_of_a_killed_worker__are_taken_again(
    environment: Environment, channel: NotificationChannel, receiver: Receiver
) -> None:
    tell(environment)
    assert take()  # and then the worker is killed
    assert take() is None
    assert deliver() == 0
    pause_is_over()
    assert deliver() == 1


def test_test_message__is_sent_at_once_and_only_once(
    environment: Environment, channel: NotificationChannel, receiver: Receiver
) -> None:
    assert send_test(channel, "Ana").state == DeliveryState.SENT
    assert "Ana sent it from Ilara" in receiver.payloads[0]["text"]
    receiver.statuses = [500]
    failed = send_test(channel, "Ana")
    assert (failed.state, failed.error) == ("failed", "The host answered 500: answer")


def test_channel__needs_a_name_of_its_own_known_kinds_and_an_allowed_address(
    environment: Environment, channel: NotificationChannel, receiver: Receiver
) -> None:
    good: dict[str, Any] = {
        "project": environment.project,
        "kind": ChannelKind.DISCORD,
        "name": "Other",
        "url": channel.url,
        "kinds": [],
        "actor": ACTOR,
    }
    for field, value in (
        ("name", "#live-ops"), ("name", " "), ("url", "https://example.com/x"), ("kinds", ["x"])
    ):  # fmt: skip
        with pytest.raises(ValidationError) as refused:
            channel_create(**{**good, field: value})
        assert list(refused.value.message_dict) == [field]
    other = channel_create(**good)
    with pytest.raises(ValidationError):
        channel_update(other, name="#live-ops", actor=ACTOR)


# --- E-mail ---------------------------------------------------------------------------------------


@with_mail
def test_e_mail__joins_all_that_is_due(
    environment: Environment, viewer: User, mailoutbox: list[mail.EmailMessage]
) -> None:
    choices_set(viewer, environment.project, {(LIVE_CHANGE, EMAIL): True})
    tell(environment, title="First", lines=["Reason: launch"])
    tell(environment, title="Second")
    assert deliver() == 1
    (message,) = mailoutbox
    assert message.to == ["viewer@example.com"]
    assert message.from_email == settings.DEFAULT_FROM_EMAIL
    assert message.subject.endswith("First and 1 more")
    assert "- Reason: launch" in str(message.body)


@with_mail
@pytest.mark.parametrize("loss", ["membership", "role", "account"])
def test_who_lost_access__gets_nothing_more(
    loss: str, environment: Environment, admin: User, mailoutbox: list[mail.EmailMessage]
) -> None:
    choices_set(admin, environment.project, {(KEY_EXPIRING, EMAIL): True})
    tell(environment, KEY_EXPIRING)
    memberships = Membership.objects.filter(user=admin)
    if loss == "membership":
        memberships.delete()
    elif loss == "role":
        memberships.update(role=Role.LIVE_OPS)
    else:
        User.objects.filter(pk=admin.pk).update(is_active=False)
    assert deliver() == 0
    assert mailoutbox == []
    assert states() == ["failed"]
    tell(environment, KEY_EXPIRING)
    assert len(states()) == 1
