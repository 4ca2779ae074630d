"""The audit log."""

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from flags.models import Flag
from flags.overrides import override_set
from flags.services import flag_set_archived, flag_set_enabled, flag_update
from ilara_admin.core.api_keys import api_key_revoke
from ilara_admin.core.audit import Actor, request_id
from ilara_admin.core.diff import Change, differences
from ilara_admin.core.projects import project_update
from ilara_admin.core.staff import membership_set, staff_create, staff_update
from ilara_admin.models import AuditAction, AuditEntry, Environment, KeyKind, Role
from ilara_admin.pages.audit_log import AuditFilterForm
from ilara_admin.pages.audit_text import VERBS
from players.aliases import player_alias_link
from players.erasure import player_export
from players.schemas import PlayerPatch
from players.services import personal_data_seen, player_update
from segments.lists.services import ids_add
from segments.models import Segment
from segments.services import segment_create, segment_delete, segment_update
from tests.factories import (
    ACTOR,
    make_audited_environment,
    make_environment,
    make_key,
    make_player,
    make_staff,
)
from tests.pages import squeezed, text_of, url_of

type SignIn = Callable[..., Client]
RULE = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]}
HTMX = {"HX-Request": "true"}


@pytest.fixture
def environment(db: None) -> Environment:
    return make_audited_environment()


@pytest.fixture
def admin(staff_client: SignIn) -> Client:
    return staff_client()


def page(client: Client, environment: Environment, query: str = "", **headers: str) -> str:
    url = f"/{environment.project.slug}/{environment.slug}/audit/{query}"
    response = client.get(url, headers=headers)
    assert response.status_code == 200
    return squeezed(response.content.decode())


def sentences(html: str) -> list[str]:
    """The sentences of the entries, such as "Ada created the flag new-feature", in page order."""
    found = re.findall(r"<span>(<strong>.*?)</span>\s*<time", html, flags=re.S)
    return [" ".join(re.sub(r"<[^>]+>", "", each).split()) for each in found]


def test_every_action__has_a_verb() -> None:
    assert set(VERBS) == set(AuditAction)


def test_entries__are_sentences_newest_first(admin: Client, environment: Environment) -> None:
    key = make_key(environment).key
    flag_set_enabled(
        Flag.objects.get(environment=environment, key="new-feature"), True, actor=ACTOR
    )
    shown = sentences(page(admin, environment))
    assert shown[0] == "Ada turned on the flag new-feature"
    assert shown[1] == f"Ada issued the API key Test ({key.masked})"
    assert f"Ada created the project {environment.project.slug}" in shown


def test_entry__shows_reason_and_differences(admin: Client, environment: Environment) -> None:
    segment = Segment.objects.get(environment=environment)
    segment_update(
        segment, name="Testers", rule=RULE, description="", actor=Actor("<b>Bo"), reason="<i>why"
    )
    html = page(admin, environment, "?object=segment:beta-testers")
    assert sentences(html)[0] == "&lt;b&gt;Bo changed the segment beta-testers"
    assert "“&lt;i&gt;why”" in html
    assert "<del>Beta testers</del>" in html
    assert "<ins>Testers</ins>" in html
    assert "level is more than 1" in html


def test_flag_entry__has_the_labels_of_the_flags_history(
    admin: Client, environment: Environment
) -> None:
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    (rule,) = flag.spec.rules
    draft = flag.spec.with_rollout(rule.id, 40_000)
    _, entry = flag_update(flag, document=draft, base_revision=1, actor=ACTOR)
    assert entry
    history = squeezed(text_of(admin.get(url_of(environment, "flag_detail", flag.key))))
    undo = squeezed(text_of(admin.get(url_of(environment, "audit_undo", entry.pk))))
    for html in (page(admin, environment), history, undo):
        assert "40 % of beta-testers get enabled" in html
        assert f"rules.{rule.id}" not in html


def test_entries_of_other_environments__are_hidden(admin: Client, environment: Environment) -> None:
    sandbox = environment.project.environments.get(slug="test")
    make_key(sandbox, KeyKind.SECRET)
    make_environment()
    project_update(environment.project, name="Renamed", actor=ACTOR)
    shown = " ".join(sentences(page(admin, environment)))
    assert "sk_test_" not in shown
    assert shown.count("created the project") == 1
    assert "changed the project" in shown


