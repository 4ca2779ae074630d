"""Metrics, experiments, exposures and their results."""

from collections.abc import Collection
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from flags.models.fields import FloatsField
from flags.models.flags import Flag, new_salt
from ilara_admin.models import Environment
from segments.language.parser import segments_named


class MetricKind(models.TextChoices):
    """What a metric is of one player, since the player's exposure."""

    COUNT = "count", "Events per player"
    SHARE = "share", "Share of players with an event"
    SUM = "sum", "Sum of a property per player"
    MEAN = "mean", "Mean of a property"
    REVENUE = "revenue", "Revenue per player"
    PAYERS = "payers", "Share of players who pay"
    SESSIONS = "sessions", "Sessions per player"
    RETENTION = "retention", "Retention on a day"


class MetricDirection(models.TextChoices):
    """Which way is good."""

    UP = "up", "Higher is better"
    DOWN = "down", "Lower is better"


class Metric(models.Model):
    """A figure of each player that results compare.

    `event`, `property` and `conditions` are those of the events that count; `conditions` is a rule
    over their properties as the `where` of the rule language, or None. With `window_days` only what
    happens within so many days of the exposure counts, and only players whose window is over; for
    retention it is the day. Values above `percentile` are set to it.
    """

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=128)
    name = models.CharField(max_length=200)
    description = models.CharField(max_length=500, blank=True)
    kind = models.CharField(max_length=10, choices=MetricKind)
    event = models.CharField(max_length=128, blank=True)
    property = models.CharField(max_length=128, blank=True)
    conditions = models.JSONField(null=True)
    window_days = models.SmallIntegerField(null=True)
    percentile = models.FloatField(null=True)
    direction = models.CharField(max_length=4, choices=MetricDirection)
    unit = models.CharField(max_length=20, blank=True)
    owner = models.CharField(max_length=200, blank=True)
    revision = models.IntegerField(default=1)
    archived_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "metric"
        ordering = ("key",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment", "key"], name="metric_key_unique"),
        ]

    def __str__(self) -> str:
        return self.key


class ExperimentGroup(models.Model):
    """Experiments that share no players: each has its own buckets of the group. `holdout`, in
    thousandths of a percent, are the lowest buckets, whose players are in none of them."""

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=128)
    name = models.CharField(max_length=200)
    salt = models.CharField(max_length=32, default=new_salt)
    holdout = models.IntegerField(default=0)
    revision = models.IntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "experiment_group"
        ordering = ("key",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment", "key"], name="experiment_group_unique"),
        ]

    def __str__(self) -> str:
        return self.key


class ExperimentKind(models.TextChoices):
    EXPERIMENT = "experiment", "Experiment"
    ROLLOUT = "rollout", "Guarded rollout"


class ExperimentState(models.TextChoices):
    DRAFT = "draft"
    RUNNING = "running"
    STOPPED = "stopped"  # no new exposures; not decided
    DECIDED = "decided"


class OnBreach(models.TextChoices):
    """What happens when a guard metric is worse than tolerable."""

    NOTIFY = "notify", "Notify only"
    HOLD = "hold", "Hold the percentage"
    STEP_BACK = "step_back", "Return to the last good percentage"
    TURN_OFF = "turn_off", "Turn the flag off"


class Experiment(models.Model):
    """A measured rule of a flag: an experiment, or a guarded rollout.

    Players are compared by the variant that the rule gives them: those of its split, or those
    inside its percentage with those outside. `control` is the variant of comparison; for a
    percentage the one that players outside it got when the phase began. `population`, a rule,
    limits who counts, None is all. Exposures and results belong to a `phase`, counted from 1: a
    new one begins when the rule's split, percentage or audience changes.

    Of the buckets of its `group` the experiment has those from `first_bucket` to before
    `end_bucket`; players in others do not match the rule.
    """

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+", db_index=False)
    flag = models.ForeignKey(Flag, models.CASCADE, related_name="experiments")
    rule_id = models.CharField(max_length=64)
    key = models.CharField(max_length=128)
    name = models.CharField(max_length=200)
    hypothesis = models.TextField(blank=True)
    kind = models.CharField(max_length=10, choices=ExperimentKind)
    state = models.CharField(max_length=8, choices=ExperimentState, default=ExperimentState.DRAFT)
    control = models.CharField(max_length=128, blank=True)
    population = models.JSONField(null=True)
    group = models.ForeignKey(
        ExperimentGroup, models.PROTECT, null=True, related_name="experiments"
    )
    first_bucket = models.IntegerField(null=True)
    end_bucket = models.IntegerField(null=True)
    planned_players = models.IntegerField(null=True)  # in all variants together
    planned_end = models.DateField(null=True)
    # Of guards: at least so many players per variant, and what happens.
    min_players = models.IntegerField(default=100)
    on_breach = models.CharField(max_length=9, choices=OnBreach, default=OnBreach.NOTIFY)
    breached_at = models.DateTimeField(null=True)
    phase = models.SmallIntegerField(default=0)  # 0 before the start
    phase_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    # Of a decision: "ship" or "stop", the variant that was shipped, why, and the results then.
    decision = models.CharField(max_length=4, blank=True)
    decided_variant = models.CharField(max_length=128, blank=True)
    decision_reason = models.CharField(max_length=500, blank=True)
    evidence = models.JSONField(null=True)
    owner = models.CharField(max_length=200, blank=True)
    revision = models.IntegerField(default=1)
    # Values of all exposures must be computed again, as after a change of metrics.
    rebuild = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "experiment"
        ordering = ("-id",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment", "key"], name="experiment_key_unique"),
            # Else a player would be exposed to both at once.
            models.UniqueConstraint(
                fields=["flag", "rule_id"],
                condition=Q(state="running"),
                name="experiment_running_unique",
            ),
        ]

    def __str__(self) -> str:
        return self.key


