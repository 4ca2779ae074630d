"""Which kinds of clients evaluate a flag."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection

from flags import clients_seen, usage
from flags.clients_seen import MAX_CLIENTS
from flags.models import Flag, FlagClient
from ilara_admin.core.client_name import client_name
from ilara_admin.models import Environment
from players.models import Player
from tests.api_client import FLAGS, Api


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("ilara-python/0.1.0", "ilara-python/0.1.0"),
        ("ilara-go/1.2", "ilara-go/1.2"),
        ("UnityPlayer/2022.3.10f1 (UnityWebRequest/1.0, libcurl/7.84.0-DEV)",
         "UnityPlayer/2022.3.10f1"),
        ("MyGame/123 CFNetwork/1490.0.4 Darwin/23.2.0", "MyGame/123"),
        ("Dalvik/2.1.0 (Linux; U; Android 13; Pixel 8 Build/TQ3A)", "Dalvik/2.1.0"),
        ("MyGame/++UE5+Release-5.3-CL-29 Windows/10.0", "MyGame"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
         "Chrome/131.0.0.0 Safari/537.36", "Chrome/131"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36 "
         "Edg/131.0.2903.70", "Edge/131"),
        ("Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Version/17.1 Safari/605.1.15", "Safari/17"),
        ("Mozilla/5.0 (X11; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox/133"),
        ("Mozilla/4.0", "a browser"),
        ("", "unknown"), ("  ", "unknown"),
        ("game/v2.0-beta1", "game/v2.0-beta1"),
        # What might be a person or a device does not pass.
        ("game/550e8400-e29b-41d4-a716-446655440000", "game"),
        ("game/1.2 (player 17; ada@example.com)", "game/1.2"),
        ("ada@example.com", "other clients"),
        ("game/ada@example.com", "game"),
        ("550e8400-e29b-41d4-a716-446655440000", "other clients"),
        ("g" * 9_000, "other clients"), ("game/" + "1" * 9_000, "game"),
        ("\x00\xff", "other clients"),
    ],
)  # fmt: skip
def test_client_name__is_short_and_names_nobody(sent: str, name: str) -> None:
    assert client_name(sent) == name


def clients(key: str = "new_tutorial") -> dict[str, int]:
    usage.flush()
    return dict(FlagClient.objects.filter(flag__key=key).values_list("client", "count"))


def test_single_evaluations__count_by_client(
    public_api: Api, environment: Environment, player: Player
) -> None:
    body, context = {"player_id": str(player.pk)}, {"targetingKey": player.external_id}
    one = f"{FLAGS}/new_tutorial/evaluate"
    for agent in ("ilara-go/1.1", "ilara-go/1.1", "game/3"):
        public_api.post(one, body, **{"User-Agent": agent})
    public_api.post(
        "/ofrep/v1/evaluate/flags/new_tutorial", {"context": context},
        **{"User-Agent": "openfeature/2.0"},
    )  # fmt: skip
    public_api.post(f"{FLAGS}/evaluate", body, **{"User-Agent": "bulk/1"})
    found = clients()
    assert found == {"ilara-go/1.1": 2, "game/3": 1, "openfeature/2.0": 1}
    public_api.post(one, body, **{"User-Agent": "game/3"})
    assert clients()["game/3"] == 2


def test_archived_flag__counts_who_still_asks(
    public_api: Api, environment: Environment, player: Player
) -> None:
    Flag.objects.filter(key="new_tutorial").update(archived_at=datetime.now(UTC))
    body = {"player_id": str(player.pk)}
    agent = {"User-Agent": "old-game/1"}
    public_api.post(f"{FLAGS}/new_tutorial/evaluate", body, **agent)
    assert clients() == {"old-game/1": 1}


def test_number_of_clients__is_bounded_in_memory_and_in_the_table(
    environment: Environment,
) -> None:
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    for round in range(3):
        for number in range(2 * MAX_CLIENTS):
            clients_seen.note(flag.pk, f"game{round}/{number}")
        found = clients()
        assert len(found) == MAX_CLIENTS
    assert found["other clients"] == 3 * MAX_CLIENTS


def test_failed_write__loses_no_counts(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OperationalError

    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    clients_seen.note(flag.pk, "game/1")
    with monkeypatch.context() as patched:
        patched.setattr(connection, "cursor", fail)
        usage.flush_quietly()
    clients_seen.note(flag.pk, "game/1")
    clients_seen.note(2_000_000_000, "of a deleted flag/1")
    assert clients() == {"game/1": 2}


def test_old_clients__are_deleted(environment: Environment) -> None:
    flag, now = Flag.objects.get(environment=environment, key="new_tutorial"), datetime.now(UTC)
    for days in (1, 91):
        FlagClient.objects.create(
            flag=flag, client=f"game/{days}", count=1, last_at=now - timedelta(days=days)
        )
    assert clients_seen.clients_forget(now) == 1
    assert clients() == {"game/1": 1}
