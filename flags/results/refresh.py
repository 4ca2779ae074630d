"""Keeps players' values and the results of experiments up to date, off the request path.

Each minute a job computes the values of new exposures and of players with new events, then adds
them up by variant. It may be killed at any point, and two runs may overlap: values and sums are
computed from the rows as they are, under a lock, and the position in the event log moves after the
values are written. The lock is advisory and nothing is written before it is computed, because the
fold and all readers of the event log wait for transactions that have written.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Model
from django.utils import timezone

from events import rollups
from flags.engine.arms import arm_weights
from flags.engine.document import DocumentError, decode_document
from flags.models import (
    Experiment,
    ExperimentDay,
    ExperimentMetric,
    ExperimentResult,
    ExperimentState,
    Exposure,
    FlagRevision,
    MetricKind,
    ResultRefresh,
)
from flags.results.figures_sql import (
    BEFORE_DAYS,
    LEDGER_EVENTS,
    FigureMetric,
    MeasuredExperiment,
    events_needed,
    write_sql,
)
from flags.results.measured import has_rule, rule_of
from flags.results.statistics import RATIO_ALARM, Arm, sample_ratio
from flags.results.sums_sql import (
    DIMENSIONS,
    OPEN_DIMENSIONS,
    SUMS,
    caps_sql,
    groups_sql,
    sums_sql,
    top_sql,
)
from ilara_admin.core.db import Row
from ilara_admin.core.horizon import Horizon
from ilara_admin.models import Environment
from segments.language.parser import RuleError, parse, parse_where
from segments.sizes import IN_ENVIRONMENT, columns_of, matching, rule_query

logger = logging.getLogger("ilara.results")

CHUNK_PLAYERS = 5_000  # of a transaction: it writes for a fraction of a second
PAGE_EVENTS = 200_000  # after so many the position is stored
# Requests that began on a day have ended by then, and exposures are written.
SETTLED = timedelta(minutes=10)
BREAKDOWNS_EVERY = timedelta(minutes=10)
# Of an experiment that has ended, until its windows are over: nothing acts on its sums any more.
ENDED_EVERY = timedelta(hours=1)
MOST_PLACES = 10
RESULTS_LOCK = 0xA12  # first key of the advisory lock; the second is the environment's id


def results_tick(now: datetime, check: Callable[[Environment, datetime], object]) -> None:
    """Refresh all environments with results that may change, and call `check` for each, with the
    time. An error leaves the other environments and their checks alone."""
    live = _live_ids(now)
    if not live:
        return
    environments = Environment.objects.filter(
        pk__in=Experiment.objects.filter(pk__in=live).values("environment")
    )
    horizon = rollups.settled()
    for environment in environments.order_by("pk"):
        for step in (
            partial(refresh_until, environment, now, horizon),
            partial(check, environment, now),
        ):
            try:
                step()
            except Exception:
                logger.exception("results not refreshed environment=%s", environment.pk)


def results_refresh(environment: Environment, now: datetime) -> None:
    """Compute the values of players and the sums of all experiments of an environment whose results
    may change."""
    if _live_ids(now, environment.pk):
        refresh_until(environment, now, rollups.settled())


def refresh_until(environment: Environment, now: datetime, horizon: Horizon | None) -> None:
    """As results_refresh, with the events up to the horizon. Without one, while an old transaction
    is open, new events wait for the next run. An error in an experiment's sums is raised when the
    others have theirs."""
    experiments = list(
        Experiment.objects.filter(pk__in=_live_ids(now, environment.pk))
        .select_related("flag")
        .order_by("pk")
    )
    if not experiments:
        return
    measured = [measured_of(experiment) for experiment in experiments]
    state = _position(environment, experiments, horizon)
    if state is None:
        return
    writer = _FigureWriter(environment.pk, measured)
    writer.write_new()
    if horizon:
        writer.write_after(state.event_id, horizon.id)
    if state.refreshed_at:
        writer.write_retained(state.refreshed_at - SETTLED, now)
    ResultRefresh.objects.filter(pk=environment.pk).update(refreshed_at=now)
    errors = []
    for experiment, each in zip(experiments, measured, strict=True):
        if _is_summed(experiment, now):
            continue
        try:
            # Read now: if the metrics changed since, the values are not those of `each`.
            if Experiment.objects.filter(pk=experiment.pk, rebuild=False).exists():
                _sum(environment, experiment, each, now)
        except Exception as error:
            error.add_note(f"experiment={experiment.pk}")
            errors.append(error)
    if errors:
        raise ExceptionGroup("sums not computed", errors)


def _is_summed(experiment: Experiment, now: datetime) -> bool:
    """Whether an experiment that has ended was added up since, and lately."""
    if experiment.state == ExperimentState.RUNNING or experiment.ended_at is None:
        return False
    since = max(experiment.ended_at, now - ENDED_EVERY)
    days = ExperimentDay.objects.filter(experiment=experiment, phase=experiment.phase)
    return days.filter(computed_at__gt=since).exists()


def _position(
    environment: Environment, experiments: Sequence[Experiment], horizon: Horizon | None
) -> ResultRefresh | None:
    """Where the refresh goes on. While no exposure has values, events up to the horizon change
    none: they are skipped, also those since the last experiment ended. None before the first
    horizon."""
    found = ResultRefresh.objects.filter(environment=environment).first()
    if horizon is None:
        return found
    if found is None:
        defaults = {"event_id": horizon.id}
        return ResultRefresh.objects.get_or_create(environment=environment, defaults=defaults)[0]
    computed = Exposure.objects.filter(experiment__in=experiments, is_new=False)
    if found.event_id < horizon.id and not computed.exists():
        found.event_id = horizon.id
        ResultRefresh.objects.filter(pk=environment.pk, event_id__lt=horizon.id).update(
            event_id=horizon.id
        )
    return found


def results_rebuild(environment: Environment, check: Callable[[], None] = lambda: None) -> None:
    """Compute the values of all exposures to experiments whose metrics changed. `check` runs before
    each chunk and may raise."""
    found = Experiment.objects.filter(pk__in=_live_ids(timezone.now(), environment.pk))
    experiments = list(found.filter(rebuild=True).order_by("pk"))
    if not experiments:
        return
    measured = [measured_of(experiment) for experiment in experiments]
    writer = _FigureWriter(environment.pk, measured)
    for players in writer.all_players():
        check()
        writer.write(players)
    for each in measured:
        with transaction.atomic():
            locked = Experiment.objects.select_for_update(no_key=True).filter(pk=each.id).first()
            # Else the metrics changed meanwhile, and a further rebuild is due.
            if locked and measured_of(locked) == each:
                Experiment.objects.filter(pk=each.id).update(rebuild=False)


def to_rebuild(now: datetime) -> list[int]:
    """The environments with values that must be computed again."""
    live = Experiment.objects.filter(pk__in=_live_ids(now), rebuild=True)
    return list(live.order_by("environment").values_list("environment", flat=True).distinct())


# --- What is measured -----------------------------------------------------------------------------

# Running, or ended and not computed since the last window was over. A day of retention may end a
# day after its number.
LIVE_SQL = """
SELECT x.id FROM experiment x
WHERE x.phase > 0 AND (%(environment)s::bigint IS NULL OR x.environment_id = %(environment)s)
  AND (x.state = %(running)s OR x.state = ANY(%(ended)s) AND NOT EXISTS (
    SELECT FROM experiment_day d
    WHERE d.experiment_id = x.id AND d.phase = x.phase
      AND d.computed_at >= x.ended_at + %(settled)s + coalesce((
        SELECT max(m.window_days + (m.kind = %(retention)s)::int) * interval '24 hours'
        FROM experiment_metric u JOIN metric m ON m.id = u.metric_id
        WHERE u.experiment_id = x.id), interval '0')))"""


def _live_ids(now: datetime, environment_id: int | None = None) -> list[int]:
    with connection.cursor() as cursor:
        values: dict[str, Any] = {
            "environment": environment_id,
            "running": ExperimentState.RUNNING,
            "ended": [ExperimentState.STOPPED, ExperimentState.DECIDED],
            "retention": MetricKind.RETENTION,
            "settled": SETTLED,
        }
        cursor.execute(LIVE_SQL, values)
        return [experiment_id for (experiment_id,) in cursor.fetchall()]


def measured_of(experiment: Experiment) -> MeasuredExperiment:
    """The current phase with its metrics, without those whose conditions cannot be read."""
    uses = ExperimentMetric.objects.filter(experiment=experiment).select_related("metric")
    metrics = []
    for use in uses.order_by("position"):
        metric = use.metric
        try:
            where = None if metric.conditions is None else parse_where(metric.conditions)
        except RuleError:
            continue
        metrics.append(
            FigureMetric(
                id=metric.pk,
                position=use.position,
                kind=metric.kind,
                event=metric.event,
                property=metric.property,
                where=where,
                window_days=metric.window_days,
                percentile=metric.percentile,
            )
        )
    until = None if experiment.state == ExperimentState.RUNNING else experiment.ended_at
    return MeasuredExperiment(experiment.pk, experiment.phase, until, tuple(metrics))


# --- Values ---------------------------------------------------------------------------------------


class _Binder:
    """Parameters of a statement, besides those named elsewhere."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params

    def __call__(self, value: Any) -> str:
        name = f"r{len(self.params)}"
        self.params[name] = value
        return f"%({name})s"