def experiments_by_segment(environment: Environment, keys: Collection[str]) -> dict[str, list[str]]:
    """The experiments without a decision whose population names a segment of `keys`, by segment
    key."""
    found: dict[str, list[str]] = {}
    undecided = Experiment.objects.filter(environment=environment, population__isnull=False)
    rows = undecided.exclude(state=ExperimentState.DECIDED).order_by("key")
    for key, population in rows.values_list("key", "population"):
        for segment in segments_named(population).intersection(keys):
            found.setdefault(segment, []).append(key)
    return found


class MetricRole(models.TextChoices):
    PRIMARY = "primary"
    SECONDARY = "secondary"
    GUARD = "guard"


class ExperimentMetric(models.Model):
    """A metric of an experiment. `position` is its index in Exposure.figures and .before, from 0.
    `tolerance` of a guard is the worst relative change that is tolerable, such as 0.05."""

    pk = models.CompositePrimaryKey("experiment_id", "metric_id")
    experiment = models.ForeignKey(
        Experiment, models.CASCADE, related_name="metrics", db_index=False
    )
    metric = models.ForeignKey(Metric, models.PROTECT, related_name="uses")
    role = models.CharField(max_length=9, choices=MetricRole)
    position = models.SmallIntegerField()
    tolerance = models.FloatField(null=True)

    class Meta:
        db_table = "experiment_metric"
        ordering = ("position",)
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["experiment", "position"], name="experiment_metric_position"
            ),
        ]


class Exposure(models.Model):
    """The first time that a player was evaluated into a variant of a running experiment, in a
    phase. Written by a thread off the request path, see results/exposures.py.

    `second_variant` is another one that the player was served later, or None: such players are left
    out of results, as are those `overridden`. `stage`, `payer`, `country` and `platform` are those
    at the exposure, "" if unknown, for breakdowns. `figures` are the player's values of the
    experiment's metrics by position, as of the last refresh; None until then, and a value is None
    where the player has none. `before` are the same metrics in the 14 days before the exposure.

    `is_new` until the first refresh. It is a column so that no index depends on `figures`: with the
    free space that the fillfactor leaves, an update of them is HOT.
    """

    pk = models.CompositePrimaryKey("player_id", "experiment_id", "phase")
    player_id = models.UUIDField()
    experiment = models.ForeignKey(
        Experiment, models.CASCADE, related_name="exposures", db_index=False
    )
    phase = models.SmallIntegerField()
    variant = models.CharField(max_length=128)
    exposed_at = models.DateTimeField()
    overridden = models.BooleanField(default=False)
    second_variant = models.CharField(max_length=128, null=True)
    second_at = models.DateTimeField(null=True)
    stage = models.CharField(max_length=20, blank=True)
    payer = models.BooleanField(default=False)
    country = models.CharField(max_length=32, blank=True)
    platform = models.CharField(max_length=32, blank=True)
    figures = FloatsField(null=True)
    before = FloatsField(null=True)
    is_new = models.BooleanField(default=True, db_default=True)

    class Meta:
        db_table = "exposure"
        indexes: ClassVar = [
            models.Index(fields=["experiment", "phase", "exposed_at"], name="exposure_time"),
            models.Index(fields=["experiment"], name="exposure_new", condition=Q(is_new=True)),
        ]


class ExperimentDay(models.Model):
    """An experiment's players at the end of a UTC day, or as of `computed_at` on that day.

    `players` are those that count by variant; `left_out` are `{"overridden": n, "two": n,
    "population": n}`. `ratio_p` is the p-value of the sample-ratio check, None if there is none;
    `places` says where an imbalance sits: a list of `{"dimension", "group", "players": {…}, "p"}`,
    worst first. Only results/refresh.py writes it.
    """

    pk = models.CompositePrimaryKey("experiment_id", "phase", "day")
    experiment = models.ForeignKey(Experiment, models.CASCADE, related_name="days", db_index=False)
    phase = models.SmallIntegerField()
    day = models.DateField()
    computed_at = models.DateTimeField()
    players = models.JSONField()
    left_out = models.JSONField()
    ratio_p = models.FloatField(null=True)
    places = models.JSONField(default=list)

    class Meta:
        db_table = "experiment_day"


class ExperimentResult(models.Model):
    """The sums of a metric by variant at the end of a UTC day, or as of `computed_at` on that day.

    `arms` is `{variant: statistics.Arm as a dict}`. `breakdowns` is `{dimension: {group: arms}}`,
    of the newest day only. Only results/refresh.py writes it.
    """

    pk = models.CompositePrimaryKey("experiment_id", "phase", "metric_id", "day")
    experiment = models.ForeignKey(
        Experiment, models.CASCADE, related_name="results", db_index=False
    )
    phase = models.SmallIntegerField()
    metric = models.ForeignKey(Metric, models.CASCADE, related_name="+")
    day = models.DateField()
    computed_at = models.DateTimeField()
    arms = models.JSONField()
    breakdowns = models.JSONField(null=True)

    class Meta:
        db_table = "experiment_result"


class ResultRefresh(models.Model):
    """How far results are computed: events up to `event_id` are in the figures of an environment's
    exposures."""

    environment = models.OneToOneField(
        Environment, models.CASCADE, primary_key=True, related_name="+"
    )
    event_id = models.BigIntegerField(db_default=0)
    refreshed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "result_refresh"
