"""Who is notified of change requests."""

from flags.engine.document import boolean_document
from flags.services import flag_create
from ilara_admin.core.audit import Actor
from ilara_admin.core.change_requests import (
    REVIEWED,
    WAITING,
    request_approve,
    request_edit,
    request_submit,
)
from ilara_admin.core.guard import Act
from ilara_admin.core.projects import environment_update
from ilara_admin.models import Environment, NotificationRecipient, Role, User
from tests.factories import ACTOR
from tests.members import make_member
from tests.test_change_requests import gathered, save


def told(kind: str) -> list[User]:
    rows = NotificationRecipient.objects.filter(notification__kind=kind).order_by("pk")
    return [row.user for row in rows.select_related("user")]


def test_request__is_told_to_reviewers_and_the_review_to_its_author(
    environment: Environment,
) -> None:
    author, reviewer = (make_member(environment, Role.LIVE_OPS) for _ in range(2))
    make_member(environment, Role.SUPPORT)
    flag_create(environment=environment, key="red", document=boolean_document(), actor=ACTOR)
    environment_update(environment, {"guard_approval": sorted(Act)}, actor=ACTOR)
    here = Environment.objects.select_related("project").get(pk=environment.pk)
    by_author = Actor.of_user(author)
    items = gathered(save(here, "red", (True, None)), by_author)
    request = request_submit(here, items, actor=by_author, reason="launch")
    assert told(WAITING) == [reviewer]
    changed = gathered(save(here, "red", (True, 50_000)), by_author)
    request = request_edit(request, changed, actor=by_author)
    assert told(WAITING) == [reviewer] * 2
    request_approve(request, actor=Actor.of_user(reviewer), fingerprint=request.fingerprint)
    assert told(REVIEWED) == [author]
    found = NotificationRecipient.objects.get(notification__kind=REVIEWED).notification
    assert found.path == f"requests/{request.pk}/"
    assert found.title.endswith(f" approved request {request.pk}: {request.title}")
