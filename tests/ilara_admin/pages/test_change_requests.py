"""The pages of change requests: who may do what, on which version, and what they show."""

from typing import Any, NamedTuple

import pytest
from django.test import Client

from flags.models import Flag
from ilara_admin.core.audit import Actor
from ilara_admin.core.change_requests import request_apply, request_approve, request_withdraw
from ilara_admin.core.projects import environment_update
from ilara_admin.core.staff import membership_set, staff_update
from ilara_admin.models import ChangeRequest, Environment, Role, User
from tests.factories import ACTOR, make_environment, make_staff
from tests.pages import HTMX, message_of, text_of, url_of

pytestmark = pytest.mark.slow

KEY = "new-feature"  # off


class Person(NamedTuple):
    user: User
    client: Client


@pytest.fixture
def guarded(environment: Environment) -> Environment:
    """Turning flags on needs a second person; the starter flag is off."""
    environment_update(environment, {"guard_approval": ["percentage", "turn_on"]}, actor=ACTOR)
    return environment


def person(role: Role = Role.LIVE_OPS) -> Person:
    user, client = make_staff(role), Client()
    client.force_login(user)
    return Person(user, client)


def asked(environment: Environment, who: Person, why: str = "The event begins") -> ChangeRequest:
    """A request to turn on the flag, through its page."""
    url = url_of(environment, "flag_switch", KEY, "on")
    response = who.client.post(url, {"guard_act": "review", "reason": why})
    assert response.status_code == 302
    return ChangeRequest.objects.get(environment=environment)


def review(
    environment: Environment, row: ChangeRequest, who: Person, verdict: str, **data: str
) -> Any:
    given = {"verdict": verdict, "fingerprint": row.fingerprint, **data}
    return who.client.post(url_of(environment, "request_review", row.pk), given)


def is_on(environment: Environment) -> bool:
    return Flag.objects.get(environment=environment, key=KEY).enabled


def test_request__is_approved_by_another_person_and_applied(guarded: Environment) -> None:
    ana, ben = person(), person()
    row = asked(guarded, ana)
    url = url_of(guarded, "request_detail", row.pk)
    page = text_of(ana.client.get(url))
    assert "Needs one approval by someone else" in page
    assert "You wrote this request, so another person must approve it." in page
    assert "The event begins" in page
    assert review(guarded, row, ana, "approve").status_code == 422
    assert "which you can give" in text_of(ben.client.get(url))

    assert message_of(review(guarded, row, ben, "approve", comment="Go")) == "Approved."
    assert (is_on(guarded), "Go" in text_of(ana.client.get(url))) == (False, True)
    apply = url_of(guarded, "request_apply", row.pk)
    assert "Apply to live" in text_of(ana.client.get(apply))
    response = ana.client.post(apply, {"fingerprint": row.fingerprint})
    assert (response.status_code, response["Location"]) == (302, url)
    assert is_on(guarded)
    page = text_of(ana.client.get(url))
    assert "In the audit log" in page
    assert "Apply" not in page.partition("<main")[2].partition("</h1>")[2].partition("<h2")[0]
    entry = row.entries.get()
    page = text_of(ana.client.get(url_of(guarded, "audit_entry", entry.pk)))
    assert f"Change request {row.pk}" in page


def test_older_version__cannot_be_approved_or_applied(guarded: Environment) -> None:
    ana, ben = person(), person()
    row = asked(guarded, ana)
    seen = "0" * 64
    response = review(guarded, row, ben, "approve", fingerprint=seen, comment="Fine by me")
    assert response.status_code == 422
    assert "was edited since you opened it" in text_of(response)
    assert "Fine by me" in text_of(response)
    request_approve(row, actor=Actor.of_user(ben.user), fingerprint=row.fingerprint)
    response = ana.client.post(url_of(guarded, "request_apply", row.pk), {"fingerprint": seen})
    assert (response.status_code, is_on(guarded)) == (422, False)


@pytest.mark.parametrize("lost", ["role", "account"])
def test_approval__counts_while_its_author_may_give_it(guarded: Environment, lost: str) -> None:
    ana, ben, cy = person(), person(), person()
    row = asked(guarded, ana)
    review(guarded, row, ben, "approve")
    if lost == "role":
        membership_set(ben.user, guarded.project, Role.SUPPORT, actor=ACTOR)
    else:
        staff_update(ben.user, is_active=False, actor=ACTOR)
    apply = url_of(guarded, "request_apply", row.pk)
    response = ana.client.post(apply, {"fingerprint": row.fingerprint})
    assert (response.status_code, is_on(guarded)) == (422, False)
    assert "A second person must approve this version first." in text_of(response)
    page = text_of(cy.client.get(url_of(guarded, "request_detail", row.pk)))
    assert "Needs one approval, which you can give." in page
    review(guarded, row, cy, "approve")
    assert ana.client.post(apply, {"fingerprint": row.fingerprint}).status_code == 302
    assert is_on(guarded)


def test_changes_are_asked_for_with_a_comment(guarded: Environment) -> None:
    ana, ben = person(), person()
    row = asked(guarded, ana)
    assert "Say what should change." in text_of(review(guarded, row, ben, "refuse"))
    assert review(guarded, row, ben, "refuse", comment="Tomorrow").status_code == 302
    assert "Write a comment." in text_of(review(guarded, row, ana, "comment"))
    assert review(guarded, row, ana, "comment", comment="Why?").status_code == 302
    page = text_of(ana.client.get(url_of(guarded, "request_detail", row.pk)))
    assert all(text in page for text in ("Changes were requested", "Tomorrow", "Why?"))
    assert "asked for changes of version 1" in page


