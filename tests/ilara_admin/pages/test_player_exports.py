"""Exports of the list of players."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from ilara_admin.models import AuditEntry, Environment, Role, SavedView
from ilara_admin.pages.player_export_job import export_run, keep_going
from players import exports
from players.erasure import player_delete
from players.models import Player, PlayerExport, PlayerExportChunk
from segments import player_search
from tests.factories import ACTOR, make_player, make_staff
from tests.pages import message_of, text_of, url_of

NAMES = ["ada", "bob", "=cyd", "dee", "eve"]


@pytest.fixture
def players(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> list[Player]:
    monkeypatch.setattr(player_search, "CHUNK_SIZE", 2)
    return [
        make_player(
            environment, name, email=f"{name}@example.com",
            attributes={"level": number, "nick": f"Nick of {name}"},
        )
        for number, name in enumerate(NAMES)
    ]  # fmt: skip


def no_check() -> None:
    pass


def client_of(role: Role) -> Client:
    client = Client()
    client.force_login(make_staff(role))
    return client


def start(client: Client, environment: Environment, back: str = "", **data: Any) -> PlayerExport:
    data = data or {"all": "1"}
    response = client.post(url_of(environment, "player_export_start"), {"back": back, **data})
    assert response["Location"] == url_of(environment, "player_exports"), message_of(response)
    export = PlayerExport.objects.latest("id")
    assert ProcrastinateJob.objects.filter(
        queueing_lock=f"players.export.{export.pk}", status="todo"
    ).exists()
    return export


def download(client: Client, export: PlayerExport) -> list[list[str]]:
    url = url_of(export.environment, "player_export_download", export.pk)
    response = client.get(url)
    assert response.status_code == 200
    text = response.getvalue().decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


def test_export__has_all_matching_players_with_the_columns(
    players: list[Player], environment: Environment
) -> None:
    client = client_of(Role.SUPPORT)
    back = "attribute=level&test=least&value=1&columns=.level,email&sort=-seen"
    export = start(client, environment, back)
    assert "Looked at 0 players" in text_of(client.get(url_of(environment, "player_exports")))
    export_run(export.pk, no_check)
    assert download(client, export) == [
        ["player_id", "external_id", "level", "email"],
        *[
            [str(each.pk), name, str(each.attributes["level"]), email]
            for each, name, email in (
                (players[2], "'=cyd", "'=cyd@example.com"),
                (players[1], "bob", "bob@example.com"),
                (players[3], "dee", "dee@example.com"),
                (players[4], "eve", "eve@example.com"),
            )
        ],
    ]
    entry = AuditEntry.objects.get(action="environment.players_exported")
    assert entry.after == {
        "players": 4, "columns": ["external_id", ".level", "email"], "masked": False,
        "filters": "level: is at least 1",
    }  # fmt: skip
    export_run(export.pk, no_check)  # a second run finds it done
    assert AuditEntry.objects.filter(action="environment.players_exported").count() == 1


def test_selected_players__are_exported_alone(
    players: list[Player], environment: Environment
) -> None:
    client = client_of(Role.VIEWER)
    chosen = [str(players[3].pk), str(players[0].pk), "made-up"]
    export = start(client, environment, "columns=.level", player=chosen)
    export_run(export.pk, no_check)
    assert [row[1] for row in download(client, export)[1:]] == ["dee", "ada"]


def test_killed_job__continues_and_writes_no_row_twice(
    players: list[Player], environment: Environment
) -> None:
    client = client_of(Role.VIEWER)
    export = start(client, environment)
    checks = iter([None, None])

    def kill() -> None:
        if next(checks, "stop") == "stop":
            raise SystemExit

    with pytest.raises(SystemExit):
        export_run(export.pk, kill)
    export.refresh_from_db()
    assert (export.done, export.rows, export.chunks) == (False, 4, 2)
    ProcrastinateJob.objects.all().delete()
    keep_going(export)
    assert not ProcrastinateJob.objects.exists()  # it may still run
    PlayerExport.objects.update(touched_at=timezone.now() - 2 * exports.DEAD)
    text_of(client.get(url_of(environment, "player_exports")))
    assert ProcrastinateJob.objects.count() == 1
    export_run(export.pk, no_check)
    assert [row[1] for row in download(client, export)[1:]] == ["'=cyd", "ada", "bob", "dee", "eve"]


def test_limit__is_stated(
    players: list[Player], environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ilara_admin.pages.player_export_job.MAX_ROWS", 3)
    client = client_of(Role.VIEWER)
    export = start(client, environment)
    export_run(export.pk, no_check)
    assert len(download(client, export)) == 4
    page = text_of(client.get(url_of(environment, "player_exports")))
    assert "It ends after 3 rows." in page


def test_role__decides_what_is_masked_also_at_the_download(
    players: list[Player], environment: Environment
) -> None:
    columns = "columns=email,.nick"
    Environment.objects.filter(pk=environment.pk).update(personal_attributes=["nick"])
    viewer, support = client_of(Role.VIEWER), client_of(Role.SUPPORT)
    masked, whole = start(viewer, environment, columns), start(support, environment, columns)
    for export in (masked, whole):
        export_run(export.pk, no_check)
    assert [row[2:] for row in download(viewer, masked)[2:3]] == [["a***@example.com", "N***"]]
    assert [row[2:] for row in download(support, whole)[2:3]] == [
        ["ada@example.com", "Nick of ada"]
    ]

    url = url_of(environment, "player_export_download", whole.pk)
    assert viewer.get(url).status_code == 404  # of another account
    whole.user.memberships.update(role=Role.VIEWER)
    refused = support.get(url)
    assert refused.status_code == 302
    assert "your role no longer shows" in message_of(refused)
    Environment.objects.filter(pk=environment.pk).update(personal_attributes=["level", "nick"])
    refused = viewer.get(url_of(environment, "player_export_download", masked.pk))
    assert "More attributes count as personal" in message_of(refused)


def test_erasure__deletes_the_exports_with_the_player_and_no_others(
    players: list[Player], environment: Environment
) -> None:
    client = client_of(Role.VIEWER)
    everyone = start(client, environment)
    others = start(client, environment, player=[str(each.pk) for each in players[1:]])
    for export in (everyone, others):
        export_run(export.pk, no_check)
    queued = start(client, environment, player=[str(players[0].pk)])
    named = start(client_of(Role.VIEWER), environment, "attribute=mail&value=ada%40example.com")
    SavedView.objects.create(
        user=make_staff(), project=environment.project, page="player_list", name="Hers",
        query="attribute=mail&value=ada%40example.com",
    )  # fmt: skip
    player_delete(players[0], actor=ACTOR)
    assert set(PlayerExport.objects.all()) == {others}
    assert set(PlayerExportChunk.objects.values_list("export", flat=True)) == {others.pk}
    for gone in (everyone, queued, named):
        export_run(gone.pk, no_check)  # a job that is queued finds nothing to do
    assert not SavedView.objects.exists()


def test_exports__are_deleted_after_a_day(players: list[Player], environment: Environment) -> None:
    client = client_of(Role.VIEWER)
    export = start(client, environment)
    export_run(export.pk, no_check)
    PlayerExport.objects.update(created_at=timezone.now() - exports.KEPT - timedelta(minutes=1))
    url = url_of(environment, "player_export_download", export.pk)
    assert client.get(url).status_code == 404
    assert exports.exports_forget() == 1
    assert not PlayerExportChunk.objects.exists()


def test_start__is_refused_with_a_reason(
    players: list[Player], environment: Environment, staff_client: Callable[..., Client]
) -> None:
    client, url = staff_client(Role.VIEWER), url_of(environment, "player_export_start")
    for data, reason in (
        ({}, "Select players"),
        ({"all": "1", "back": "attribute=level&test=least&value=x"}, "needs a number"),
        ({"player": [str(UUID(int=number)) for number in range(201)]}, "200 players at most"),
    ):
        assert reason in message_of(client.post(url, data))
    for _ in range(exports.MAX_RUNNING):
        client.post(url, {"all": "1"})
    assert "still running" in message_of(client.post(url, {"all": "1"}))
    assert PlayerExport.objects.count() == exports.MAX_RUNNING
