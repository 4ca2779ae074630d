"""The page that asks for what the guard of an environment needs, whichever way a change is made."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from flags.models import Flag
from flags.services import flag_set_enabled
from ilara_admin.core.audit import Actor
from ilara_admin.core.change_requests import request_apply, request_approve
from ilara_admin.core.freezes import freeze_create, freeze_delete
from ilara_admin.core.guard import GuardRequired
from ilara_admin.core.projects import environment_update
from ilara_admin.models import ApiKey, AuditAction, AuditEntry, ChangeRequest, Environment, Role
from segments.models import Segment, SegmentListChange
from tests.factories import ACTOR, World

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

type ClientOf = Callable[[Role], Client]
HTMX = {"HX-Request": "true"}


def guard(environment: Environment, **needs: list[str]) -> None:
    settings = {f"guard_{name}": sorted(acts) for name, acts in needs.items()}
    environment_update(environment, settings, actor=Actor.of_command("test"))


def freeze(environment: Environment) -> None:
    now = datetime.now(UTC)
    end = now + timedelta(days=1)
    freeze_create(environment, starts_at=now, ends_at=end, reason="Cup", actor=ACTOR)


def url(world: World, path: str) -> str:
    environment = world.environment
    return f"/{environment.project.slug}/{environment.slug}/{path}"


def flag(world: World, key: str = "new-feature") -> Flag:
    return Flag.objects.get(environment=world.environment, key=key)


def newest() -> AuditEntry:
    return AuditEntry.objects.all()[0]


def hidden(page: str) -> dict[str, str]:
    """The fields that the page posts again."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
    return {name: value for name, value in found if name != "csrfmiddlewaretoken"}


ON = "flags/new-feature/turn-on/"


def test_without_a_guard__nothing_is_asked(world: World, client_of: ClientOf) -> None:
    assert client_of(Role.LIVE_OPS).post(url(world, ON)).status_code == 302
    assert flag(world).enabled
    assert not newest().break_glass


def test_reason__is_asked_for_once_and_stored(world: World, client_of: ClientOf) -> None:
    guard(world.environment, reason=["turn_on"])
    client = client_of(Role.LIVE_OPS)
    asked = client.post(url(world, ON))
    assert asked.status_code == 422
    assert "<strong>Nothing was changed yet.</strong> Live is guarded: turning flags on need" in (
        asked.text
    )
    assert "State" in asked.text
    assert not flag(world).enabled
    again = client.post(url(world, ON), {"guard_act": "go", "reason": " "})
    assert "Give a reason." in again.text
    done = client.post(url(world, ON), {"guard_act": "go", "reason": "Launch"}, follow=True)
    assert "new-feature is on" in done.text
    assert newest().reason == "Launch"


def test_name__must_be_typed(world: World, client_of: ClientOf) -> None:
    guard(world.environment, name=["turn_on"])
    client = client_of(Role.LIVE_OPS)
    wrong = client.post(url(world, ON), {"guard_act": "go", "guard_name": "test"})
    assert "The name does not match. Type live." in wrong.text
    assert not flag(world).enabled
    client.post(url(world, ON), {"guard_act": "go", "guard_name": "live"})
    assert flag(world).enabled


def test_turning_off__never_waits(world: World, client_of: ClientOf) -> None:
    flag_set_enabled(flag(world), True, actor=ACTOR)
    guard(world.environment, approval=["rules", "turn_on"])
    freeze(world.environment)
    client = client_of(Role.LIVE_OPS)
    assert client.post(url(world, "flags/new-feature/turn-off/")).status_code == 302
    assert not flag(world).enabled
    # The undo turns it on, and the undo of that is free again.
    undo = url(world, f"audit/{newest().pk}/undo/")
    assert "Live is frozen until" in client.post(undo).text
    assert client.post(url(world, "flags/new-feature/archive/")).status_code == 302


def test_second_person__gets_a_request(world: World, client_of: ClientOf) -> None:
    guard(world.environment, approval=["turn_on"])
    client = client_of(Role.LIVE_OPS)
    asked = client.post(url(world, ON), {"reason": "Launch"})
    assert "Request review" in asked.text
    assert "Break glass" not in asked.text
    assert client.post(url(world, ON), {"guard_act": "go", "reason": "x"}).status_code == 422
    sent = client.post(url(world, ON), {"guard_act": "review", "reason": "Launch"})
    request = ChangeRequest.objects.latest("id")
    assert sent["Location"] == url(world, f"requests/{request.pk}/")
    assert (request.title, request.reason) == ("Turn on new-feature", "Launch")
    assert not flag(world).enabled
    # The same author changes their mind.
    again = client.post(url(world, "flags/new-feature/turn-on/"))
    assert f"Update request {request.pk}" in again.text
    bo = Actor.of_user(world.members[Role.ADMIN])
    approved = request_approve(request, actor=bo, fingerprint=request.fingerprint)
    request_apply(approved, actor=bo, fingerprint=request.fingerprint)
    assert flag(world).enabled
    entry = newest()
    assert (entry.change_request, entry.reason, entry.break_glass) == (request, "Launch", False)


def test_break_glass__is_for_admins_and_marked(world: World, client_of: ClientOf) -> None:
    guard(world.environment, approval=["turn_on"])
    broken = {"break_glass": "1", "reason": "Down"}
    assert client_of(Role.LIVE_OPS).post(url(world, ON), broken).status_code == 403
    client = client_of(Role.ADMIN)
    assert "Give a reason to break glass." in client.post(url(world, ON), {"break_glass": "1"}).text
    assert client.post(url(world, ON), broken).status_code == 302
    assert flag(world).enabled
    assert (newest().break_glass, newest().reason) == (True, "Down")


