"""Delivery by real processes: one that is killed while it sends, and a mail server that refuses."""

import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from ilara_admin.core.channels import channel_create
from ilara_admin.core.notifications import LIVE_CHANGE, choices_set, notify
from ilara_admin.models import (
    ChannelKind,
    Environment,
    NotificationDelivery,
    NotificationPlace,
    Role,
)
from ilara_admin.runtime.supervisor import ending_with_parent
from tests.factories import ACTOR, make_environment
from tests.homes import HANG_SECONDS, wait_until
from tests.members import make_member
from tests.processes import django_output
from tests.serving import database_url
from tests.webhook_receiver import Receiver

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

DELIVER = """
import django
django.setup()
from ilara_admin.core.deliveries import deliver
print(deliver())
"""


def delivered(**environ: str) -> int:
    return int(django_output(DELIVER, DATABASE_URL=database_url(), **environ))


def pause_is_over() -> None:
    NotificationDelivery.objects.update(next_try_at=timezone.now() - timedelta(seconds=1))


@pytest.fixture
def environment() -> Environment:
    return make_environment()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.may_answer.set()
    receiver.close()


def test_kill_while_sending__delivers_again(
    environment: Environment, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "WEBHOOK_HOSTS", [receiver.host])
    channel_create(
        project=environment.project, kind=ChannelKind.DISCORD, name="#ops",
        url=f"{receiver.host}/api/webhooks/1", kinds=[LIVE_CHANGE], actor=ACTOR,
    )  # fmt: skip
    notify(LIVE_CHANGE, environment, "Ana did it", dedupe_key="live_change:1")
    hosts = {"ILARA_WEBHOOK_HOSTS": receiver.host}
    receiver.may_answer.clear()
    killed = start_delivery(**hosts)
    try:
        wait_until(lambda: bool(receiver.payloads))
    finally:
        killed.kill()
        killed.wait()
    receiver.may_answer.set()
    taken = NotificationDelivery.objects.get()
    assert (taken.state, taken.attempts) == ("sending", 1)
    assert delivered(**hosts) == 0  # another worker might still be sending it
    pause_is_over()
    assert delivered(**hosts) == 1
    sent = NotificationDelivery.objects.get()
    assert (sent.state, sent.attempts) == ("sent", 2)
    assert [each["content"] for each in receiver.payloads] == [receiver.payloads[0]["content"]] * 2


def start_delivery(**environ: str) -> "subprocess.Popen[bytes]":
    ours = {"DJANGO_SETTINGS_MODULE": "ilara_admin.settings", "SECRET_KEY": "x"}
    return subprocess.Popen(
        [sys.executable, "-c", DELIVER],
        cwd=settings.BASE_DIR,
        env={**os.environ, **ours, "DATABASE_URL": database_url(), **environ},
        stdout=subprocess.DEVNULL,
        preexec_fn=ending_with_parent(),
    )


class MailServer(socketserver.ThreadingTCPServer):
    """A mail server that answers RCPT with `replies`, the last one again and again."""

    allow_reuse_address = True

    def __init__(self) -> None:
        self.replies, self.messages = ["250 ok"], list[str]()
        super().__init__(("127.0.0.1", 0), MailHandler)


class MailHandler(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.say("220 ready")
        while line := self.rfile.readline().decode().strip():
            command = line[:4].upper()
            if command == "RCPT":
                replies = self.server.replies
                self.say(replies.pop(0) if len(replies) > 1 else replies[0])
            elif command == "DATA":
                self.say("354 go on")
                lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                self.server.messages.append("".join(lines))
                self.say("250 ok")
            elif command == "QUIT":
                return self.say("221 bye")
            else:
                self.say("250 ok")

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(HANG_SECONDS)


def test_mail_server_that_refuses_first__gets_the_mail_later(
    environment: Environment, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"smtp://127.0.0.1:{mail_server.server_address[1]}"
    monkeypatch.setattr(settings, "EMAIL_URL", url)
    user = make_member(environment, Role.VIEWER, "ben@example.com")
    choices_set(user, environment.project, {(LIVE_CHANGE, NotificationPlace.EMAIL): True})
    notify(LIVE_CHANGE, environment, "Ana did it", dedupe_key="live_change:1")
    mail_server.replies = ["451 try later", "250 ok"]
    assert delivered(EMAIL_URL=url) == 0
    waiting = NotificationDelivery.objects.get()
    assert (waiting.state, waiting.error) == (
        "queued",
        "The mail server refused the address (451).",
    )
    pause_is_over()
    assert delivered(EMAIL_URL=url, DEFAULT_FROM_EMAIL="Ilara <ilara@example.com>") == 1
    (message,) = mail_server.messages
    assert "To: ben@example.com" in message
    assert "From: Ilara <ilara@example.com>" in message
    assert "Ana did it" in message