def test_filters__narrow_the_log(admin: Client, environment: Environment) -> None:
    flag = Flag.objects.get(environment=environment, key="new-feature")
    flag_set_enabled(flag, True, actor=Actor("Bo"))
    assert sentences(page(admin, environment, "?actor=bo")) == ["Bo turned on the flag new-feature"]
    assert len(sentences(page(admin, environment, "?kind=segment"))) == 1
    assert len(sentences(page(admin, environment, "?object=flag:new-feature"))) == 2
    assert len(sentences(page(admin, environment, "?object=new-feature"))) == 2
    assert len(sentences(page(admin, environment, "?object=beta"))) == 1
    html = page(admin, environment, "?object=flag:nothing")
    assert "No changes match" in html
    assert "Remove filter Object: flag:nothing" in html


def test_player__is_found_by_id_and_by_external_id(admin: Client, environment: Environment) -> None:
    player = make_player(environment, "pia: 1")
    player_update(player, PlayerPatch(email="x"), actor=ACTOR)
    for wanted in (f"player:{player.pk}", "player:pia: 1", "pia: 1"):
        shown = sentences(page(admin, environment, f"?object={quote(wanted)}"))
        assert shown == ["Ada changed the player pia: 1"]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUPPORT])
def test_personal_data__is_masked_below_support(
    role: Role, staff_client: SignIn, environment: Environment
) -> None:
    player = make_player(environment, email="old@example.com", device_id="device-1")
    patch = PlayerPatch(email="new@example.com", device_id="device-2")
    player_update(player, patch, actor=ACTOR)
    client = staff_client(role)
    overview = client.get(f"/{environment.project.slug}/{environment.slug}/").content.decode()
    for html in (page(client, environment), overview):
        clear = role != Role.VIEWER
        assert ("old@example.com" in html) is clear
        assert ("new@example.com" in html) is clear
        assert ("device-1" in html) is clear
    assert ("n***@example.com" in page(client, environment)) is (role == Role.VIEWER)


def test_entries_about_staff__are_for_admins_of_the_project_and_for_owners(
    staff_client: SignIn, environment: Environment
) -> None:
    """Those about accounts are for owners only, as they belong to no project."""
    carla = staff_create(username="carla", password=None, actor=ACTOR)
    elsewhere = make_environment()
    for place, role in ((environment, Role.VIEWER), (elsewhere, Role.SUPPORT)):
        membership_set(carla, place.project, role, actor=ACTOR)
    created, *_ = AuditEntry.objects.filter(action="staff.created", object_name="carla")
    newer, older = AuditEntry.objects.filter(action="staff.membership_changed")
    for role, seen in (
        (Role.LIVE_OPS, []), (Role.ADMIN, [older]), (Role.OWNER, [created, older]),
    ):  # fmt: skip
        client = staff_client(role)
        html = page(client, environment)
        exported: Any = client.post(url_of(environment, "audit_export"), {"format": "jsonl"})
        ids = [json.loads(line)["id"] for line in exported.getvalue().splitlines()]
        for entry in (created, older, newer):
            url = url_of(environment, "audit_entry", entry.pk)
            assert (url in html) is (entry in seen)
            assert client.get(url).status_code == (200 if entry in seen else 404)
            undo_url = url_of(environment, "audit_undo", entry.pk)
            assert client.get(undo_url).status_code == (200 if entry in seen else 404)
            assert (entry.pk in ids) is (entry in seen)


def test_deleted_segment__has_no_link(admin: Client, environment: Environment) -> None:
    segment = segment_create(environment=environment, key="s", name="", rule=RULE, actor=ACTOR)
    segment_delete(segment, actor=ACTOR)
    html = page(admin, environment, "?object=segment:s")
    assert html.count("segments/s/") == 1  # in the entry of its creation


def test_pages__are_linked_as_fragments(admin: Client, environment: Environment) -> None:
    flag = Flag.objects.get(environment=environment, key="new-feature")
    for enabled in (True, False) * 30:
        flag_set_enabled(flag, enabled, actor=ACTOR)
    query = "?object=flag:new-feature"
    found = []
    while query:
        html = page(admin, environment, query, **HTMX)
        assert "<!doctype" not in html
        found += sentences(html)
        older = re.search(r'rel="next" href="[^"?]+([^"]+)"', html)
        query = older[1].replace("&amp;", "&") if older else ""
    assert len(found) == 61