@contextmanager
def _locked(environment_id: int) -> Iterator[CursorWrapper]:
    """A transaction in which no other run computes or writes values of the environment: what is
    written later was read later."""
    with transaction.atomic(), connection.cursor() as cursor:
        # JIT compilation of such long statements takes longer than it saves.
        cursor.execute("SET LOCAL jit = off")
        # For percentiles: sorted on disk, a million values take longer.
        cursor.execute("SET LOCAL work_mem = '64MB'")
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [RESULTS_LOCK, environment_id])
        yield cursor


# Of exposed players with events: player, first exposure, and whether an event is of the ledger or
# happened before an exposure.
TOUCHED_SQL = """
WITH touched AS (
    SELECT player_id, min(CASE WHEN name = ANY(%(ledger)s) THEN '-infinity' ELSE occurred_at END)
        AS earliest
    FROM event WHERE environment_id = %(environment)s AND id > %(after)s AND id <= %(end)s
      AND name = ANY(%(names)s) GROUP BY player_id)
SELECT touched.player_id, since, latest > earliest FROM touched CROSS JOIN LATERAL (
    SELECT min(exposed_at) AS since, max(exposed_at) AS latest FROM exposure
    WHERE player_id = touched.player_id AND (experiment_id, phase) IN ({phases}) OFFSET 0) exposed
WHERE since IS NOT NULL ORDER BY player_id"""


