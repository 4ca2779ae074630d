"""Changes in live become notifications, each once."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from flags.models import Flag
from flags.overrides import override_set
from flags.services import flag_set_enabled
from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.core.notifications import BREAK_GLASS
from ilara_admin.core.projects import environment_update, project_update
from ilara_admin.models import (
    AuditAction,
    AuditEntry,
    Environment,
    Notification,
    NotificationPosition,
    NotificationRecipient,
    Role,
    Tier,
    User,
)
from ilara_admin.pages import live_changes
from ilara_admin.pages.live_changes import notify_until
from players.schemas import PlayerPatch
from players.services import player_update
from tests.factories import make_audited_environment, make_environment, make_player
from tests.members import make_member

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(db: None) -> Environment:
    return make_audited_environment()


def told_of() -> list[Notification]:
    newest = AuditEntry.objects.order_by("-pk")[0]
    before = list(Notification.objects.values_list("pk", flat=True))
    notify_until(newest.pk)
    return list(Notification.objects.exclude(pk__in=before).order_by("pk"))


@pytest.fixture
def live(environment: Environment) -> Environment:
    """A live environment that is not new."""
    return aged(environment)


def aged(environment: Environment) -> Environment:
    created = timezone.now() - timedelta(days=1)
    Environment.objects.filter(pk=environment.pk).update(created_at=created)
    told_of()
    return environment


@pytest.fixture
def ana(environment: Environment) -> User:
    user = make_member(environment, Role.LIVE_OPS)
    User.objects.filter(pk=user.pk).update(first_name="Ana")
    return User.objects.get(pk=user.pk)


@pytest.fixture
def ben(environment: Environment) -> User:
    return make_member(environment, Role.VIEWER)


def switch(environment: Environment, actor: Actor, on: bool, reason: str = "") -> None:
    flag = Flag.objects.select_related("environment__project").get(
        environment=environment, key="new_tutorial"
    )
    flag_set_enabled(flag, on, actor=actor, reason=reason)


def test_change__is_told_to_others_with_who_what_why_and_a_link(
    live: Environment, ana: User, ben: User
) -> None:
    switch(live, Actor.of_user(ana), False, "too many crashes")
    (found,) = told_of()
    assert found.title == "Ana turned off the flag new_tutorial"
    assert found.lines == ["Reason: too many crashes"]
    assert found.path == f"audit/{AuditEntry.objects.order_by('-pk')[0].pk}/"
    assert [row.user for row in NotificationRecipient.objects.all()] == [ben]
    assert told_of() == []


def test_changes_of_one_author__are_one_notification(
    live: Environment, ana: User, ben: User
) -> None:
    for on, reason in ((False, "first"), (True, ""), (False, "third")):
        switch(live, Actor.of_user(ana), on, reason)
    environment_update(live, {"new_days": 9}, actor=Actor.of_command("project_set"))
    by_ana, by_command = sorted(told_of(), key=lambda each: len(each.lines), reverse=True)
    assert by_ana.title == "Ana turned off the flag new_tutorial and made 2 further changes"
    assert by_ana.lines == [
        "turned off the flag new_tutorial: first",
        "turned on the flag new_tutorial",
        "turned off the flag new_tutorial: third",
    ]
    assert by_ana.path == "audit/?actor=Ana"
    assert by_command.title.startswith("manage.py project_set changed the environment")


def test_new_and_other_environments__are_left_out(environment: Environment, ben: User) -> None:
    assert told_of() == []
    test = aged(make_environment(slug="test"))
    switch(test, Actor("Ada"), False)
    assert told_of() == []


def test_change_of_the_project__is_told(live: Environment, ben: User) -> None:
    project_update(live.project, tier=Tier.PRO, actor=Actor("Ada"))
    (found,) = told_of()
    assert found.title.startswith("Ada changed the project")
    assert found.environment == live


def test_notifications__hold_no_personal_data(live: Environment, ben: User) -> None:
    player = make_player(live, "external-4711", email="p@example.com")
    flag = Flag.objects.select_related("environment__project").get(
        environment=live, key="new_tutorial"
    )
    override_set(flag, player, "disabled", actor=Actor("Ada"))
    player_update(player, PlayerPatch(email="q@example.com"), actor=Actor("Ada"))
    (found,) = told_of()
    assert found.title == "Ada set a player's override of the flag new_tutorial"
    text = f"{found.title} {found.lines} {found.path}"
    assert not any(each in text for each in ("4711", "example.com", str(player.pk)))


def test_change_around_the_guard__is_told_in_every_environment(
    environment: Environment, ana: User, ben: User
) -> None:
    test = Environment.objects.get(project=environment.project, slug="test")
    entry = audit_record(
        AuditAction.FLAG_ENABLED, Actor.of_user(ana), environment=test, object_id="shop",
        object_name="shop", reason="the shop is down",
    )  # fmt: skip
    AuditEntry.objects.filter(pk=entry.pk).update(break_glass=True)
    (found,) = told_of()
    assert (found.kind, found.environment) == (BREAK_GLASS, test)
    assert found.title == "Ana went around the guard and turned on the flag shop"
    assert found.lines == ["Reason: the shop is down"]


def test_many_entries__are_told_in_chunks(
    live: Environment, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_changes, "CHUNK_ENTRIES", 2)
    for number in range(5):
        switch(live, Actor("Ada"), bool(number % 2))
    assert sum(1 + max(len(each.lines) - 1, 0) for each in told_of()) == 5


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_entry_that_commits_late__is_not_passed_over() -> None:
    """It has a lower id than one that was committed and could be reported before."""
    environment = make_audited_environment()
    Environment.objects.update(created_at=timezone.now() - timedelta(days=1))
    NotificationPosition.objects.all().delete()
    NotificationPosition.objects.create(entry_id=AuditEntry.objects.order_by("-pk")[0].pk)
    make_member(environment, Role.VIEWER)
    has_drawn, may_commit = threading.Event(), threading.Event()

    def change(name: str) -> None:
        audit_record(
            AuditAction.FLAG_ENABLED,
            Actor(name),
            environment=environment,
            object_id="new_tutorial",
            object_name="new_tutorial",
        )

    def late() -> None:
        try:
            with transaction.atomic():
                change("Late")
                has_drawn.set()
                may_commit.wait(60)
        finally:
            connection.close()

    thread = threading.Thread(target=late)
    thread.start()
    assert has_drawn.wait(60)
    change("Early")
    try:
        assert live_changes.live_changes_notify() == 0  # waits for the older transaction
    finally:
        may_commit.set()
        thread.join()
    assert live_changes.live_changes_notify() == 2
    titles = [each.title.split()[0] for each in Notification.objects.order_by("title")]
    assert titles == ["Early", "Late"]
