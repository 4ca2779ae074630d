"""The pages of notifications, choices, channels and deliveries."""

from datetime import timedelta

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from ilara_admin.core.channels import channel_create
from ilara_admin.core.key_warnings import KEY_EXPIRING
from ilara_admin.core.notifications import LIVE_CHANGE, choices_of, notify
from ilara_admin.models import (
    AuditAction,
    AuditEntry,
    ChannelKind,
    DeliveryState,
    Environment,
    Notification,
    NotificationChannel,
    NotificationDelivery,
    NotificationPlace,
    NotificationRecipient,
    Role,
    User,
)
from tests.factories import ACTOR
from tests.members import client_for, make_member
from tests.pages import HTMX, message_of, text_of, tone_of, url_of

pytestmark = pytest.mark.slow

PRODUCT, EMAIL = NotificationPlace
URL = "https://hooks.slack.com/services/T0/B0/secretAbCd"


@pytest.fixture
def viewer(environment: Environment) -> User:
    return make_member(environment, Role.VIEWER, "viewer@example.com")


@pytest.fixture
def reader(viewer: User) -> Client:
    return client_for(viewer)


@pytest.fixture
def admin(environment: Environment) -> Client:
    return client_for(make_member(environment, Role.ADMIN))


def tell(environment: Environment, title: str = "Ana did it", kind: str = LIVE_CHANGE) -> int:
    key = f"{kind}:{Notification.objects.count()}"
    found = notify(kind, environment, title, ["why"], page="key_list", dedupe_key=key)
    assert found
    return found.pk


def add_channel(environment: Environment) -> NotificationChannel:
    return channel_create(
        project=environment.project, kind=ChannelKind.SLACK, name="#live-ops", url=URL,
        kinds=[LIVE_CHANGE], actor=ACTOR,
    )  # fmt: skip


def test_list_and_bell__show_what_is_unread_until_it_is_opened(
    environment: Environment, reader: Client
) -> None:
    first, _ = tell(environment, "Ana <b>did</b> it"), tell(environment)
    html = text_of(reader.get(url_of(environment, "notification_list")))
    assert "Ana &lt;b&gt;did&lt;/b&gt; it" in html
    assert 'aria-label="Notifications, 2 unread"' in html
    opened = reader.get(url_of(environment, "notification_open", first))
    assert opened["Location"] == url_of(environment, "key_list")
    bell = text_of(reader.get(url_of(environment, "notification_bell"), headers=HTMX))
    assert 'aria-label="Notifications, 1 unread"' in bell
    unread = reader.get(url_of(environment, "notification_list") + "?show=unread")
    assert [row.notification.title for row in unread.context["page"].rows] == ["Ana did it"]
    reader.post(url_of(environment, "notification_read_all"))
    html = text_of(reader.get(url_of(environment, "notification_list")))
    assert 'aria-label="Notifications"' in html
    assert "Mark all as read" not in html


def test_bell__costs_no_further_statement(
    environment: Environment, reader: Client, django_assert_max_num_queries: object
) -> None:
    tell(environment)
    url = url_of(environment, "key_list")
    reader.get(url)
    with django_assert_max_num_queries(4) as queries:  # type: ignore[operator]
        assert "1 unread" in text_of(reader.get(url))
    reading = [each for each in queries if "notification_recipient" in each["sql"]]
    assert len(reading) == 1
    assert "FROM environment" in reading[0]["sql"]


def test_bell__does_not_send_who_was_signed_out_to_the_sign_in(
    environment: Environment, client: Client
) -> None:
    headers = {**HTMX, "HX-Trigger": "bell"}
    response = client.get(url_of(environment, "notification_bell"), headers=headers)
    assert response.status_code == 204
    assert "HX-Redirect" not in response


def test_notification_of_another_person__is_not_found(
    environment: Environment, reader: Client, admin: Client
) -> None:
    mine = tell(environment, kind=KEY_EXPIRING)  # for admins
    for name in ("notification_open", "notification_read"):
        method = reader.get if name == "notification_open" else reader.post
        assert method(url_of(environment, name, mine)).status_code == 404
    assert admin.post(url_of(environment, "notification_read", mine)).status_code == 302
    assert not NotificationRecipient.objects.filter(read_at=None).exists()


