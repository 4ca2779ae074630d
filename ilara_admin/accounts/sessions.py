"""Sessions of an account: allauth's table has the device, the address and the last use of each."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from django.db import connection, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from ilara_admin.accounts.devices import device_name
from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.core.client_address import client_address
from ilara_admin.core.staff import sessions_end
from ilara_admin.models import AuditAction, Role, User
from ilara_admin.web.access import actor_of, show_last_environment, staff_view
from ilara_admin.web.confirm import Confirm, render_confirm
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast

NOTED_EVERY = timedelta(minutes=5)
AGENT_LENGTH = 200  # of allauth's column
UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104  # stored where the address of a client is not known


@dataclass(frozen=True, slots=True)
class OpenSession:
    id: int
    device: str
    address: str  # "" if not known
    began_at: datetime
    seen_at: datetime
    is_current: bool


SESSIONS = """
SELECT u.id, user_agent, host(ip), created_at, last_seen_at, session_key
FROM usersessions_usersession AS u JOIN django_session USING (session_key)
WHERE user_id = %s AND expire_date > %s
ORDER BY last_seen_at DESC, u.id DESC"""


def sessions_of(user: User, current: str | None) -> list[OpenSession]:
    """The sessions of an account that are not over, the current one first, then by last use."""
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS, [user.pk, timezone.now()])
        found = [
            OpenSession(
                pk,
                device_name(agent),
                "" if address == UNKNOWN_ADDRESS else address,
                began_at,
                seen_at,
                key == current,
            )
            for pk, agent, address, began_at, seen_at, key in cursor
        ]
    return sorted(found, key=lambda each: not each.is_current)


# --- Their use ------------------------------------------------------------------------------------

NOTE = """
INSERT INTO usersessions_usersession
    (session_key, user_id, ip, user_agent, data, created_at, last_seen_at)
VALUES (%s, %s, %s, %s, '{}', %s, %s)
ON CONFLICT (session_key) DO UPDATE SET user_id = EXCLUDED.user_id, ip = EXCLUDED.ip,
    user_agent = EXCLUDED.user_agent, last_seen_at = EXCLUDED.last_seen_at"""


def note_use(request: HttpRequest) -> None:
    """Note a use of the session of this request, and the session if it is new."""
    if request.session.session_key is None:
        request.session.save()  # gives it a key
    agent = request.headers.get("User-Agent", "").replace("\0", "")[:AGENT_LENGTH]
    now, key = timezone.now(), request.session.session_key
    with connection.cursor() as cursor:
        cursor.execute(NOTE, [key, request.user.pk, address_of(request), agent, now, now])


def address_of(request: HttpRequest) -> str:
    """The address of the client. It may come from a header, so it need not be one."""
    try:
        return str(ip_address(client_address(request)))
    except ValueError:
        return UNKNOWN_ADDRESS


SESSIONS_FORGET = """
DELETE FROM usersessions_usersession AS u
WHERE NOT EXISTS (SELECT FROM django_session AS s WHERE s.session_key = u.session_key)"""


def sessions_forget() -> None:
    """Delete what is stored about sessions that are over."""
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS_FORGET)


# --- Ending them ----------------------------------------------------------------------------------


@transaction.atomic
def other_sessions_end(user: User, current: str | None, *, actor: Actor) -> int:
    """End all sessions but the current one. Returns their number."""
    count = sessions_end(user, keep=current)
    if count:
        _record(user, actor, {"sessions": "all others"})
    return count


@transaction.atomic
def session_end(user: User, session: OpenSession, *, actor: Actor) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM django_session USING usersessions_usersession AS u "
            "WHERE u.session_key = django_session.session_key AND u.id = %s AND u.user_id = %s",
            [session.id, user.pk],
        )
    _record(user, actor, {"sessions": f"{session.device}, {session.address or 'unknown address'}"})


def _record(user: User, actor: Actor, before: dict[str, str]) -> None:
    audit_record(
        AuditAction.STAFF_SESSIONS_ENDED,
        actor,
        object_id=user.pk,
        object_name=user.username,
        before=before,
    )


@staff_view(Role.VIEWER, "POST")
def account_session_end(request: HtmxHttpRequest, session_id: int) -> HttpResponse:
    sessions = sessions_of(request.user, request.session.session_key)
    found = next((each for each in sessions if each.id == session_id), None)
    if found is None:
        raise Http404("This session is over.")
    if found.is_current:
        return redirect_to(request, reverse("account_security"))
    session_end(request.user, found, actor=actor_of(request))
    response = redirect_to(request, reverse("account_security"))
    return with_toast(request, response, f"{found.device} is signed out.")


@staff_view(Role.VIEWER, "GET", "POST")
def account_sessions_end(request: HtmxHttpRequest) -> HttpResponse:
    if request.method == "POST":
        count = other_sessions_end(
            request.user, request.session.session_key, actor=actor_of(request)
        )
        text = f"{count} other session{'' if count == 1 else 's'} signed out."
        return with_toast(request, redirect_to(request, reverse("account_security")), text)
    show_last_environment(request)
    confirm = Confirm(
        title="Sign out everywhere else",
        button="Sign out everywhere else",
        cancel_url=reverse("account_security"),
        text="All your other sessions end at once. This one continues.",
        tone="danger",
        reason="hidden",
    )
    return render_confirm(request, confirm)