def test_log__needs_as_many_queries_for_50_rows_as_for_one(
    admin: Client, environment: Environment
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(admin, environment)
        return len(captured)

    def create_segment(number: int) -> None:
        segment_create(environment=environment, key=f"s{number}", name="", rule=RULE, actor=ACTOR)

    create_segment(0)
    page(admin, environment)
    one = queries()
    for number in range(1, 50):
        create_segment(number)
    assert queries() == one


# --- Views, filters and files -------------------------------------------------------------------


def test_looks_and_exports__are_hidden_until_asked_for(
    admin: Client, environment: Environment
) -> None:
    player = make_player(environment, email="pia@example.com")
    personal_data_seen(player, actor=ACTOR)
    player_export(player, actor=ACTOR)
    player_update(player, PlayerPatch(email="x"), actor=ACTOR)
    seen, exported, changed = (
        f"Ada {verb} the player player_123"
        for verb in ("saw personal data of", "exported the data of", "changed")
    )
    query = "?object=player:player_123"
    for show, expected in (
        ("", [changed]),
        ("&show=seen", [seen]),
        ("&show=exports", [exported]),
        ("&show=all", [changed, exported, seen]),
        ("&kind=player.data_seen", [seen]),  # an action wins over the view that hides it
    ):
        assert sentences(page(admin, environment, query + show)) == expected


def test_filters_by_kind_of_actor_reason_and_day__are_exact(
    admin: Client, environment: Environment
) -> None:
    segment = Segment.objects.get(environment=environment)
    key = make_key(environment).key
    for actor, reason in (
        (Actor.of_user(make_staff(username="bo")), "Asked for in SUP-12, twice"),
        (Actor.of_key(key), "undone"),
        (Actor.of_command("import_config"), ""),
    ):
        name = f"By {actor.name}"
        segment_update(segment, name=name, rule=RULE, description="", actor=actor, reason=reason)
        segment.refresh_from_db()

    def who(query: str) -> list[str]:
        found = sentences(page(admin, environment, f"?kind=segment.updated&{query}"))
        return [each.partition(" changed")[0] for each in found]

    assert who("") == ["manage.py import_config", "Test", "bo"]
    assert who("by=staff") == ["bo"]
    assert who("by=key") == ["Test"]
    assert who("by=command") == ["manage.py import_config"]
    assert who("actor=IMPORT") == ["manage.py import_config"]
    assert who("reason=sup-12") == who("reason=twi") == who("reason=asked+twice") == ["bo"]
    assert who("reason=sup-13") == who("reason='") == []
    today = timezone.localdate()
    day = timedelta(days=1)
    assert len(who(f"since={today - day}&until={today + day}")) == 3
    assert who(f"since={today + 2 * day}") == who(f"until={today - 2 * day}") == []


def test_days__begin_in_the_persons_zone(environment: Environment, rf: RequestFactory) -> None:
    with timezone.override("Asia/Tokyo"):
        wanted = AuditFilterForm(rf.get("/", {"since": "2026-12-01", "until": "2026-12-01"})).wanted
    assert wanted.since == datetime(2026, 11, 30, 15, tzinfo=UTC)
    assert wanted.until == datetime(2026, 12, 1, 15, tzinfo=UTC)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUPPORT])
def test_files__are_masked_by_role_and_audited(
    role: Role, staff_client: SignIn, environment: Environment
) -> None:
    player = make_player(environment, email="old@example.com", attributes={"nick": "Secret"})
    Environment.objects.filter(pk=environment.pk).update(personal_attributes=["nick"])
    player_update(
        player,
        PlayerPatch(email="new@example.com", attributes={"nick": "Pia"}),
        actor=Actor("=1+1"),
        reason="=2",
    )
    player_alias_link(player, "guest_7", actor=ACTOR)
    client = staff_client(role)
    url = url_of(environment, "audit_export") + "?kind=player"
    files = {}
    for kind in ("csv", "jsonl"):
        response = client.post(url, {"format": kind})
        assert response["Content-Disposition"].endswith(f'.{kind}"')
        files[kind] = b"".join(response).decode()
        newest = AuditEntry.objects.all()[0]
        assert newest.action == AuditAction.ENVIRONMENT_AUDIT_EXPORTED
        assert newest.after == {"format": kind, "kind": "player"}
    for text in files.values():
        for secret in ("new@example.com", "Secret", "Pia", "guest_7"):
            assert (secret in text) is (role == Role.SUPPORT)
    rows = list(csv.DictReader(io.StringIO(files["csv"].removeprefix("\ufeff"))))
    assert [row["action"] for row in rows] == ["player.alias_linked", "player.updated"]
    assert (rows[1]["actor"], rows[1]["reason"]) == ("'=1+1", "'=2")
    assert rows[1]["at"].endswith("Z")
    documents = [json.loads(line) for line in files["jsonl"].splitlines()]
    assert [each["object"]["name"] for each in documents] == ["player_123"] * 2
    assert "_linked_at" not in documents[0]["after"]