def test_kind_of_a_role_that_was_lost__is_not_shown(environment: Environment, viewer: User) -> None:
    notification = tell(environment, "secret", kind=KEY_EXPIRING)
    NotificationRecipient.objects.create(
        notification_id=notification, user=viewer, project=environment.project
    )
    html = text_of(client_for(viewer).get(url_of(environment, "notification_list")))
    assert "secret" not in html


def test_choices__are_saved_for_the_kinds_of_the_role(
    environment: Environment, viewer: User, reader: Client
) -> None:
    url = url_of(environment, "notification_choices")
    html = text_of(reader.get(url))
    assert "its operator must set EMAIL_URL" in html
    assert KEY_EXPIRING not in html
    with override_settings(EMAIL_URL="smtp://mail.example.com"):
        reader.post(url, {f"{LIVE_CHANGE}:email": "on", f"{KEY_EXPIRING}:email": "on"})
    chosen = choices_of(viewer, environment.project)
    assert not chosen[LIVE_CHANGE, PRODUCT]
    assert chosen[LIVE_CHANGE, EMAIL]
    assert not chosen[KEY_EXPIRING, EMAIL]
    reader.post(url, {f"{LIVE_CHANGE}:product": "on"})  # without e-mail, that choice stays
    chosen = choices_of(viewer, environment.project)
    assert chosen[LIVE_CHANGE, PRODUCT]
    assert chosen[LIVE_CHANGE, EMAIL]


def test_channel__is_added_edited_and_removed_without_showing_its_address(
    environment: Environment, admin: Client
) -> None:
    new = url_of(environment, "channel_new")
    given = {"kind": "slack", "name": "#live-ops", "url": "https://example.com/x", "kinds": []}
    refused = admin.post(new, given)
    assert refused.status_code == 422
    assert "must begin with https:// and the host hooks.slack.com" in text_of(refused)
    assert admin.post(new, {**given, "url": URL, "kinds": [LIVE_CHANGE]}).status_code == 302
    channel = NotificationChannel.objects.get()
    edit = url_of(environment, "channel_edit", channel.pk)
    pages = [text_of(admin.get(url_of(environment, "channel_list"))), text_of(admin.get(edit))]
    assert all("hooks.slack.com/…AbCd" in html and "secret" not in html for html in pages)
    admin.post(edit, {"name": "#ops", "kinds": [KEY_EXPIRING], "url": ""})
    channel.refresh_from_db()
    assert (channel.name, channel.kinds, channel.url) == ("#ops", [KEY_EXPIRING], URL)
    removed = admin.post(url_of(environment, "channel_remove", channel.pk), {"reason": "moved"})
    assert message_of(removed).endswith("Removed #ops.")
    entries = AuditEntry.objects.filter(object_type="channel").order_by("pk")
    assert [each.action for each in entries] == [
        AuditAction.CHANNEL_CREATED, AuditAction.CHANNEL_UPDATED, AuditAction.CHANNEL_DELETED
    ]  # fmt: skip
    assert entries[2].reason == "moved"
    audit = text_of(admin.get(url_of(environment, "audit_list")))
    assert "removed the channel" in audit
    assert "secret" not in audit


def test_test_message__says_why_it_failed(environment: Environment, admin: Client) -> None:
    channel = add_channel(environment)
    NotificationChannel.objects.update(url="https://gone.example.com/x")
    response = admin.post(url_of(environment, "channel_test", channel.pk))
    assert tone_of(response) == "danger"
    assert "must begin with https://" in message_of(response)


def test_deliveries__show_their_state_and_can_be_sent_again(
    environment: Environment, admin: Client
) -> None:
    add_channel(environment)
    tell(environment)
    later = timezone.now() + timedelta(minutes=5)
    NotificationDelivery.objects.update(
        state=DeliveryState.QUEUED, next_try_at=later, error="The host answered 500."
    )
    url = url_of(environment, "delivery_list")
    html = text_of(admin.get(url))
    assert "The host answered 500." in html
    assert "next try" in html
    assert "Send again" not in html
    NotificationDelivery.objects.update(state=DeliveryState.FAILED)
    assert "Send again" in text_of(admin.get(f"{url}?state=failed&by=channel"))
    assert "No delivery matches" in text_of(admin.get(f"{url}?by=email"))
    delivery = NotificationDelivery.objects.get()
    again = url_of(environment, "delivery_again", delivery.pk)
    assert message_of(admin.post(again)) == "It is sent within a minute."
    assert message_of(admin.post(again)).endswith("It did not fail.")
