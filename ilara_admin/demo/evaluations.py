"""How often the sample game evaluated its flags: by hour and variant, as their revisions and rules
decide for a sample of its players, and by which versions of the game.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

from django.db import connection

from flags.cache import compile_draft, flags_of
from flags.engine.document import read_document
from flags.engine.evaluation import (
    CompiledFlag,
    EvaluationContext,
    evaluate,
    event_counts_needed,
)
from flags.models import Flag, FlagClient, FlagRevision, FlagUsage
from flags.usage import environment_recount
from ilara_admin.api import environment_cache
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.demo.game import RHYTHM, VERSIONS
from ilara_admin.models import Environment
from players.models import Player
from segments.subject import stored_subject

ASKED_PLAYERS = 60
PER_HOUR = 30  # evaluations of a flag, on average
GROWTH_DAYS = 90  # the game is twice as large as that long ago
HOUR = timedelta(hours=1)
# The share of evaluations of this flag alone. The others came with all flags, as a game loads.
ALONE = {"new-shop": 0.7, "starter-price": 0.6, "energy-minutes": 0.5, "match-region": 0.0,
         "legacy-matchmaker": 0.2, "cloud-saves": 0.1}  # fmt: skip
USUALLY_ALONE = 0.3
# The versions of the game that still ask; other flags are asked for by all of them.
OLD_VERSIONS = ("1.9.4", "2.0.1")
ONLY_OLD = ("legacy-matchmaker", "winter-event")


def evaluations_fill(environment: Environment, now: datetime, seed: int) -> None:
    """Add usage and clients to the flags without them."""
    known = environment_cache.at_version(environment)
    contexts = _contexts(environment, known, now)
    for flag in Flag.objects.of(environment).filter(usage=None).order_by("key"):
        revisions = list(flag.revisions.order_by("number"))
        rows = list(_usage(flag, revisions, known, contexts, now, Random(f"{seed}/{flag.key}")))
        FlagUsage.objects.bulk_create(rows, batch_size=2_000)
        FlagClient.objects.bulk_create(_clients(flag, sum(row.single for row in rows), now))
    environment_recount(environment)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE flag, flag_usage, flag_client")


def _contexts(environment: Environment, known: Snapshot, now: datetime) -> list[EvaluationContext]:
    counts = event_counts_needed(flags_of(known).values())
    ids = Player.objects.of(environment).order_by("pk").values_list("pk", flat=True)
    found = [stored_subject(known, id, counts) for id in ids[:ASKED_PLAYERS]]
    return [EvaluationContext(str(each[0].id), each[1], {}, now) for each in found if each]


def _usage(
    flag: Flag, revisions: Sequence[FlagRevision], known: Snapshot,
    contexts: Sequence[EvaluationContext], now: datetime, rng: Random,
) -> Iterator[FlagUsage]:  # fmt: skip
    """The rows of each hour since the flag was created, of the revision at the hour's begin."""
    live = flags_of(known).get(flag.key)
    if live is None:
        return
    alone = ALONE.get(flag.key, USUALLY_ALONE)
    for revision, following in pairwise([*revisions, None]):
        assert revision
        compiled = compile_draft(known, live, read_document(revision.document), revision.archived)
        hour, shares = _next_hour(revision.created_at), Counter[str]()
        end = following.created_at if following else now
        while hour < end:
            if not shares or hour.hour == 0:  # schedules change the shares, slowly
                shares = _shares(compiled, contexts, hour)
            for variant, count in _counts(shares, _traffic(hour, now, rng), rng).items():
                single = _part(count, alone, rng)
                # Archived flags do not come with the others.
                served = single if revision.archived else count
                if served:
                    yield FlagUsage(
                        flag=flag, hour=hour, variant=variant, count=served, single=single,
                        last_at=min(hour + HOUR - timedelta(minutes=rng.randint(1, 20)), now),
                    )  # fmt: skip
            hour += HOUR


def _next_hour(moment: datetime) -> datetime:
    begun = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return begun if begun == moment else begun + HOUR


def _shares(
    compiled: CompiledFlag, contexts: Sequence[EvaluationContext], at: datetime
) -> Counter[str]:
    """How many of the players got each variant."""
    if compiled.constant is not None or not contexts:
        return Counter([(compiled.constant or compiled.default).variant.key])
    return Counter(evaluate(compiled, _at(context, at)).variant.key for context in contexts)


def _at(context: EvaluationContext, at: datetime) -> EvaluationContext:
    return EvaluationContext(context.player_id, context.subject, context.overrides, at)


def _traffic(hour: datetime, now: datetime, rng: Random) -> float:
    growth: float = 0.5 ** ((now - hour) / timedelta(days=GROWTH_DAYS))
    weight = RHYTHM[hour.hour] * len(RHYTHM) / sum(RHYTHM)
    return PER_HOUR * growth * weight * rng.uniform(0.8, 1.2)


def _counts(shares: Counter[str], traffic: float, rng: Random) -> Counter[str]:
    total = shares.total()
    return Counter(
        {variant: _part(traffic, number / total, rng) for variant, number in shares.items()}
    )


def _part(whole: float, share: float, rng: Random) -> int:
    """A whole number near that part, rounded up as often as it should be."""
    return int(whole * share + rng.random()) if share else 0


def _clients(flag: Flag, single: int, now: datetime) -> list[FlagClient]:
    """Who evaluated the flag alone that often, by version of the game."""
    only_old = flag.key in ONLY_OLD
    versions = {
        version: weight
        for version, weight in VERSIONS.items()
        if version in OLD_VERSIONS or not only_old
    }
    whole = sum(versions.values())
    return [
        FlagClient(
            flag=flag, client=f"sample-game/{version}", count=single * weight // whole,
            last_at=now - timedelta(minutes=130 // weight),
        )
        for version, weight in versions.items()
        if single * weight // whole
    ]  # fmt: skip
