"""The guard of an environment and its freeze windows, under Settings."""

from datetime import UTC, datetime, timedelta

from django.test import Client

from ilara_admin.core.freezes import freeze_create
from ilara_admin.core.guard import Act
from ilara_admin.models import Environment, FreezeWindow, Role
from ilara_admin.pages.guard_settings import ACTS, RECOMMENDED, guard_fields, guard_rows
from tests.factories import ACTOR
from tests.form_fields import fields_of
from tests.pages import message_of, signed_in, text_of, url_of


def test_matrix__has_every_act_once() -> None:
    assert set(ACTS) == set(Act)
    rows = guard_rows(RECOMMENDED)
    assert [box.name for box in rows[0].boxes] == list(RECOMMENDED)
    checked = {(box.name, box.value) for row in rows for box in row.boxes if box.checked}
    assert checked == {(name, act) for name, acts in RECOMMENDED.items() for act in acts}


def test_guard__is_saved_with_undo_and_read_by_viewers(environment: Environment) -> None:
    admin, viewer = signed_in(), signed_in(Role.VIEWER)
    settings, url = (url_of(environment, name) for name in ("environment_settings", "guard_edit"))
    assert "Nothing is guarded" in text_of(viewer.get(settings))
    assert viewer.get(url).status_code == 403
    recommended = fields_of(text_of(admin.get(url, {"recommended": "1"})), "guard")
    assert {name: sorted(recommended[name]) for name in RECOMMENDED} == RECOMMENDED
    data = {"guard_reason": ["turn_on", "keys"], "guard_approval": ["turn_on"], "reason": "Players"}
    assert "saved" in message_of(admin.post(url, data))
    environment.refresh_from_db()
    assert guard_fields(environment) == {
        "guard_reason": ["keys", "turn_on"], "guard_name": [], "guard_approval": ["turn_on"],
    }  # fmt: skip
    page = text_of(viewer.get(settings))
    assert (page.count("Needed</span>"), 'type="checkbox" name="guard' in page) == (3, False)
    assert admin.post(url, {"guard_name": ["fly"]}).status_code == 422


def test_guard_edited_by_two__is_a_conflict(environment: Environment) -> None:
    admin, url = signed_in(), url_of(environment, "guard_edit")
    seen = fields_of(text_of(admin.get(url)), "guard")["seen"]
    assert admin.post(url, {"guard_reason": ["keys"]}).status_code == 302
    response = admin.post(url, {"guard_reason": ["lists"], "seen": seen})
    assert response.status_code == 409


def test_freeze__is_planned_edited_shown_and_deleted(environment: Environment) -> None:
    admin, viewer = signed_in(), signed_in(Role.VIEWER)
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    data = {
        "starts_at": f"{start:%Y-%m-%dT%H:%M}",
        "ends_at": f"{start + timedelta(days=2):%Y-%m-%dT%H:%M}",
        "shown": "Christmas sale",
    }
    assert "planned" in message_of(admin.post(url_of(environment, "freeze_new"), data))
    window = FreezeWindow.objects.get(environment=environment)
    banner = "Changes will be frozen"
    for name in ("overview", "flag_list", "environment_settings"):
        page = text_of(viewer.get(url_of(environment, name)))
        assert (banner in page, "Christmas sale" in page) == (True, True)
    edit = url_of(environment, "freeze_edit", window.pk)
    assert "Christmas sale" in text_of(admin.get(edit))
    wrong = admin.post(edit, {**data, "ends_at": data["starts_at"]})
    assert "The end must come after the start." in text_of(wrong)
    assert admin.post(edit, {**data, "shown": "Winter sale"}).status_code == 302
    delete = url_of(environment, "freeze_delete", window.pk)
    assert "Winter sale" in text_of(admin.get(delete))
    assert (viewer.get(edit).status_code, viewer.post(delete).status_code) == (403, 403)
    assert admin.post(delete).status_code == 302
    assert banner not in text_of(viewer.get(url_of(environment, "overview")))


def test_active_freeze__stops_changes_but_not_turning_off(environment: Environment) -> None:
    now = datetime.now(UTC)
    freeze_create(
        environment,
        starts_at=now - timedelta(hours=1),
        ends_at=now + timedelta(days=1),
        reason="Sale",
        actor=ACTOR,
    )
    client: Client = signed_in(Role.LIVE_OPS)
    assert "Changes are frozen until" in text_of(client.get(url_of(environment, "overview")))
    url = url_of(environment, "flag_switch", "new-feature", "on")
    assert client.post(url, {"reason": "Now"}).status_code == 422
    url = url_of(environment, "flag_switch", "new-feature", "off")
    assert client.post(url).status_code == 302
