"""The shadow period before a flag is archived."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError

from flags.models import Flag
from flags.services import flag_set_archived
from flags.shadow import archive_due, flag_archive_later
from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import undo
from ilara_admin.models import AuditEntry, Environment
from players.models import Player
from tests.api_client import FLAGS, Api
from tests.factories import ACTOR, make_staff

BO = Actor("Bo")


@pytest.fixture
def flag(environment: Environment) -> Flag:
    return Flag.objects.get(environment=environment, key="new_tutorial")


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_shadow_period__serves_as_before_then_archives_as_the_author(
    public_api: Api, flag: Flag, player: Player
) -> None:
    body = {"player_id": str(player.pk)}
    before = public_api.post(f"{FLAGS}/new_tutorial/evaluate", body).data
    author, at = make_staff(), in_days(7)
    flag, entry = flag_archive_later(flag, at, actor=Actor.of_user(author), reason="Launched")
    assert entry
    assert entry.after == {"archives_at": at.isoformat()}
    assert flag.revision == 1  # requests see no change
    assert public_api.post(f"{FLAGS}/new_tutorial/evaluate", body).data == before

    assert archive_due(at - timedelta(seconds=1)) == 0
    passed = in_days(0)
    Flag.objects.filter(pk=flag.pk).update(archives_at=passed)
    assert archive_due(passed) == 1
    assert archive_due(passed) == 0
    flag.refresh_from_db()
    assert flag.archived_at
    assert flag.archives_at is None
    last = AuditEntry.objects.order_by("id").last()
    assert last
    assert (last.action, last.actor_user) == ("flag.archived", author)
    assert last.reason == "The shadow period has ended. Launched"
    assert public_api.post(f"{FLAGS}/new_tutorial/evaluate", body).data["reason"] == "disabled"

    undo(last, actor=BO)  # unarchives, and does not archive again
    flag.refresh_from_db()
    assert [flag.archived_at, flag.archives_at] == [None, None]
    assert archive_due(in_days(100)) == 0


def test_shadow_period__can_be_cancelled_and_that_undone(flag: Flag) -> None:
    at = in_days(7)
    flag, _ = flag_archive_later(flag, at, actor=ACTOR)
    assert flag_archive_later(flag, at, actor=ACTOR)[1] is None
    flag, cancelled = flag_archive_later(flag, None, actor=BO)
    assert archive_due(in_days(8)) == 0
    assert cancelled
    undo(cancelled, actor=BO)
    flag.refresh_from_db()
    assert flag.archives_at == at


def test_archiving_now__ends_the_shadow_period(flag: Flag) -> None:
    flag, _ = flag_archive_later(flag, in_days(7), actor=ACTOR)
    flag, _ = flag_set_archived(flag, True, actor=BO)
    assert flag.archives_at is None
    with pytest.raises(ValidationError, match="archived already"):
        flag_archive_later(flag, in_days(7), actor=ACTOR)


def test_date_in_the_past__is_refused(flag: Flag) -> None:
    with pytest.raises(ValidationError, match="in the past"):
        flag_archive_later(flag, in_days(-1), actor=ACTOR)