def test_closed_request__offers_no_steps(guarded: Environment) -> None:
    ana, ben = person(), person()
    row = asked(guarded, ana)
    url = url_of(guarded, "request_withdraw", row.pk)
    assert "Only its author can withdraw" in text_of(ben.client.post(url))
    assert ana.client.post(url, {"reason": "No longer needed"}).status_code == 302
    page = text_of(ben.client.get(url_of(guarded, "request_detail", row.pk)))
    assert ("Withdrawn by" in page, 'id="review"' in page) == (True, False)
    assert "No longer needed" in page
    assert "is withdrawn already" in text_of(review(guarded, row, ben, "approve"))
    assert "is withdrawn already" in text_of(ana.client.get(url))


@pytest.mark.parametrize("name", ["request_detail", "request_apply", "request_withdraw"])
def test_request_of_another_environment__is_404(name: str, guarded: Environment) -> None:
    ana = person(Role.ADMIN)
    row = asked(guarded, ana)
    assert ana.client.get(url_of(guarded, name, row.pk)).status_code == 200
    assert ana.client.get(url_of(make_environment(), name, row.pk)).status_code == 404


def test_viewer__reads_without_reviewing(guarded: Environment) -> None:
    row, viewer = asked(guarded, person()), person(Role.VIEWER)
    page = text_of(viewer.client.get(url_of(guarded, "request_detail", row.pk)))
    assert ('name="verdict"' in page, "request_impact" in page) == (False, False)
    assert "This needs the role live ops." in page
    assert review(guarded, row, viewer, "approve").status_code == 403


def test_conflict__is_shown_before_and_when_applying(guarded: Environment) -> None:
    ana, ben, admin = person(), person(), person(Role.ADMIN)
    row = asked(guarded, ana)
    request_approve(row, actor=Actor.of_user(ben.user), fingerprint=row.fingerprint)
    url = url_of(guarded, "flag_switch", KEY, "on")
    assert admin.client.post(url, {"break_glass": "1", "reason": "Now"}).status_code == 302
    page = text_of(ana.client.get(url_of(guarded, "request_detail", row.pk)))
    assert "Applying now would conflict." in page
    apply = url_of(guarded, "request_apply", row.pk)
    response = ana.client.post(apply, {"fingerprint": row.fingerprint})
    assert response.status_code == 409
    assert "Nothing was applied." in text_of(response)
    audit = text_of(ana.client.get(url_of(guarded, "audit_list"), {"show": "break_glass"}))
    assert audit.count("Break-glass</span>") == 1


def test_impact__is_that_of_the_flag(guarded: Environment) -> None:
    ana = person()
    row = asked(guarded, ana)
    url = url_of(guarded, "request_impact", row.pk, 1)
    assert "Who switches" in text_of(ana.client.get(url, headers=HTMX))
    assert "<main" in text_of(ana.client.get(url))
    assert ana.client.get(url_of(guarded, "request_impact", row.pk, 2)).status_code == 404


def test_list__shows_what_waits_for_whom(guarded: Environment) -> None:
    ana, ben, viewer = person(), person(), person(Role.VIEWER)
    row = asked(guarded, ana)
    url, link = url_of(guarded, "request_list"), url_of(guarded, "request_detail", row.pk)

    def finds(who: Person, **filters: str) -> bool:
        return link in text_of(who.client.get(url, filters))

    waiting = [finds(who, state="waiting") for who in (ana, ben, viewer)]
    assert waiting == [False, True, False]
    assert finds(viewer)
    assert finds(ana, object=f"flag:{KEY}", author=ana.user.username[:4])
    assert not finds(ana, object=f"segment:{KEY}")
    assert not finds(ana, author="nobody")
    assert "wait" in text_of(ben.client.get(url_of(guarded, "overview")))
    assert "1 open change request touches this flag" in text_of(
        viewer.client.get(url_of(guarded, "flag_detail", KEY))
    )

    request_approve(row, actor=Actor.of_user(ben.user), fingerprint=row.fingerprint)
    waiting = [finds(who, state="waiting") for who in (ana, ben)]
    assert waiting == [True, False]
    request_apply(row, actor=Actor.of_user(ana.user), fingerprint=row.fingerprint)
    assert [finds(ana, state=state) for state in ("", "closed", "applied", "withdrawn")] == [
        False, True, True, False,
    ]  # fmt: skip
    assert "touches this flag" not in text_of(
        viewer.client.get(url_of(guarded, "flag_detail", KEY))
    )


def test_author__edits_in_the_editor_that_opens_with_the_request(guarded: Environment) -> None:
    ana = person()
    key = "new_tutorial"
    url = url_of(guarded, "flag_rollout", key, "beta")
    data = {"rollout": "12.5", "guard_act": "review", "reason": "A little"}
    assert ana.client.post(url, data).status_code == 302
    row = ChangeRequest.objects.get(environment=guarded)
    page = text_of(ana.client.get(url_of(guarded, "request_detail", row.pk)))
    assert f'action="{url_of(guarded, "flag_rules", key)}"' in page
    assert "&quot;rollout&quot;: 12500" in page
    request_withdraw(row, actor=Actor.of_user(ana.user))
    page = text_of(ana.client.get(url_of(guarded, "request_detail", row.pk)))
    assert "flag_rules" not in page
