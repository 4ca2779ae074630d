"""E-mails with one-time links. Jobs send them: no page waits for the mail server, and no answer
shows by its time whether there was anything to send."""

from collections.abc import Iterable

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from ilara_admin.accounts.reset_links import reset_path
from ilara_admin.core.invites import token_of
from ilara_admin.core.jobs import defer_once
from ilara_admin.models import Invite, User


def is_configured() -> bool:
    return bool(settings.MAILERS)


def address_of_site(request: HttpRequest) -> str:
    """The beginning of links, without the slash."""
    return settings.ILARA_URL or request.build_absolute_uri("/").rstrip("/")


@transaction.atomic
def queue_resets(request: HttpRequest, users: Iterable[User]) -> None:
    """Queue one job, also without any account."""
    ids = sorted(user.pk for user in users)
    lock = f"ilara_admin.send_resets:{ids}"
    args = {"user_ids": ids, "site": address_of_site(request)}
    defer_once("ilara_admin.tasks.send_resets", {lock: args})


@transaction.atomic
def queue_invite(request: HttpRequest, invite: Invite) -> None:
    args = {"invite_id": invite.pk, "site": address_of_site(request)}
    defer_once("ilara_admin.tasks.send_invite", {f"ilara_admin.send_invite:{invite.pk}": args})


def send_resets(user_ids: list[int], site: str) -> None:
    for user in User.objects.filter(pk__in=user_ids, is_active=True).exclude(email=""):
        _send(
            user.email,
            "Set a new password",
            "reset",
            {"user": user, "url": site + reset_path(user), "site": site},
        )


def send_invite(invite_id: int, site: str) -> None:
    found = Invite.objects.open_at(timezone.now()).select_related("project")
    invite = found.filter(pk=invite_id).first()
    if invite is not None:
        url = site + reverse("invite", args=[token_of(invite)])
        context = {"invite": invite, "url": url, "site": site}
        _send(invite.email, f"Join {invite.project.name} on Ilara", "invite", context)


def _send(to: str, subject: str, template: str, context: dict[str, object]) -> None:
    text = render_to_string(f"accounts/mails/{template}.txt", context)
    send_mail(" ".join(subject.split()), text, None, [to])
