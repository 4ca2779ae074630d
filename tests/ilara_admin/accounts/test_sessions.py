"""Sessions: what is noted about them, and ending them."""

from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from ilara_admin.accounts.devices import device_name
from ilara_admin.accounts.sessions import sessions_forget
from ilara_admin.core.staff import staff_update
from ilara_admin.models import AuditEntry, Role, User
from tests.factories import ACTOR, PASSWORD, make_staff
from tests.pages import text_of

pytestmark = pytest.mark.slow

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36"
)


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        (CHROME, "Chrome on Windows"),
        (f"{CHROME} Edg/140.0.0.0", "Edge on Windows"),
        (f"{CHROME} OPR/120.0", "Opera on Windows"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/26.0 Safari/605.1.15",
            "Safari on macOS",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) CriOS/140.0 Mobile/15E148 Safari/604.1",
            "Chrome on iPhone",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15; SM-S931B) AppleWebKit/537.36 (KHTML, like Gecko) "
            "SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
            "Samsung Internet on Android",
        ),
        ("curl/8.14.1", "curl"),
        ("", "Unknown device"),
        ("x" * 200, "x" * 40),
    ],
)
def test_device__is_named_by_browser_and_system(agent: str, name: str) -> None:
    assert device_name(agent) == name


@pytest.fixture
def ana(db: None) -> User:
    return make_staff(Role.VIEWER, "ana")


def signed_in_from(address: str, agent: str = FIREFOX) -> Client:
    client = Client(REMOTE_ADDR=address, headers={"user-agent": agent})
    client.post(reverse("sign_in"), {"username": "ana", "password": PASSWORD})
    return client


def test_sessions__show_device_and_address(ana: User) -> None:
    here = signed_in_from("192.0.2.1")
    signed_in_from("2001:db8::7", CHROME)
    page = text_of(here.get(reverse("account_security")))
    assert page.index("This session") < page.index("Chrome on Windows") < page.index("2001:db8::7")
    assert page.count("Firefox on Linux") == 1
    assert "192.0.2.1" in page


def test_use__is_written_at_most_every_five_minutes(ana: User) -> None:
    client, url = signed_in_from("192.0.2.1"), reverse("account")
    client.get(url)
    with CaptureQueriesContext(connection) as queries:
        client.get(url)
    assert "usersessions_usersession" not in str(
        [q["sql"] for q in queries if "INSERT" in q["sql"]]
    )
    UserSession.objects.update(last_seen_at=timezone.now() - timedelta(minutes=6))
    client.get(url, REMOTE_ADDR="192.0.2.9")
    (session,) = UserSession.objects.all()
    assert timezone.now() - session.last_seen_at < timedelta(minutes=1)
    assert session.ip == "192.0.2.9"


@pytest.mark.parametrize("address", ["", "nonsense", "192.0.2.1:5000"])
def test_address_that_is_none__is_unknown(address: str, ana: User) -> None:
    client = signed_in_from(address, agent="\N{SNOWMAN}" * 300)
    assert "unknown" in text_of(client.get(reverse("account_security")))


def test_session_from_before__is_listed_after_its_next_page(ana: User) -> None:
    client = Client()
    client.force_login(ana)
    assert not UserSession.objects.exists()
    assert "This session" in text_of(client.get(reverse("account_security")))


def test_one_session__is_ended(ana: User) -> None:
    here, there = signed_in_from("192.0.2.1"), signed_in_from("192.0.2.2", CHROME)
    pk = UserSession.objects.get(ip="192.0.2.2").pk
    url = reverse("account_session_end", args=[pk])
    assert here.post(url)["Location"] == reverse("account_security")
    assert here.get(reverse("account")).status_code == 200
    assert there.get(reverse("account")).status_code == 302
    entry = AuditEntry.objects.get(action="staff.sessions_ended")
    assert entry.before == {"sessions": "Chrome on Windows, 192.0.2.2"}
    assert here.post(url).status_code == 404


def test_session_of_another_account__is_404(ana: User) -> None:
    there = signed_in_from("192.0.2.2")
    other = Client()
    other.force_login(make_staff())
    url = reverse("account_session_end", args=[UserSession.objects.get().pk])
    assert other.post(url).status_code == 404
    assert there.get(reverse("account")).status_code == 200


def test_everywhere_else__is_signed_out(ana: User) -> None:
    here, *others = (signed_in_from(f"192.0.2.{number}") for number in range(1, 4))
    stranger = Client()
    stranger.force_login(make_staff())
    stranger.get(reverse("account"))
    assert here.get(reverse("account_sessions_end")).status_code == 200
    assert here.post(reverse("account_sessions_end")).status_code == 302
    assert "2 other sessions signed out" in text_of(here.get(reverse("account_security")))
    assert stranger.get(reverse("account")).status_code == 200
    assert [client.get(reverse("account")).status_code for client in others] == [302, 302]
    entry = AuditEntry.objects.get(action="staff.sessions_ended")
    assert entry.before == {"sessions": "all others"}


def test_deactivation__ends_sessions_for_good(ana: User) -> None:
    make_staff()
    client = signed_in_from("192.0.2.1")
    staff_update(ana, is_active=False, actor=ACTOR)
    assert not Session.objects.filter(session_key=client.session.session_key).exists()
    staff_update(ana, is_active=True, actor=ACTOR)
    assert client.get(reverse("account")).status_code == 302


def test_over_sessions__are_not_listed_and_forgotten(ana: User) -> None:
    here, there = signed_in_from("192.0.2.1"), signed_in_from("192.0.2.2")
    there.post(reverse("sign_out"))
    assert "192.0.2.2" not in text_of(here.get(reverse("account_security")))
    sessions_forget()
    assert [session.ip for session in UserSession.objects.all()] == ["192.0.2.1"]
