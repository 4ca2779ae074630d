"""Events and streams survive kills of the server: no event is lost or duplicated."""

import time
from collections.abc import Mapping
from functools import partial

import pytest

from tests.clients.drivers import LANGUAGES, Driver, ending
from tests.homes import wait_until
from tests.running import Serve, killed_and_started_again, on_embedded_database, query
from tests.used_homes import UsedHomes

pytestmark = [pytest.mark.slow, on_embedded_database]

EVENTS = 2_000  # per client
PAUSE_SECONDS = 0.003
# Short waits, to keep the test fast.
OPTIONS = {"flush_at": 50, "flush_interval": 0.2, "timeout": 5}


def has_sent_all(driver: Driver) -> bool:
    return bool(driver.do("public", "flush") == 0)


def test_killed_server__loses_and_duplicates_no_event(
    command: Mapping[str, list[str]], used_homes: UsedHomes
) -> None:
    with used_homes() as used:
        home = used.home
        serve = Serve(home, "--workers", "2", printed=used.printed).ready()
        try:
            keys = {"public": serve.says("live public"), "secret": serve.says("live secret")}
            players = {name: serve.api().register(name)["id"] for name in LANGUAGES}
            drivers = {
                name: Driver(command[name], serve.address, keys, {"public": OPTIONS})
                for name in LANGUAGES
            }
            with ending(drivers):
                for name, driver in drivers.items():
                    driver.do("secret", "stream_start", name="all", after="0", event_name="step")
                    many = {"prefix": f"{name}-", "count": EVENTS, "pause": PAUSE_SECONDS}
                    args = {"player_id": players[name], **many}
                    driver.send({"as": "public", "call": "track_many", "args": args})
                wait_for_share(serve, 0.2)
                serve = killed_and_started_again(serve)
                wait_for_share(serve, 0.5)
                # As in a power cut, PostgreSQL is killed too.
                serve.kill_all()
                time.sleep(1)
                serve = Serve(home, "--workers", "2", port=serve.port).ready()
                for driver in drivers.values():
                    assert driver.outcome() == {"result": EVENTS}
                    wait_until(partial(has_sent_all, driver))
                    assert driver.do("public", "rejected") == []
                sent = sorted(f"{name}-{number}" for name in drivers for number in range(EVENTS))
                stored = query(home, "SELECT event_id FROM event WHERE name = 'step'")
                assert sorted(event_id for (event_id,) in stored) == sent
                for name, driver in drivers.items():
                    streamed = driver.do("secret", "stream_wait", name="all", count=len(sent))
                    assert sorted(streamed) == sent, name
                    assert driver.do("secret", "stream_stop", name="all")
            serve.stop()
        finally:
            serve.clean_up()


def wait_for_share(serve: Serve, share: float) -> None:
    """Wait until a share of the events is stored; each kill must hit events in flight."""

    def stored() -> int:
        ((count,),) = query(serve.home, "SELECT count(*) FROM event WHERE name = 'step'")
        return int(count)

    total = EVENTS * len(LANGUAGES)
    wait_until(lambda: stored() >= share * total)
    assert stored() < (share + 0.3) * total