class _FigureWriter:
    """Computes and stores values of exposures of these phases."""

    def __init__(self, environment_id: int, measured: list[MeasuredExperiment]) -> None:
        self.environment_id = environment_id
        self.measured = measured
        self.params: dict[str, Any] = {"environment": environment_id}
        bind = _Binder(self.params)
        self.whole_sql = write_sql(measured, bind, whole=True)
        self.after_sql = write_sql(measured, bind, whole=False)
        self.phases = ", ".join(f"({each.id:d}, {each.phase:d})" for each in measured)

    def write(self, players: list[UUID]) -> int:
        """Returns the number of exposures whose values differ from the stored ones."""
        with _locked(self.environment_id) as cursor:
            cursor.execute(
                f"""SELECT min(exposed_at), array_agg(DISTINCT player_id) FROM exposure
                    WHERE player_id = ANY(%s) AND (experiment_id, phase) IN ({self.phases})""",
                [players],
            )
            earliest, exposed = cursor.fetchone()
            if earliest is None:
                return 0
            # The others have events, which need not be read.
            since = earliest - timedelta(days=BEFORE_DAYS)
            return self._store(cursor, self.whole_sql, exposed, since)

    def _store(
        self, cursor: CursorWrapper, sql: str, players: Sequence[UUID], since: datetime
    ) -> int:
        # PostgreSQL may think that reading whole tables is cheaper.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(sql, {**self.params, "players": [*players], "since": since})
        return int(cursor.rowcount)

    def write_all(self, players: list[UUID]) -> None:
        for start in range(0, len(players), CHUNK_PLAYERS):
            self.write(players[start : start + CHUNK_PLAYERS])

    def write_new(self) -> None:
        """Of exposures without values."""
        sql = f"""SELECT DISTINCT player_id FROM (
            SELECT player_id FROM exposure WHERE experiment_id = ANY(%s) AND is_new
              AND (experiment_id, phase) IN ({self.phases}) LIMIT {CHUNK_PLAYERS}) few"""
        ids = [each.id for each in self.measured]
        while (players := self._ids(sql, [ids])) and self.write(players):
            pass

    def write_after(self, after: int, until: int) -> None:
        """Of players with events from one id to another that may change them. The position moves
        after each page."""
        while after < until:
            with connection.cursor() as cursor:
                cursor.execute(
                    """SELECT count(*), max(id) FROM (
                           SELECT id FROM event WHERE environment_id = %s AND id > %s AND id <= %s
                           ORDER BY id LIMIT %s) page""",
                    [self.environment_id, after, until, PAGE_EVENTS],
                )
                count, last = cursor.fetchone()
            end = until if count < PAGE_EVENTS else last
            self._write_page(after, end)
            after = end
            ResultRefresh.objects.filter(pk=self.environment_id, event_id__lt=after).update(
                event_id=after
            )

    def _write_page(self, after: int, end: int) -> None:
        """In the order of the ids, so that players of a chunk are near each other in indexes."""
        values: dict[str, Any] = {
            "environment": self.environment_id,
            "after": after,
            "end": end,
            "names": sorted(events_needed(self.measured)),
            "ledger": sorted(LEDGER_EVENTS),
        }
        with connection.cursor() as cursor:
            cursor.execute(TOUCHED_SQL.format(phases=self.phases), values)
            touched = cursor.fetchall()
        self.write_all([player_id for player_id, _, is_whole in touched if is_whole])
        others = [(player_id, since) for player_id, since, is_whole in touched if not is_whole]
        for start in range(0, len(others), CHUNK_PLAYERS):
            chunk = others[start : start + CHUNK_PLAYERS]
            players, times = zip(*chunk, strict=True)
            with _locked(self.environment_id) as cursor:
                self._store(cursor, self.after_sql, players, min(times))

    def write_retained(self, since: datetime, until: datetime) -> None:
        """Of players with a day of a retention metric that ended between the times: activity
        without an event sets its bit."""
        first, today = since.astimezone(UTC).date(), until.astimezone(UTC).date()
        for each in self.measured:
            days = {
                metric.window_days or 0
                for metric in each.metrics
                if metric.kind == MetricKind.RETENTION
            }
            for day in days if first < today else ():
                self.write_all(
                    self._ids(
                        """SELECT player_id FROM exposure WHERE experiment_id = %s AND phase = %s
                           AND exposed_at >= %s AND exposed_at < %s ORDER BY player_id""",
                        [each.id, each.phase, *(_midnight(at, day) for at in (first, today))],
                    )
                )

    def all_players(self) -> Iterator[list[UUID]]:
        """The players of all exposures, in chunks."""
        after = UUID(int=0)
        sql = f"""SELECT DISTINCT player_id FROM exposure
            WHERE player_id > %s AND (experiment_id, phase) IN ({self.phases})
            ORDER BY player_id LIMIT {CHUNK_PLAYERS}"""
        while players := self._ids(sql, [after]):
            yield players
            after = players[-1]

    def _ids(self, sql: str, params: list[Any]) -> list[UUID]:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return [player_id for (player_id,) in cursor.fetchall()]


