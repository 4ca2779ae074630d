"""The experiment of the sample game: starter-price, with exposures as its rule decides; and a group
for experiments in the shop.

A player was exposed at the first session since the start. Nothing depends on the variant, so the
results show what no effect looks like.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import connection

from flags.engine.bucketing import split
from flags.engine.document import Rule
from flags.models import Experiment, Exposure, Flag, Metric, MetricRole
from flags.results.experiments import MetricUse, experiment_create, experiment_start
from flags.results.groups import group_create
from ilara_admin.core.audit import Actor
from ilara_admin.demo.config import CHLOE, working_hour
from ilara_admin.models import AuditEntry, Environment

KEY = MEASURED = "starter-price"  # of the experiment, and of its flag
DAYS_AGO = 10.3
PLANNED_PLAYERS = 6_000
PLANNED_DAYS = 18
USES = (
    MetricUse("payer-conversion", MetricRole.PRIMARY),
    MetricUse("revenue"),
    MetricUse("day-1-retention"),
    MetricUse("sessions", MetricRole.GUARD, 0.05),
)
# A player's first session since the start, and what was known of the player then.
EXPOSED = """
SELECT p.id, s.at, p.first_seen_at, coalesce(p.attributes->>'country', ''),
    coalesce(p.attributes->>'platform', ''),
    EXISTS (SELECT FROM purchase b WHERE b.player_id = p.id AND b.received_at < s.at
            AND b.counted AND b.refunded_at IS NULL)
FROM player p JOIN (
    SELECT player_id, min(started_at) AS at FROM player_session
    WHERE started_at >= %s GROUP BY player_id) s ON s.player_id = p.id
WHERE p.environment_id = %s"""


def experiment_fill(environment: Environment, now: datetime) -> None:
    """Create and start the experiment in the past, unless there is one with its key."""
    flag = Flag.objects.get(environment=environment, key=MEASURED)
    rule = flag.spec.rules[0] if flag.spec.rules else None
    taken = Experiment.objects.filter(environment=environment, key=KEY).exists()
    if taken or rule is None or rule.split is None or not flag.enabled or flag.archived_at:
        return
    known = set(Metric.objects.filter(environment=environment).values_list("key", flat=True))
    began = working_hour(now, DAYS_AGO)
    actor = Actor(CHLOE)
    experiment = experiment_create(
        flag=flag,
        rule_id=rule.id,
        key=KEY,
        name="Starter price",
        hypothesis="A lower price of the starter pack makes more new players pay.",
        control="regular",
        planned_players=PLANNED_PLAYERS,
        planned_end=(now + timedelta(days=PLANNED_DAYS)).date(),
        owner=CHLOE,
        metrics=[use for use in USES if use.metric in known],
        actor=actor,
    )
    experiment_start(experiment, actor=actor, at=began, reason="Two weeks are enough")
    rows = Experiment.objects.filter(pk=experiment.pk)
    rows.update(created_at=began, updated_at=began)
    group_create(
        environment=environment, key="shop", name="Shop", holdout=5_000, actor=actor,
        reason="Later experiments share no players",
    )  # fmt: skip
    AuditEntry.objects.filter(
        environment=environment, object_type__in=("experiment", "experiment_group")
    ).update(created_at=began)
    Exposure.objects.bulk_create(_exposures(rows.get(), flag, rule, began), batch_size=2_000)


def _exposures(
    experiment: Experiment, flag: Flag, rule: Rule, began: datetime
) -> Iterator[Exposure]:
    with connection.cursor() as cursor:
        cursor.execute(EXPOSED, [began, experiment.environment_id])
        found = cursor.fetchall()
    new = timedelta(days=experiment.environment.new_days)
    for player_id, at, first_seen_at, country, platform, payer in found:
        yield Exposure(
            player_id=player_id,
            experiment=experiment,
            phase=experiment.phase,
            variant=split(flag.salt, str(player_id), rule.split or ()),
            exposed_at=at,
            stage="new" if at - first_seen_at < new else "active",
            payer=payer,
            country=country,
            platform=platform,
        )
