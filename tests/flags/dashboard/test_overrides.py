"""Overrides: precedence, expiry, and the dialog."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape

import msgspec
import pytest
from django.core.exceptions import ValidationError
from django.db.models import F
from django.test import Client

from flags import overrides, services
from flags.engine.document import Prerequisite
from flags.models import Flag, FlagOverride
from ilara_admin.core.changes import Conflict, undo
from ilara_admin.models import AuditAction, AuditEntry, Environment, Role
from players.erasure import player_delete
from players.models import Player
from tests.api_client import FLAGS, Api
from tests.factories import ACTOR, make_environment, make_player
from tests.pages import squeezed, text_of, url_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def flag(environment: Environment) -> Flag:
    return Flag.objects.get(environment=environment, key="new_tutorial")


def context(api: Api, player: Player) -> tuple[bool, str]:
    data = api.post(f"{FLAGS}/new_tutorial/evaluate", {"player_id": str(player.pk)}).data
    every = api.post(f"{FLAGS}/evaluate", {"player_id": str(player.pk)}).data["flags"]
    assert every["new_tutorial"] == data
    assert data["segment_id"] is None or data["reason"] == "segment_match"
    return data["value"], data["reason"]


def test_override__applies_at_once_to_this_player_only(
    flag: Flag, player: Player, public_api: Api, environment: Environment
) -> None:
    other = make_player(environment, "other")
    assert context(public_api, player) == (False, "default")
    overrides.override_set(flag, player, "enabled", actor=ACTOR, reason="Stuck at level 3")
    assert context(public_api, player) == (True, "override")
    assert context(public_api, other) == (False, "default")
    overrides.override_set(flag, player, "disabled", actor=ACTOR)
    assert context(public_api, player) == (False, "override")
    overrides.override_remove(flag, player, actor=ACTOR)
    assert context(public_api, player) == (False, "default")
    actions = AuditEntry.objects.filter(environment=environment, object_type="flag")
    assert [entry.action for entry in actions[:3]] == [
        AuditAction.FLAG_OVERRIDE_REMOVED,
        AuditAction.FLAG_OVERRIDDEN,
        AuditAction.FLAG_OVERRIDDEN,
    ]


def test_override__expires_by_the_database_clock(
    flag: Flag, player: Player, public_api: Api
) -> None:
    now = datetime.now(UTC)
    overrides.override_set(
        flag, player, "enabled", actor=ACTOR, expires_at=now + timedelta(hours=1)
    )
    assert context(public_api, player) == (True, "override")
    FlagOverride.objects.update(expires_at=now - timedelta(seconds=1))
    assert context(public_api, player) == (False, "default")


def test_override_of_a_flag_that_is_off__does_not_apply(
    flag: Flag, player: Player, public_api: Api
) -> None:
    overrides.override_set(flag, player, "enabled", actor=ACTOR)
    services.flag_set_enabled(flag, False, actor=ACTOR)
    assert context(public_api, player) == (False, "disabled")


def test_override_with_an_unknown_variant__is_refused(flag: Flag, player: Player) -> None:
    with pytest.raises(ValidationError, match="no variant"):
        overrides.override_set(flag, player, "purple", actor=ACTOR)


def test_support__sets_removes_and_undoes_overrides(
    flag: Flag, player: Player, public_api: Api, environment: Environment,
    staff_client: Callable[..., Client],
) -> None:  # fmt: skip
    client = staff_client(Role.SUPPORT)
    home = f"/{environment.project.slug}/{environment.slug}"
    url = f"{home}/flags/new_tutorial/players/{player.pk}/"
    assert client.get(url).status_code == 200
    client.post(url, {"variant": "enabled", "hours": "24", "reason": "Ticket 12"})
    assert context(public_api, player) == (True, "override")
    page = client.get(f"{home}/players/{player.pk}/").content.decode()
    assert "Set for this player by" in page
    assert "Expires" in page

    expiry = FlagOverride.objects.get().expires_at
    assert expiry
    client.post(url, {"variant": "*rules*", "hours": "0"})
    assert context(public_api, player) == (False, "default")
    entry = AuditEntry.objects.filter(action="flag.override_removed").get()
    client.post(f"{home}/audit/{entry.pk}/undo/")
    assert context(public_api, player) == (True, "override")
    assert FlagOverride.objects.get().expires_at == expiry


def test_overrides__are_on_the_page_of_the_flag_and_of_the_player(
    flag: Flag, player: Player, environment: Environment, staff_client: Callable[..., Client]
) -> None:
    client = staff_client(Role.VIEWER)
    page, all_of_it, of_player = (
        url_of(environment, "flag_detail", flag.key),
        url_of(environment, "flag_overrides", flag.key),
        url_of(environment, "player_detail", player.pk),
    )
    assert "Overrides" not in text_of(client.get(page))
    assert "No overrides" in text_of(client.get(all_of_it))
    now = datetime.now(UTC)
    gone = make_player(environment, "gone")
    overrides.override_set(flag, gone, "enabled", actor=ACTOR, expires_at=now - timedelta(hours=1))
    until = now + timedelta(hours=5)
    overrides.override_set(flag, player, "enabled", actor=ACTOR, expires_at=until)
    for url in (page, all_of_it):
        html = text_of(client.get(url))
        assert f"<bdi>{player.external_id}</bdi>" in html
        assert "in 5 h" in html
        assert "gone" not in html
    assert "1 player" in text_of(client.get(page))
    assert "do not act" not in text_of(client.get(page))

    by = "Set to enabled for this player by Ada"
    services.flag_set_enabled(flag, False, actor=ACTOR)
    assert "They do not act while the flag is off." in squeezed(text_of(client.get(page)))
    assert f"{by}, but it does not act while the flag is off." in text_of(client.get(of_player))
    services.flag_set_archived(flag, True, actor=ACTOR)
    assert "while the flag is archived." in squeezed(text_of(client.get(page)))
    html = text_of(client.get(of_player))
    assert f"{by}, but it does not act while the flag is archived." in html
    Flag.objects.filter(pk=flag.pk).update(document={"enabled": True}, archived_at=None)
    Environment.objects.update(config_version=F("config_version") + 1)
    assert f"{by}, but the flag cannot be read." in text_of(client.get(of_player))
    assert f"<bdi>{player.external_id}</bdi>" in text_of(client.get(page))


def test_override_that_cannot_act__says_why(
    flag: Flag, player: Player, environment: Environment, staff_client: Callable[..., Client]
) -> None:
    client = staff_client(Role.VIEWER)
    url = url_of(environment, "player_detail", player.pk)
    overrides.override_set(flag, player, "enabled", actor=ACTOR)
    FlagOverride.objects.update(variant="purple")
    assert "but it is ignored, as the flag has no such variant." in text_of(client.get(url))
    assert "No such variant any more" in text_of(
        client.get(url_of(environment, "flag_detail", flag.key))
    )
    FlagOverride.objects.update(variant="enabled")
    needing = msgspec.structs.replace(
        flag.spec, prerequisites=(Prerequisite("new-feature", ("enabled",)),)
    )
    services.flag_update(flag, document=needing, base_revision=1, actor=ACTOR)
    assert "but it does not act until new-feature allows it." in text_of(client.get(url))


def test_many_overrides__are_counted_and_paginated(
    flag: Flag, environment: Environment, staff_client: Callable[..., Client]
) -> None:
    client = staff_client(Role.VIEWER)
    FlagOverride.objects.bulk_create(
        FlagOverride(
            player_id=make_player(environment, f"p-{number}").pk,
            flag=flag,
            variant="enabled",
            author_name="Ada",
        )
        for number in range(60)
    )
    html = text_of(client.get(url_of(environment, "flag_detail", flag.key)))
    assert (html.count("<bdi>p-"), "All 60 overrides" in html) == (5, True)
    url = url_of(environment, "flag_overrides", flag.key)
    first = text_of(client.get(url))
    following = re.search(r'rel="next" href="[^"?]*(\?[^"]*)"', first)
    assert following
    second = text_of(client.get(url + unescape(following[1])))
    shown = [re.findall(r"<bdi>(p-\d+)", html) for html in (first, second)]
    assert [len(names) for names in shown] == [50, 10]
    assert len({*shown[0], *shown[1]}) == 60


def test_player_of_another_environment__is_not_found(
    player: Player, staff_client: Callable[..., Client]
) -> None:
    elsewhere = make_environment()
    home = f"/{elsewhere.project.slug}/{elsewhere.slug}"
    url = f"{home}/flags/new_tutorial/players/{player.pk}/"
    assert (
        staff_client(Role.ADMIN).post(url, {"variant": "enabled", "hours": "0"}).status_code == 404
    )


# --- Remove one, remove all -----------------------------------------------------------------------


def test_reason__is_shown_exported_and_restored(
    flag: Flag, player: Player, environment: Environment, staff_client: Callable[..., Client]
) -> None:
    client = staff_client(Role.SUPPORT)
    url = url_of(environment, "flag_override", flag.key, player.pk)
    client.post(url, {"variant": "enabled", "hours": "0", "reason": "Ticket 12"})
    assert FlagOverride.objects.get().reason == "Ticket 12"
    assert "“Ticket 12”" in text_of(client.get(url_of(environment, "flag_detail", flag.key)))
    overrides.override_remove(flag, player, actor=ACTOR)
    undo(AuditEntry.objects.all()[0], actor=ACTOR)
    assert FlagOverride.objects.get().reason == "Ticket 12"


def test_support__removes_one_override_on_the_page_of_the_flag(
    flag: Flag, player: Player, environment: Environment, staff_client: Callable[..., Client]
) -> None:
    client, viewer = staff_client(Role.SUPPORT), staff_client(Role.VIEWER)
    overrides.override_set(flag, player, "enabled", actor=ACTOR)
    page = url_of(environment, "flag_detail", flag.key)
    url = url_of(environment, "flag_override_remove", flag.key, player.pk)
    assert url in text_of(client.get(page))
    assert url not in text_of(viewer.get(page))
    assert "the rules decide" in text_of(client.get(url))
    response = client.post(url, {"reason": "Done"})
    assert response.headers["Location"] == page
    assert not FlagOverride.objects.exists()
    assert AuditEntry.objects.all()[0].reason == "Done"
    assert client.post(url).status_code == 302, "there is nothing left to remove"


def test_all_overrides__are_removed_after_a_review_and_restored_by_one_undo(
    flag: Flag, player: Player, public_api: Api, environment: Environment,
    staff_client: Callable[..., Client],
) -> None:  # fmt: skip
    client = staff_client(Role.LIVE_OPS)
    until = datetime.now(UTC) + timedelta(hours=3)
    other = make_player(environment, "other")
    overrides.override_set(flag, player, "enabled", actor=ACTOR, reason="A", expires_at=until)
    overrides.override_set(flag, other, "disabled", actor=ACTOR)
    before = sorted(FlagOverride.objects.values_list(*COLUMNS))
    url = url_of(environment, "flag_overrides_clear", flag.key)
    review = text_of(client.get(url))
    assert "The rules decide for 2 players" in review
    assert "One undo sets them again." in review
    client.post(url, {"reason": "The test is over"})
    assert not FlagOverride.objects.exists()
    assert context(public_api, player) == (False, "default")
    entry = AuditEntry.objects.all()[0]
    assert entry.reason == "The test is over"
    assert "other: disabled, player_123: enabled" in text_of(
        client.get(url_of(environment, "audit_list"))
    )
    undone = undo(entry, actor=ACTOR)
    assert sorted(FlagOverride.objects.values_list(*COLUMNS)) == before
    assert context(public_api, player) == (True, "override")
    assert undone
    undo(undone, actor=ACTOR)
    assert not FlagOverride.objects.exists()


COLUMNS = ("player_id", "variant", "expires_at", "author_name", "reason", "created_at")


def test_undo_of_a_removal_of_all__conflicts_with_an_override_set_since(
    flag: Flag, player: Player
) -> None:
    overrides.override_set(flag, player, "enabled", actor=ACTOR)
    entry = overrides.overrides_clear(flag, actor=ACTOR)
    assert entry
    overrides.override_set(flag, player, "disabled", actor=ACTOR)
    with pytest.raises(Conflict):
        undo(entry, actor=ACTOR)
    assert FlagOverride.objects.get().variant == "disabled"


def test_undo_of_a_removal_of_all__leaves_out_an_erased_player(
    flag: Flag, player: Player, environment: Environment
) -> None:
    erased = make_player(environment, "guest-4711")
    for each in (player, erased):
        overrides.override_set(flag, each, "enabled", actor=ACTOR)
    entry = overrides.overrides_clear(flag, actor=ACTOR)
    assert entry
    player_delete(erased, actor=ACTOR)
    entry.refresh_from_db()
    undo(entry, actor=ACTOR)
    assert FlagOverride.objects.get().player_id == player.pk


def test_removal_of_more_overrides_than_are_kept__says_so_and_is_permanent(
    flag: Flag, environment: Environment, staff_client: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for module in ("flags.overrides", "flags.dashboard.overrides"):
        monkeypatch.setattr(f"{module}.MAX_KEPT", 2)
    for number in range(3):
        player = make_player(environment, f"p-{number}")
        overrides.override_set(flag, player, "enabled", actor=ACTOR)
    client = staff_client(Role.LIVE_OPS)
    url = url_of(environment, "flag_overrides_clear", flag.key)
    assert "This cannot be undone" in text_of(client.get(url))
    client.post(url)
    entry = AuditEntry.objects.all()[0]
    assert (entry.before, entry.after) == ({"overrides": 3}, {"overrides": []})
    with pytest.raises(ValidationError, match="are not kept"):
        undo(entry, actor=ACTOR)
    assert "3 players" in text_of(client.get(url_of(environment, "audit_list")))
    assert overrides.overrides_clear(flag, actor=ACTOR) is None
    assert "It has no overrides." in text_of(client.get(url))