def test_entry__has_a_page_with_both_sides_and_what_was_changed_with_it(
    admin: Client, environment: Environment
) -> None:
    request_id.set("bulk-2")
    for flag in Flag.objects.filter(environment=environment, archived_at=None):
        flag_set_archived(flag, True, actor=ACTOR)
    newest, *others = AuditEntry.objects.filter(request_id="bulk-2")
    url = url_of(environment, "audit_entry", newest.pk)
    assert url in page(admin, environment)
    words = squeezed(text_of(admin.get(url)))
    assert "<del>In use</del>" in words or "<ins>" in words
    assert url_of(environment, "flag_detail", newest.object_id) in words
    assert url_of(environment, "audit_undo_together", newest.pk) in words
    for other in others:
        assert url_of(environment, "audit_entry", other.pk) in words
    stored = text_of(admin.get(f"{url}?view=json"))
    assert "archived" in stored


def test_look_at_an_entry_with_personal_data__is_audited(
    staff_client: SignIn, environment: Environment
) -> None:
    player = make_player(environment)
    entry = player_update(player, PlayerPatch(email="new@example.com"), actor=ACTOR)
    assert entry
    url = url_of(environment, "audit_entry", entry.pk)
    looks = AuditEntry.objects.filter(action=AuditAction.PLAYER_DATA_SEEN)
    assert "new@example.com" not in text_of(staff_client(Role.VIEWER).get(url))
    assert not looks.exists()
    assert "new@example.com" in text_of(staff_client(Role.SUPPORT).get(url))
    assert looks.count() == 1


def test_id_that_is_linked_now__is_masked_for_viewers(
    staff_client: SignIn, environment: Environment
) -> None:
    segment = Segment.objects.get(environment=environment)
    ids_add(segment, ["guest_7", "player_9"], excluded=False, actor=ACTOR)
    player_alias_link(make_player(environment), "guest_7", actor=ACTOR)
    html = page(staff_client(Role.VIEWER), environment)
    assert "guest_7" not in html
    assert "player_9" in html
    assert "g***" in html
    assert "guest_7" in page(staff_client(Role.SUPPORT), environment)


# --- Undo ---------------------------------------------------------------------------------------


def test_undo__needs_the_role_of_the_change_that_it_makes(
    staff_client: SignIn, environment: Environment
) -> None:
    flag = Flag.objects.get(environment=environment, key="new-feature")
    player = make_player(environment)
    override_set(flag, player, "enabled", actor=ACTOR)
    segment_update(
        Segment.objects.get(environment=environment), name="New", rule=RULE, description="",
        actor=ACTOR,
    )  # fmt: skip
    project_update(environment.project, name="Renamed", actor=ACTOR)
    staff_update(make_staff(Role.OWNER), name="Bo", actor=ACTOR)
    membership_set(make_staff(), environment.project, Role.VIEWER, actor=ACTOR)
    for role, undoable in (
        (Role.SUPPORT, ["flag.overridden"]),
        (Role.LIVE_OPS, ["segment.updated"]),
        (Role.ADMIN, ["project.updated", "staff.membership_changed"]),
        (Role.OWNER, ["staff.updated"]),
    ):
        for entry in AuditEntry.objects.filter(action__in=undoable):
            url = url_of(environment, "audit_undo", entry.pk)
            for weaker in Role:
                client = staff_client(weaker)
                listed = url in page(client, environment, f"?kind={entry.action}")
                assert listed is (weaker.rank >= role.rank)
                if not listed:
                    assert client.get(url).status_code in (403, 404)
                    assert client.post(url).status_code in (403, 404)
            client = staff_client(role)
            assert client.get(url).status_code == 200
            response = client.post(url, {"reason": "A mistake"})
            assert response.status_code == 302
            assert AuditEntry.objects.all()[0].reason == "A mistake"
            [message] = get_messages(response.wsgi_request)
            assert message.extra_tags == url_of(
                environment, "audit_undo", AuditEntry.objects.all()[0].pk
            )


def test_entry_that_cannot_be_undone__says_why(admin: Client, environment: Environment) -> None:
    key = make_key(environment).key
    api_key_revoke(key, actor=ACTOR)
    sentence = "Revoking a key cannot be undone. Issue a new key instead."
    assert sentence in page(admin, environment)
    url = url_of(environment, "audit_undo", AuditEntry.objects.all()[0].pk)
    assert sentence in admin.get(url).content.decode()
    assert admin.post(url).status_code == 422


