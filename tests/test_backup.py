"""`manage.py backup` and `restore` with real servers."""

import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from django.conf import settings

from tests.api_client import EVENTS, HttpApi
from tests.external_postgres import External, external_postgres
from tests.homes import HANG_SECONDS, empty_home, wait_until
from tests.running import OURS, Serve, on_embedded_database, query
from tests.used_homes import UsedHomes

pytestmark = [pytest.mark.slow, on_embedded_database]

STRONG = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO"
BATCH = 50
IDS = "SELECT event_id FROM event"


class Sender(threading.Thread):
    """Sends batches of new events until `going` is false, and collects what was acknowledged."""

    def __init__(self, api: HttpApi, name: str) -> None:
        super().__init__(name=name)
        self.api, self.player = api, api.register(name)["id"]
        self.acknowledged: set[str] = set()
        self.going = True

    def run(self) -> None:
        number = 0
        while self.going:
            ids = {f"{self.name}-{n}" for n in range(number, number + BATCH)}
            number += BATCH
            events = [
                {"player_id": self.player, "event_name": "level_up", "event_id": event_id}
                for event_id in ids
            ]
            reply = self.api.post(f"{EVENTS}/batch", {"events": events})
            assert reply.data["accepted"] == BATCH
            self.acknowledged |= ids
            time.sleep(0.05)


def manage(*arguments: str, env: Mapping[str, str], code: int = 0) -> str:
    """The output of a command, or its error message if it must fail."""
    with OURS.start(
        *["manage.py", *arguments],
        folder=settings.BASE_DIR,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        output, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == code, errors
    return errors if code else output


@pytest.fixture
def external() -> Iterator[External]:
    with external_postgres() as server:
        yield server


def test_backup_while_events_arrive__has_every_event_acknowledged_before(
    tmp_path: Path, external: External, used_homes: UsedHomes
) -> None:
    file = str(tmp_path / "while-used.backup")
    with used_homes() as used, empty_home() as other:
        serve = Serve(used.home, "--workers", "1", printed=used.printed).ready()
        try:
            api = serve.api()
            senders = [Sender(api, f"s{n}") for n in range(2)]
            for sender in senders:
                sender.start()
            wait_until(lambda: all(len(sender.acknowledged) > 500 for sender in senders))
            before = set().union(*(sender.acknowledged for sender in senders))
            manage("backup", file, env={"ILARA_HOME": str(used.home)})
            for sender in senders:
                sender.going = False
                sender.join()
            after = set().union(*(sender.acknowledged for sender in senders))
            serve.stop()
        finally:
            serve.clean_up()

        # To another home.
        assert "as counted in the backup" in manage("restore", file, env={"ILARA_HOME": str(other)})
        # To a server of another version, and from there back in its own format.
        url = {"DATABASE_URL": external.create("game"), "SECRET_KEY": STRONG}
        assert "as counted in the backup" in manage("restore", file, env=url)
        back = str(tmp_path / "back.backup")
        manage("backup", back, env=url)
        in_external = {event_id for (event_id,) in external.query("game", IDS)}

        again = Serve(other, "--workers", "1").ready()
        try:
            restored = {event_id for (event_id,) in query(other, IDS)}
            assert before <= restored <= after
            assert len(before) < len(restored) < len(after), "no event arrived during the backup"
            assert in_external == restored
            # Keys, receipts and the sequence of events are those of the first home.
            key = HttpApi(again.address, api.token)
            old = {"player_id": senders[0].player, "event_name": "level_up", "event_id": "s0-0"}
            assert key.post(EVENTS, old).data["status"] == "duplicate"
            assert key.post(EVENTS, old | {"event_id": "new"}).data["status"] == "accepted"
            newest = query(other, "SELECT event_id FROM event ORDER BY id DESC LIMIT 1")
            assert newest == [("new",)]

            replace = ("restore", back, "--replace", "ilara")
            refusal = manage(*replace, env={"ILARA_HOME": str(other)}, code=1)
            assert "stop `serve`" in refusal
            again.stop()
        finally:
            again.clean_up()
        manage(*replace, env={"ILARA_HOME": str(other)})
