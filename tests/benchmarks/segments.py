"""Segments asked for one player, and for a million.

`uv run python -m tests.benchmarks.segments [players]`, on a throw-away PostgreSQL of its own.
"""

import io
import json
import sys
from statistics import median
from time import process_time
from typing import Any

from tests.benchmarks import database, timed

PLAYERS = 1_000_000
EVENTS = 1_000_000
SEGMENTS = 200
REQUESTS = 300
TRIES = 50

PLAYERS_SQL = """
    INSERT INTO player (id, environment_id, external_id, device_id, email, attributes,
        session_count, active_days, purchase_count, total_revenue, first_seen_at, last_seen_at,
        last_active_on, active_since)
    SELECT gen_random_uuid(), %(environment)s, 'player_' || n, md5(n::text),
        CASE WHEN random() < 0.4 THEN 'p' || n || '@example.com' END,
        jsonb_build_object(
            'level', (random() * 80)::int,
            'country', (ARRAY['US','GB','DE','FR','JP','BR','IN','KR','ES','IT'])[1 + n %% 10],
            'platform', (ARRAY['ios','android','pc'])[1 + (random() * 2)::int],
            'app_version', '1.' || (random() * 9)::int || '.' || (random() * 20)::int,
            'coins', round((random() * 10000)::numeric, 2),
            'is_vip', random() < 0.05,
            'guild', CASE WHEN random() < 0.5 THEN 'guild-' || (random() * 5000)::int END,
            'tags', (ARRAY['["a"]','["a","beta"]','[]','["whale","beta"]'])[1 + n %% 4]::jsonb,
            'tutorial_done_at', to_char(now() - random() * interval '200 days', 'YYYY-MM-DD'),
            'stats', jsonb_build_object('wins', (random() * 900)::int, 'losses', n %% 700)),
        (random() * 200)::int, 1 + (random() * 60)::int, (random() * random() * 9)::int,
        round((random() * random() * 90)::numeric, 2), seen - interval '90 days', seen, seen::date,
        seen - interval '90 days'
    FROM (SELECT n, now() - random() * interval '60 days' AS seen
          FROM generate_series(1, %(count)s) n) drawn"""
EVENTS_SQL = """
    INSERT INTO event (id, environment_id, player_id, event_id, name, properties, occurred_at,
        received_at)
    SELECT row_number() OVER (), %(environment)s, p.id, gen_random_uuid()::text,
        (ARRAY['level_complete','buy','login','death'])[1 + k %% 4],
        jsonb_build_object('stars', (random() * 3)::int, 'level', k), at, at
    FROM (SELECT id FROM player WHERE environment_id = %(environment)s LIMIT %(count)s / 10) p,
        generate_series(1, 10) k, LATERAL (SELECT now() - k * interval '1 minute' AS at) moment"""


def all_of(*conditions: tuple[str, str, Any] | dict[str, Any]) -> dict[str, Any]:
    written = [
        each
        if isinstance(each, dict)
        else dict(zip(("field", "operator", "value"), each, strict=True))
        for each in conditions
    ]
    return {"operator": "AND", "conditions": written}


FIVE = all_of(
    ("level", ">=", 20),
    ("country", "in", ["US", "GB", "DE", "FR"]),
    ("platform", "==", "ios"),
    ("coins", ">", 500),
    ("stats.wins", "<", 600),
)
FIVE_HEAVY = all_of(
    ("app_version", "semver_gte", "1.4.0"),
    ("tutorial_done_at", "after", "-90d"),
    ("tags", "contains", "beta"),
    ("guild", "starts_with", "guild-1"),
    ("platform", "!=", "pc"),
)
BUILT_IN = all_of(
    ("lifecycle_stage", "in", ["active", "at_risk"]),
    ("total_revenue", ">=", 10),
    ("risk_score", ">", 0.3),
    ("email_domain", "==", "example.com"),
    ("session_count", ">", 20),
)
PATTERN = all_of(("level", ">=", 70), ("email", "matches", r"^p\d*7@"))
WHERE = all_of(("stars", ">=", 2))
OFTEN = {"event": "level_complete", "operator": ">=", "value": 2, "within": "7d", "where": WHERE}
BEHAVIOUR = all_of(("level", ">=", 20), OFTEN)


def told(what: str, figure: str) -> None:
    print(f"{what:<52}{figure}", flush=True)


# --- One player -----------------------------------------------------------------------------------


def some_rule(number: int) -> dict[str, Any]:
    """Rules as staff make them: three conditions, of which kinds depends on the number."""
    version = ("app_version", "semver_gte", f"1.{number % 9}.0")
    kinds: list[tuple[str, str, Any] | dict[str, Any]] = [
        ("level", ">=", number % 80),
        ("country", "in", ["US", "GB", "DE", "FR"][: 1 + number % 4]),
        ("total_revenue", ">", number % 50),
        version,
        ("tags", "contains", "beta"),
        ("lifecycle_stage", "!=", "churned"),
        ("last_seen_at", "within_last", f"{1 + number % 30}d"),
        ("stats.wins", "<", number * 5),
        ("tutorial_done_at", "after", "-90d"),
        ("email", "ends_with", "@example.com"),
    ]
    if number % 20 == 7:
        kinds[number % 10] = {**OFTEN, "value": 1 + number % 2}
    if number % 10 == 3:
        kinds[(number + 1) % 10] = ("segment", "in", [f"s{number - 1}", f"s{number - 2}"])
    return all_of(*(kinds[(number + step) % 10] for step in range(3)))