def test_entry_of_another_project__is_404(admin: Client, environment: Environment) -> None:
    elsewhere = make_environment()
    project_update(elsewhere.project, name="Renamed", actor=ACTOR)
    entry = AuditEntry.objects.all()[0]
    assert admin.post(url_of(environment, "audit_undo", entry.pk)).status_code == 404
    assert admin.post(url_of(elsewhere, "audit_undo", entry.pk)).status_code == 302


# --- Differences --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, [("a", "1", "true")]),
        ({"a": None}, {"a": ""}, [("a", "", "“”")]),
        ({"a": "x"}, {}, [("a", "x", "")]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [("a.c", "2", "3")]),
        ({"a": [1]}, {"a": [1, 2]}, [("a", "[1]", "[1, 2]")]),
        ({"a": {"b": 1}}, {}, [("a", '{"b": 1}', "")]),
        ({"a": [{"id": 1}]}, {"a": [{"id": 2}]}, [("a", '[{"id": 1}]', '[{"id": 2}]')]),
        ({"a": [{"id": "x"}] * 2}, {"a": []}, [("a", '[{"id": "x"}, {"id": "x"}]', "[]")]),
        (
            {"variants": [{"key": "a"}, {"key": "b"}]},
            {"variants": [{"key": "b"}, {"key": "a"}]},
            [("variants, order", "a, b", "b, a")],
        ),
    ],
)
def test_differences__are_listed_by_leaf(
    before: object, after: object, found: list[tuple[str, str, str]]
) -> None:
    assert differences(before, after) == [Change(*each) for each in found]


SLICES = [
    {"variant": "a", "start": 0, "end": 30_000},
    {"variant": "b", "start": 30_000, "end": 80_000},
    {"variant": "a", "start": 80_000, "end": 100_000},
]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (
            {"rules": [{"id": "r", "rollout": 10_000}]},
            {"rules": [{"id": "r", "rollout": 12_500}]},
            [("rules.r.rollout", "10 %", "12.5 %")],
        ),
        (
            {},
            {"rules": [{"id": "r", "segment": "testers", "variant": "on", "rollout": 5_000}]},
            [("rules.r", "", "5 % of testers get on")],
        ),
        (
            {"rules": [{"id": "r", "split": [{"variant": "a", "start": 0, "end": 100_000}]}]},
            {"rules": [{"id": "r", "split": SLICES}]},
            [("rules.r.split", "a 100 %", "a 50 %, b 50 %")],
        ),
        (
            {"variants": [{"key": "x", "value": 1}]},
            {"variants": [{"key": "x", "value": "1"}, {"key": "y", "value": True}]},
            [("variants.x.value", "1", '"1"'), ("variants.y", "", "true")],
        ),
        ({"rule": RULE}, {"rule": {}}, [("rule", "level is more than 1", "{}")]),
        ({"attributes": {"a": 1}}, {"attributes": {"a": "1"}}, [("attributes.a", "1", '"1"')]),
        ({"rollout": "x"}, {"rollout": [1]}, [("rollout", "x", "[1]")]),
        ({}, {"rules": [{"id": "r", "odd": 1}]}, [("rules.r", "", '{"id": "r", "odd": 1}')]),
    ],
)
def test_differences__are_described_as_on_the_pages(
    before: object, after: object, found: list[tuple[str, str, str]]
) -> None:
    assert differences(before, after) == [Change(*each) for each in found]


def test_changes_of_one_request__are_undone_together(
    admin: Client, environment: Environment
) -> None:
    request_id.set("bulk-1")
    flags = list(Flag.objects.filter(environment=environment, archived_at=None))
    assert len(flags) > 1
    for flag in flags:
        flag_set_archived(flag, True, actor=ACTOR)
    older = AuditEntry.objects.all()[len(flags) - 1]
    url = url_of(environment, "audit_undo_together", older.pk)
    assert url in page(admin, environment)

    shown = squeezed(admin.get(url).content.decode())
    assert f"Undo {len(flags)} changes" in shown
    for flag in flags:
        assert f"flag {flag.key}: Lists" in shown
    response = admin.post(url)
    assert not Flag.objects.filter(environment=environment).archived(True).exists()
    [toast] = get_messages(response.wsgi_request)
    assert "together" in toast.extra_tags

    admin.post(toast.extra_tags)  # again archived
    assert not Flag.objects.filter(environment=environment).archived(False).exists()