def _midnight(day: date, days_before: int) -> datetime:
    """The start of the UTC day so many days before."""
    return datetime.combine(day - timedelta(days=days_before), time(), UTC)


# --- Sums -----------------------------------------------------------------------------------------


def _sum(
    environment: Environment, experiment: Experiment, measured: MeasuredExperiment, now: datetime
) -> None:
    """Add up the values of a phase by variant, and store them for the current UTC day."""
    today = now.astimezone(UTC).date()
    params: dict[str, Any] = {}
    bind = _Binder(params)
    population = _population(environment, experiment, now, params)
    with _locked(environment.pk) as cursor:
        days = ExperimentDay.objects.filter(experiment=experiment, phase=measured.phase)
        newest = days.order_by("-day").first()
        top = None
        if newest is None or _slot(newest.computed_at) != _slot(now):
            top = {name: _top(cursor, measured, name) for name in OPEN_DIMENSIONS}
        caps: list[float | None] = []
        if any(metric.percentile is not None for metric in measured.metrics):
            cursor.execute(caps_sql(measured, population, now, bind), params)
            caps = cursor.fetchone()
        cursor.execute(sums_sql(measured, population, now, top, caps, bind), params)
        rows = cursor.fetchall()
        weights = _weights(experiment)
        players = dict.fromkeys(weights, 0)
        left_out = dict.fromkeys(("overridden", "two", "population"), 0)
        for reason, variant, *_, count in (row[: len(DIMENSIONS) + 3] for row in rows):
            if reason is None:
                players[variant] = players.get(variant, 0) + count
            else:
                left_out[reason] += count
        ratio = sample_ratio(players, weights)
        places = []
        if ratio is not None and ratio < RATIO_ALARM:
            places = _places(cursor, measured, population, params, weights)
        key = {"experiment_id": experiment.pk, "phase": measured.phase, "day": today}
        _upsert(
            ExperimentDay,
            [
                ExperimentDay(
                    **key, computed_at=now, players=players, left_out=left_out, ratio_p=ratio,
                    places=places,
                )
            ],
            ("computed_at", "players", "left_out", "ratio_p", "places"),
        )  # fmt: skip
        results = [
            ExperimentResult(
                **key, metric_id=metric.id, computed_at=now, arms=_arms(rows, number, players),
                breakdowns=None if top is None else _breakdowns(rows, number),
            )
            for number, metric in enumerate(measured.metrics)
        ]  # fmt: skip
        changed = ("computed_at", "arms") if top is None else ("computed_at", "arms", "breakdowns")
        _upsert(ExperimentResult, results, changed)
        if newest is None or newest.day < today:
            older = ExperimentResult.objects.filter(
                experiment=experiment, day__lt=today, breakdowns__isnull=False
            )
            older.update(breakdowns=None)