def one_player(environment: Any, token: str, player_id: Any) -> None:
    from django.core.wsgi import get_wsgi_application
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from ilara_admin.api.environment_cache import at_version
    from ilara_admin.core.audit import Actor
    from segments.cache import SegmentRow, compile_segments
    from segments.models import Segment
    from segments.services import segment_create
    from segments.subject import stored_subject

    for number in range(SEGMENTS):
        segment_create(
            environment=environment, key=f"s{number}", name="", rule=some_rule(number),
            actor=Actor("benchmark"),
        )  # fmt: skip
    application = get_wsgi_application()

    def request(path: str) -> Any:
        environ = {
            "REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "x", "SERVER_PORT": "80",
            "wsgi.input": io.BytesIO(), "wsgi.url_scheme": "http", "HTTP_X_API_KEY": token,
        }  # fmt: skip
        response: Any = application(environ, lambda *_: bytes)
        body = b"".join(response)
        response.close()
        return json.loads(body)["data"]

    def cpu(act: Any) -> float:
        """The median over REQUESTS, in ms of this process."""
        figures = []
        for _ in range(REQUESTS):
            started = process_time()
            act()
            figures.append(process_time() - started)
        return 1_000 * median(figures)

    plain, listed = f"/v1/players/players/{player_id}", f"/v1/segments/player/{player_id}"
    found = request(listed)["segments"]
    with CaptureQueriesContext(connection) as queries:
        request(listed)
    statements = len(queries)  # the next request forgets them
    found = Segment.objects.filter(environment=environment).values_list("id", "key", "name", "rule")
    compiled = list(compile_segments([SegmentRow(*row) for row in found], {}).values())
    wanted = frozenset().union(*(each.event_counts for each in compiled))
    stored = stored_subject(at_version(environment), player_id, wanted)
    assert stored
    subject = stored[1]

    def match() -> None:
        subject.memo.clear()
        for each in compiled:
            each.matches(subject)

    matching, whole, base = cpu(match), cpu(lambda: request(listed)), cpu(lambda: request(plain))
    told(f"{len(compiled)} segments, of which the player is in", f"{len(found)}")
    told("statements of that request", f"{statements}")
    told("CPU of matching alone", f"{matching:.2f} ms")
    told("CPU of the request (of GET player)", f"{whole:.2f} ms ({whole / base:.1f} times)")


# --- A million ------------------------------------------------------------------------------------


def everybody(environment: Any) -> None:
    from django.db import connection
    from django.utils import timezone

    from segments.language.parser import parse
    from segments.sizes import count, estimate, rule_query

    def bare() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM player WHERE environment_id = %s", [environment.pk]
            )

    timed(bare)
    base = min(timed(bare) for _ in range(3))
    told("bare SELECT count(*)", f"{base:.2f} s")
    for name, document in (
        ("five conditions on attributes", FIVE),
        ("five dear ones: version, date, list, text", FIVE_HEAVY),
        ("five on built-in fields", BUILT_IN),
        ("a pattern, finished in Python", PATTERN),
        (f"events counted, of {EVENTS:,}", BEHAVIOUR),
    ):
        asked = rule_query(environment, parse(document), timezone.now())
        sizes: list[int] = []
        seconds = min(timed(lambda: sizes.append(count(asked))) for _ in range(2))  # noqa: B023
        told(f"count: {name}", f"{seconds:6.2f} s ({seconds / base:5.1f} times bare), {sizes[0]:,}")
        exact = 100 * sizes[0] / PLAYERS_MADE[0]
        times, off, outside = [], [], 0
        for _ in range(TRIES):
            found: list[Any] = []
            times.append(timed(lambda: found.append(estimate(asked))))  # noqa: B023
            off.append(abs(found[0].share - exact))
            outside += off[-1] > found[0].margin
        told(
            "  estimate: median and longest, furthest off",
            f"{median(times) * 1000:4.0f} ms, {max(times) * 1000:4.0f} ms, {max(off):.2f} points, "
            f"{outside} of {TRIES} beyond the margin",
        )


PLAYERS_MADE = [PLAYERS]


def main(size: int) -> None:
    from django.db import connection

    from events import partitions
    from ilara_admin.core.api_keys import api_key_create
    from ilara_admin.core.audit import Actor
    from ilara_admin.core.projects import project_create
    from ilara_admin.models import Environment, KeyKind
    from players.models import Player

    PLAYERS_MADE[0] = size
    actor = Actor("benchmark")
    project = project_create(name="Game", slug="game", actor=actor)
    environment: Environment = project.environments.get(slug="live")
    token = api_key_create(
        environment=environment, kind=KeyKind.PUBLIC, name="Benchmark", actor=actor
    ).token
    partitions.ensure()
    given = {"environment": environment.pk}
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        made = timed(lambda: cursor.execute(PLAYERS_SQL, {**given, "count": size}))
        happened = timed(lambda: cursor.execute(EVENTS_SQL, {**given, "count": EVENTS}))
        cursor.execute("VACUUM ANALYZE player")
        cursor.execute("VACUUM ANALYZE event")
    told(f"made {size:,} players and {EVENTS:,} events", f"{made:.0f} s, {happened:.0f} s")
    everybody(environment)
    player = Player.objects.of(environment).first()
    assert player
    one_player(environment, token, player.pk)


if __name__ == "__main__":
    with database():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else PLAYERS)
