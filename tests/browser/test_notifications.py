"""Notifications in a browser: the bell, choices, a channel with a test message."""

import shlex
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Ilara, Window
from tests.running import bash
from tests.webhook_receiver import Receiver

pytestmark = pytest.mark.browser

# The first contents of an environment cause no notifications, so it must not be new.
PREPARE = """
from datetime import timedelta
from django.db.models import F
from ilara_admin.models import AuditEntry, Environment, NotificationPosition, User
User.objects.filter(username="admin").update(is_owner=True)
Environment.objects.update(created_at=F("created_at") - timedelta(days=1))
NotificationPosition.objects.update(entry_id=AuditEntry.objects.order_by("-pk")[0].pk)
"""
# Entries are reported once no earlier one can still be committed; the worker may be first.
CHANGE = """
from time import sleep
from flags.models import Flag
from flags.services import flag_set_enabled
from ilara_admin.core.audit import Actor
from ilara_admin.models import Notification
from ilara_admin.pages.live_changes import live_changes_notify
Notification.objects.all().delete()
flag = Flag.objects.get(key="vulkan-renderer", environment__slug="live",
                        environment__project__slug="sample-game")
flag_set_enabled(flag, not flag.spec.enabled, actor=Actor("Ana Ruiz"), reason="too many crashes")
while not Notification.objects.exists():
    live_changes_notify()
    sleep(0.5)
"""


def run(ilara: Ilara, code: str) -> None:
    variables = {"ILARA_HOME": str(ilara.serve.home)}
    bash(f"{sys.executable} manage.py shell --no-imports -c {shlex.quote(code)}", variables)


@pytest.fixture(scope="module", autouse=True)
def prepared(ilara: Ilara) -> None:
    run(ilara, PREPARE)


def test_change_by_another__is_at_the_bell_until_it_is_opened(admin: Window, ilara: Ilara) -> None:
    run(ilara, CHANGE)
    page = admin.open("")
    expect(page.get_by_role("link", name="Notifications, 1 unread")).to_be_visible()
    admin.press("link", "Notifications, 1 unread")
    title = "the flag vulkan-renderer"
    expect(page.get_by_role("main")).to_contain_text("Reason: too many crashes")
    admin.press("link", title)
    expect(page.get_by_role("main")).to_contain_text("too many crashes")
    assert "/audit/" in page.url
    expect(page.get_by_role("link", name="Notifications", exact=True)).to_be_visible()


def test_kind_that_is_not_chosen__is_not_told(window: Callable[..., Window], ilara: Ilara) -> None:
    own = window()
    page = own.open("notifications/choices/")
    box = page.get_by_role("checkbox", name="Changes in live, in the product")
    for chosen in (False, True):
        box.set_checked(chosen)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Your choices are saved.")).to_be_visible()
        run(ilara, CHANGE)
        own.open("notifications/?show=unread")
        expect(page.get_by_role("list", name="Notifications, newest first")).to_have_count(
            int(chosen)
        )
        own.open("notifications/choices/")
    own.open("notifications/")
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.get_by_role("link", name="Notifications", exact=True)).to_be_visible()


@pytest.fixture
def receiver(ilara: Ilara) -> Iterator[Receiver]:
    receiver = Receiver(ilara.webhook_port)
    yield receiver
    receiver.close()


def test_channel__is_added_and_gets_a_test_message(admin: Window, receiver: Receiver) -> None:
    page = admin.open("notifications/channels/")
    admin.press("link", "New channel")
    address = page.get_by_label("Address of the webhook")
    admin.fill(page.get_by_label("Name"), "#live-ops")
    admin.fill(address, "https://example.com/services/x")
    admin.tick(page.get_by_label("Changes in live"))
    admin.press("button", "Add channel")
    expect(page.get_by_text("the host hooks.slack.com").last).to_be_visible()
    admin.fill(address, f"{receiver.host}/services/secret-AbCd")
    admin.press("button", "Add channel")
    expect(page.get_by_role("row", name="#live-ops")).to_contain_text("/…AbCd")
    admin.press("button", "Send a test message to #live-ops")
    expect(page.get_by_text("#live-ops accepted the test message.")).to_be_visible()
    assert "admin sent it from Ilara" in receiver.payloads[0]["text"]

    receiver.statuses = [404]
    admin.press("button", "Send a test message to #live-ops")
    expect(page.get_by_text("#live-ops got no test message.")).to_be_visible()
    admin.open("notifications/deliveries/?state=failed")
    row = page.get_by_role("row", name="Test message").first
    expect(row).to_contain_text("The host answered 404: answer")
    admin.press("button", "Send again: Test message")
    expect(page.get_by_text("It is sent within a minute.")).to_be_visible()
    admin.open("notifications/channels/")
    admin.press("link", "Remove #live-ops")
    admin.press("button", "Remove #live-ops")
    expect(page.get_by_text("Removed #live-ops.")).to_be_visible()