def _slot(at: datetime) -> int:
    return int(at.timestamp() // BREAKDOWNS_EVERY.total_seconds())


def _upsert(model: type[Model], rows: Sequence[Model], columns: Sequence[str]) -> None:
    """Store rows; of those that exist already, the columns."""
    key = [field.name for field in model._meta.pk_fields]
    model._default_manager.bulk_create(
        rows, update_conflicts=True, unique_fields=key, update_fields=columns
    )


def _population(
    environment: Environment, experiment: Experiment, now: datetime, params: dict[str, Any]
) -> str | None:
    """SQL that selects the ids of the players who count; None for all. An unreadable rule matches
    no players, as in a flag."""
    if experiment.population is None:
        return None
    try:
        query = rule_query(environment, parse(experiment.population), now)
    except RuleError:
        return "SELECT NULL::uuid AS id"
    found = query.sql_query(one_by_one=False)
    people = f"FROM player p {found.joins} WHERE {IN_ENVIRONMENT} AND {found.where}"
    params |= {**found.params, "environment": environment.pk}
    if found.exact:
        return f"SELECT p.id {people}"
    # A pattern: SQL finds who may match.
    exposed = "p.id IN (SELECT player_id FROM exposure WHERE experiment_id = %(experiment)s)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns_of(found)} {people} AND {exposed}",
            {**params, "experiment": experiment.pk},
        )
        params["matching"] = [player.id for player in matching(query, found, cursor.fetchall())]
    return "SELECT unnest(%(matching)s::uuid[]) AS id"