def test_break_glass__without_need__is_not_marked(world: World, client_of: ClientOf) -> None:
    client_of(Role.ADMIN).post(url(world, ON), {"break_glass": "1", "reason": "x"})
    assert flag(world).enabled
    assert not newest().break_glass


def test_freeze__refuses_all_but_break_glass(world: World, client_of: ClientOf) -> None:
    freeze(world.environment)
    asked = client_of(Role.LIVE_OPS).post(url(world, ON), {"guard_act": "go", "reason": "x"})
    assert "Live is frozen until" in asked.text
    assert "Cup" in asked.text
    assert "Continue" not in asked.text
    assert "Only an admin can make this change now." in asked.text
    client = client_of(Role.ADMIN)
    assert client.post(url(world, ON), {"break_glass": "1", "reason": "Down"}).status_code == 302
    assert newest().break_glass
    window = world.environment.freeze_windows.earliest("starts_at")
    with pytest.raises(GuardRequired, match="live is frozen"):
        freeze_delete(window, actor=ACTOR)


def test_htmx__gets_a_dialog_wherever_it_posted(world: World, client_of: ClientOf) -> None:
    guard(world.environment, reason=["turn_on"])
    asked = client_of(Role.LIVE_OPS).post(url(world, ON), headers=HTMX)
    assert (asked.status_code, asked["HX-Retarget"]) == (422, "#dialog")
    assert "<html" not in asked.text
    assert f'hx-post="{url(world, ON)}"' in asked.text


def test_page__leaves_no_toast_and_no_session_behind(world: World, client_of: ClientOf) -> None:
    guard(world.environment, reason=["turn_on", "keys"])
    client = client_of(Role.ADMIN)
    assert "is on. Players see it" not in client.post(url(world, ON)).text
    form = {"name": "iOS", "kind": "public", "expires": ""}
    asked = client.post(url(world, "keys/new/"), form)
    assert hidden(asked.text).items() >= form.items()
    number = ApiKey.objects.count()
    issued = client.post(
        url(world, "keys/new/"), {**hidden(asked.text), "guard_act": "go", "reason": "New build"}
    )
    assert "pk_live_" in issued.text
    assert ApiKey.objects.count() == number + 1
    assert newest().reason == "New build"


def test_error_of_the_form__comes_first(world: World, client_of: ClientOf) -> None:
    guard(world.environment, approval=["settings"])
    response = client_of(Role.ADMIN).post(url(world, "settings/edit/"), {"new_days": "0"})
    assert response.status_code == 422
    assert "is guarded" not in response.text


def test_guard_settings__are_changed_under_the_old_ones(world: World) -> None:
    guard(world.environment, approval=["settings"])
    with pytest.raises(GuardRequired, match="a second person"):
        environment_update(world.environment, {"guard_approval": []}, actor=ACTOR)


def test_file__must_be_chosen_again(world: World, client_of: ClientOf) -> None:
    guard(world.environment, reason=["lists"])
    client, path = client_of(Role.LIVE_OPS), url(world, "segments/beta-testers/lists/import/")

    def file() -> SimpleUploadedFile:
        return SimpleUploadedFile("vips.csv", b"external_id\na\nb\n")

    asked = client.post(path, {"file": file()})
    assert "Choose vips.csv again" in asked.text
    assert not SegmentListChange.objects.filter(segment__environment=world.environment).exists()
    assert client.post(path, {"file": file(), "reason": "VIPs"}).status_code == 302
    assert newest().action == AuditAction.SEGMENT_LIST_CHANGED
    segment = Segment.objects.get(environment=world.environment, key="beta-testers")
    assert segment.included == 2
    guard(world.environment, approval=["lists"])
    refused = client.post(path, {"file": file(), "reason": "VIPs"})
    assert "A file cannot wait for a review." in refused.text
    assert "Request review" not in refused.text


def test_list__is_applied_from_a_request(world: World, client_of: ClientOf) -> None:
    guard(world.environment, approval=["lists"])
    path = url(world, "segments/beta-testers/lists/add/")
    ids = [f"p{number}" for number in range(30)]
    sent: dict[str, Any] = {"ids": "\n".join(ids), "guard_act": "review", "reason": "VIPs"}
    assert client_of(Role.LIVE_OPS).post(path, sent).status_code == 302
    assert not SegmentListChange.objects.filter(segment__environment=world.environment).exists()
    request = ChangeRequest.objects.latest("id")
    bo = Actor.of_user(world.members[Role.ADMIN])
    request_approve(request, actor=bo, fingerprint=request.fingerprint)
    request_apply(request, actor=bo, fingerprint=request.fingerprint)
    segment = Segment.objects.get(environment=world.environment, key="beta-testers")
    assert segment.included == 30
    assert newest().change_request == request


def test_command__counts_as_break_glass(world: World) -> None:
    guard(world.environment, approval=["turn_on"])
    flag_set_enabled(flag(world), True, actor=Actor.of_command("import_config"))
    assert newest().break_glass
    assert newest().reason == ""


def test_guard_of_a_rollout__never_waits(world: World) -> None:
    guard(world.environment, approval=["turn_on"])
    flag_set_enabled(flag(world), True, actor=Actor.of_guard("Crash rate"))
    assert not newest().break_glass
