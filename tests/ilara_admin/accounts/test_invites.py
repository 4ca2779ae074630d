"""Invites: creating, accepting once, joining with an account, and links that do not work."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from ilara_admin.accounts.mails import send_invite
from ilara_admin.accounts.throttle import LIMITS, Kind
from ilara_admin.core.invites import (
    InviteGone,
    invite_accept,
    invite_create,
    invite_of,
    invite_revoke,
    token_of,
)
from ilara_admin.core.projects import project_create
from ilara_admin.core.staff import staff_update
from ilara_admin.models import AuditEntry, Environment, Invite, Membership, Role, User
from tests.factories import ACTOR, PASSWORD, make_environment, make_staff
from tests.mails import IN_MEMORY, queued
from tests.pages import message_of, signed_in, text_of, url_of
from tests.threads import at_once

pytestmark = pytest.mark.slow

NEW = {"username": "ana", "name": "Ana Reyes", "password": "a quite long phrase"}


def make_invite(environment: Environment, role: Role = Role.LIVE_OPS, **more: Any) -> Invite:
    admin = make_staff(Role.ADMIN)
    return invite_create(
        project=environment.project, role=role, created_by=admin, actor=ACTOR, **more
    )


def link_of(invite: Invite) -> str:
    return reverse("invite", args=[token_of(invite)])


def link_on(page: str) -> str:
    """The path of the link that the page shows."""
    found = re.search(r"http://testserver(/invite/[^<\"\s]+)", page)
    assert found
    return found[1]


# --- Creating -------------------------------------------------------------------------------------


def test_invite__is_created_shown_once_and_accepted(environment: Environment) -> None:
    admin = signed_in()
    data = {"name": "Ana", "email": "ana@example.com", "role": "live-ops"}
    response = admin.post(url_of(environment, "staff_invite"), data)
    assert "no-store" in response["Cache-Control"]
    link = link_on(text_of(response))
    assert link not in text_of(admin.get(url_of(environment, "staff_list")))

    guest = Client()
    page = text_of(guest.get(link))
    assert environment.project.name in page
    assert "Live Ops" in page
    response = guest.post(link, NEW)
    assert response["Location"] == reverse("sign_in")
    assert "Your account ana is ready." in message_of(response)
    user = User.objects.get(username="ana")
    assert (user.get_full_name(), user.email) == ("Ana Reyes", "ana@example.com")
    assert user.check_password(NEW["password"])
    membership = Membership.objects.get(user=user)
    assert (membership.project, membership.role) == (environment.project, "live-ops")
    assert guest.get(link).status_code == 404  # once only
    actions = AuditEntry.objects.filter(action__startswith="staff.").order_by("id")
    *_, invited, created, joined, accepted = actions
    assert invited.action == "staff.invited"
    assert invited.after
    assert invited.after["role"] == "live-ops"
    assert created.action == "staff.created"
    assert (joined.action, joined.after) == ("staff.membership_changed", {"role": "live-ops"})
    assert (accepted.action, accepted.actor_user) == ("staff.invite_accepted", user)
    log = text_of(admin.get(url_of(environment, "audit_list")))
    assert "accepted the invite for" in log
    assert link.split("/")[2] not in log


def test_list__shows_open_invites_only(environment: Environment) -> None:
    invites = [make_invite(environment, name=name) for name in ("Ana", "Tom", "Eva", "Kim")]
    invite_accept(invites[1], username="tom", name="", password=PASSWORD)
    invite_revoke(invites[2], actor=ACTOR)
    Invite.objects.filter(pk=invites[3].pk).update(expires_at=timezone.now())
    make_invite(make_environment(), name="Another project's")
    page = text_of(signed_in().get(url_of(environment, "staff_list")))
    shown = page.partition("Open invites")[2]
    assert re.findall(r"<bdi>(\w+)</bdi>", shown)[:1] == ["Ana"]
    assert not any(f"<bdi>{name}</bdi>" in shown for name in ("Tom", "Eva", "Kim"))
    assert "Another project" not in shown


@pytest.mark.parametrize(("role", "status"), [("owner", 422), ("root", 422), ("admin", 200)])
def test_roles_of_invites(environment: Environment, role: str, status: int) -> None:
    response = signed_in().post(url_of(environment, "staff_invite"), {"role": role})
    assert response.status_code == status


def test_invite_by_who_is_not_admin__is_refused(environment: Environment) -> None:
    """The service checks it, too: forms are not the only callers."""
    with pytest.raises(ValidationError):
        invite_create(
            project=environment.project,
            role=Role.VIEWER,
            created_by=make_staff(Role.LIVE_OPS),
            actor=ACTOR,
        )


def test_invite_of_another_project__cannot_be_revoked(environment: Environment) -> None:
    theirs = make_invite(make_environment())
    url = url_of(environment, "staff_invite_revoke", theirs.pk)
    assert signed_in().post(url).status_code == 404
    assert invite_of(token_of(theirs)) is not None


# --- E-mail ---------------------------------------------------------------------------------------


def test_link__is_sent_where_mail_is_configured(
    environment: Environment, settings: Settings
) -> None:
    settings.MAILERS = IN_MEMORY
    data = {"name": "Ana <b>", "email": "ana@example.com", "role": "viewer"}
    response = signed_in().post(url_of(environment, "staff_invite"), data)
    link = link_on(text_of(response))
    (args,) = queued("send_invite")
    assert link.split("/")[2] not in str(args)  # the table of jobs holds no links
    send_invite(**args)
    (message,) = mail.outbox
    assert message.to == ["ana@example.com"]
    assert f"http://testserver{link}" in message.body
    assert environment.project.name in message.subject


def test_address_of_the_site__begins_the_links(
    environment: Environment, settings: Settings
) -> None:
    settings.ILARA_URL = "https://ilara.example.com"
    page = text_of(signed_in().post(url_of(environment, "staff_invite"), {"role": "viewer"}))
    assert "https://ilara.example.com/invite/" in page


def test_revoked_invite__is_not_sent(environment: Environment, settings: Settings) -> None:
    settings.MAILERS = IN_MEMORY
    invite = make_invite(environment, email="ana@example.com")
    invite_revoke(invite, actor=ACTOR)
    send_invite(invite.pk, "http://testserver")
    assert mail.outbox == []


# --- Links that do not work -----------------------------------------------------------------------


def test_dead_links__get_one_page(environment: Environment) -> None:
    """Whether it never existed, was used, revoked or expired, or whether its author left."""
    used, revoked, expired, orphaned = (make_invite(environment) for _ in range(4))
    invite_accept(used, username="tom", name="", password=PASSWORD)
    invite_revoke(revoked, actor=ACTOR)
    Invite.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    author = orphaned.created_by
    assert author is not None
    make_staff(Role.ADMIN)
    staff_update(author, is_active=False, actor=ACTOR)
    key, _, signature = token_of(make_invite(environment)).partition(".")
    links = [link_of(each) for each in (used, revoked, expired, orphaned)]
    made_up = ("unknown", f"{key}.", f"{key[::-1]}.{signature}", "é", "a" * 3_000)
    links += [reverse("invite", args=[token]) for token in made_up]
    pages = set()
    for link in links:
        for response in (Client().get(link), Client().post(link, NEW)):
            assert response.status_code == 404
            pages.add(text_of(response))
    (page,) = pages
    assert "This link does not work" in page
    assert "Ask the person who invited you" in page
    assert environment.project.name not in page


def test_wrong_links__are_limited_and_right_ones_are_not(environment: Environment) -> None:
    invite = make_invite(environment)
    (limit,) = LIMITS[Kind.LINK]
    for _ in range(3):
        assert Client().get(link_of(invite)).status_code == 200
    wrong = reverse("invite", args=["wrong"])
    statuses = [Client().get(wrong).status_code for _ in range(limit.most + 1)]
    assert statuses == [404] * limit.most + [429]
    response = Client().get(link_of(invite))
    assert response.status_code == 429
    assert "Try again in 15 minutes" in text_of(response)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"username": "taken"}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": ""}, "username"),
        ({"password": "short"}, "password"),
        ({"password": ""}, "password"),
        ({"password": "Ana Reyes 2026"}, "password"),
        ({"password": "long enough\0nul"}, "password"),
        ({"password": "q7-" * 2_000}, "password"),
    ],
)
def test_wrong_form__is_shown_again_and_leaves_the_invite(
    environment: Environment, wrong: dict[str, str], field: str
) -> None:
    make_staff(Role.VIEWER, "taken")
    invite = make_invite(environment)
    response = Client().post(link_of(invite), NEW | wrong)
    assert response.status_code == 422
    assert f'id="id_{field}_error"' in text_of(response)
    assert invite_of(token_of(invite)) is not None


# --- With an account ------------------------------------------------------------------------------


def test_account__joins_after_confirming(environment: Environment) -> None:
    link = link_of(make_invite(environment, Role.LIVE_OPS))
    user = make_staff(Role.VIEWER, "tom", make_environment().project)
    client = Client()
    client.force_login(user)
    assert "Join with your account" in text_of(client.get(link))
    assert user.role_in(environment.project) is None
    response = client.post(link)
    assert response["Location"].startswith(f"/{environment.project.slug}/")
    here = Membership.objects.get(user=user, project=environment.project)
    assert here.role == "live-ops"
    assert client.get(link).status_code == 404
    assert AuditEntry.objects.filter(action="staff.invite_accepted", actor_user=user).exists()


def test_invite__never_lowers_a_role(environment: Environment) -> None:
    invite = make_invite(environment, Role.VIEWER)
    user = make_staff(Role.LIVE_OPS, "tom")
    client = Client()
    client.force_login(user)
    for response in (client.get(link_of(invite)), client.post(link_of(invite))):
        assert "has this role, or a higher one, already" in text_of(response)
    assert Membership.objects.get(user=user).role == "live-ops"
    assert invite_of(token_of(invite)) is not None  # for whom it is meant


def test_role__is_only_that_of_the_invites_project(environment: Environment) -> None:
    project_create(name="Another", slug="another", actor=ACTOR)
    Client().post(link_of(make_invite(environment)), NEW)
    memberships = Membership.objects.filter(user__username="ana")
    assert [each.project for each in memberships] == [environment.project]


@pytest.mark.django_db(transaction=True)
def test_of_acceptances_at_once__one_wins() -> None:
    invite = make_invite(make_environment())

    def accept(username: str) -> bool:
        try:
            invite_accept(invite, username=username, name="", password=PASSWORD)
        except InviteGone:
            return False
        return True

    names = ["one", "two", "three", "four"]
    assert sorted(at_once(accept, names)) == [False, False, False, True]
    assert User.objects.filter(username__in=names).count() == 1
    assert Membership.objects.filter(user__username__in=names).count() == 1