def _top(cursor: CursorWrapper, measured: MeasuredExperiment, dimension: str) -> list[Any]:
    cursor.execute(top_sql(measured, dimension))
    return [group for (group,) in cursor.fetchall()]


def _weights(experiment: Experiment) -> Mapping[str, float]:
    """The expected weights; empty if the rule is gone or compares nothing."""
    try:
        rule = rule_of(decode_document(_measured_document(experiment)), experiment.rule_id)
    except DocumentError:
        return {}
    if rule is None or experiment.phase_at is None:
        return {}
    return arm_weights(rule, experiment.control, experiment.phase_at)


def _measured_document(experiment: Experiment) -> Any:
    """The flag's document, as stored, while the experiment ran: staff, a guard or a decision may
    have changed the rule since it ended."""
    if experiment.state == ExperimentState.RUNNING:
        return experiment.flag.document
    ended_at = experiment.ended_at or timezone.now()
    revisions = FlagRevision.objects.filter(flag=experiment.flag, created_at__lt=ended_at)
    documents = revisions.order_by("-number").values_list("document", flat=True)
    # The newest is without the rule if its removal ended the experiment.
    measured = (each for each in documents[:2] if has_rule(each, experiment.rule_id))
    return next(measured, experiment.flag.document)


def _places(
    cursor: CursorWrapper, measured: MeasuredExperiment, population: str | None,
    params: dict[str, Any], weights: Mapping[str, float],
) -> list[dict[str, Any]]:  # fmt: skip
    """The groups of players whose numbers are out of proportion, worst first."""
    found: list[tuple[float, dict[str, Any]]] = []
    for dimension in DIMENSIONS:
        groups = _top(cursor, measured, dimension)
        cursor.execute(groups_sql(measured, population, dimension), {**params, "groups": groups})
        counts: dict[str, dict[str, int]] = {}
        for group, variant, count in cursor.fetchall():
            counts.setdefault(_group_name(group), dict.fromkeys(weights, 0))[variant] = count
        for group, players in counts.items():
            p = sample_ratio(players, weights)
            if p is not None and p < RATIO_ALARM:
                place = {"dimension": dimension, "group": group, "players": players, "p": p}
                found.append((p, place))
    found.sort(key=itemgetter(0))
    return [place for _, place in found[:MOST_PLACES]]


def _group_name(group: str | bool) -> str:
    """Payers are "yes" and "no"."""
    if isinstance(group, bool):
        return "yes" if group else "no"
    return group


def _arms(rows: list[Row], number: int, players: dict[str, int]) -> dict[str, Any]:
    """The arms of the metric with this number."""
    found = {variant: Arm(0, 0.0, 0.0) for variant in players}
    for row in rows:
        if row[0] is None:
            found[row[1]] = _plus(found[row[1]], row, number)
    return {variant: asdict(arm) for variant, arm in found.items()}


def _breakdowns(rows: list[Row], number: int) -> dict[str, Any]:
    found: dict[str, dict[str, dict[str, Arm]]] = {name: {} for name in DIMENSIONS}
    for reason, variant, *rest in rows:
        for dimension, group in zip(DIMENSIONS, rest, strict=False):
            if reason is None and group is not None:
                arms = found[dimension].setdefault(_group_name(group), {})
                before = arms.get(variant, Arm(0, 0.0, 0.0))
                arms[variant] = _plus(before, (reason, variant, *rest), number)
    return {
        dimension: {
            group: {variant: asdict(arm) for variant, arm in arms.items()}
            for group, arms in groups.items()
        }
        for dimension, groups in found.items()
    }


def _plus(arm: Arm, row: Row, number: int) -> Arm:
    """The arm with the players of a row, of the metric with this number."""
    start = 3 + len(DIMENSIONS) + number * len(SUMS)
    n, mean, squares, before, before_squares, products = row[start : start + len(SUMS)]
    if n == 0:
        return arm
    return Arm(
        arm.players + n,
        arm.total + n * mean,
        arm.squares + squares + n * mean * mean,
        arm.before + n * before,
        arm.before_squares + before_squares + n * before * before,
        arm.products + products + n * mean * before,
    )
