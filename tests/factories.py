"""Factories of environments, keys, flags, players and staff."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils.crypto import get_random_string

from flags.engine.document import decode_document, encode_document
from flags.models import (
    Experiment,
    ExperimentDay,
    ExperimentGroup,
    ExperimentKind,
    ExperimentMetric,
    ExperimentResult,
    ExperimentState,
    Exposure,
    Flag,
    FlagRevision,
    Metric,
    MetricDirection,
    MetricKind,
    MetricRole,
)
from flags.results.statistics import Arm
from flags.services import flag_create
from ilara_admin.core import api_keys, projects
from ilara_admin.core.audit import Actor
from ilara_admin.core.change_requests import request_submit
from ilara_admin.core.freezes import freeze_create
from ilara_admin.core.guard import ChangeItem
from ilara_admin.models import (
    MEMBER_ROLES,
    ApiKey,
    AuditEntry,
    ChangeRequest,
    Environment,
    FreezeWindow,
    KeyKind,
    Membership,
    Project,
    Role,
    Tier,
    User,
)
from ilara_admin.starter import FLAGS, SEGMENT, environment_start
from ilara_admin.web.sessions import SessionStore
from players.models import Player, player_id_for
from players.schemas import PlayerPatch
from players.services import player_update
from segments.models import Segment

ACTOR = Actor("Ada")
PASSWORD = "correct horse battery"

_numbers = count(1)
EVERYWHERE: dict[int, Role] = {}  # ids of the accounts of a test that are members of every project


@contextmanager
def no_savepoints() -> Iterator[None]:
    """More than half of the statements of most tests would be savepoints of what a test starts
    from, to which nothing returns: an error in it fails the test."""
    before = connection.features.uses_savepoints
    connection.features.uses_savepoints = False
    try:
        yield
    finally:
        connection.features.uses_savepoints = before


def make_environment(*, slug: str = "live", tier: Tier = Tier.ENTERPRISE) -> Environment:
    """An environment in a new project, with the starter flags and segment.

    Only their rows: with the checks and audit entries of the services, this would take most of the
    time of most tests.
    """
    number = next(_numbers)
    project = Project.objects.create(name=f"Game {number}", slug=f"game-{number}", tier=tier)
    _let_everybody_in(project)
    environments = Environment.objects.bulk_create(
        Environment(project=project, slug=each) for each in projects.ENVIRONMENT_SLUGS
    )
    environment = next(each for each in environments if each.slug == slug)
    Segment.objects.create(environment=environment, **SEGMENT)
    flags = Flag.objects.bulk_create(
        Flag(environment=environment, **{**flag, "document": encode_document(flag["document"])})
        for flag in FLAGS
    )
    FlagRevision.objects.bulk_create(
        FlagRevision(
            flag=flag,
            number=1,
            document=flag.document,
            name=flag.name,
            description=flag.description,
            author_name=ACTOR.name,
        )
        for flag in flags
    )
    return environment


@no_savepoints()
def make_audited_environment() -> Environment:
    """As make_environment does, by the services and with their audit entries."""
    number = next(_numbers)
    project = projects.project_create(name=f"Game {number}", slug=f"game-{number}", actor=ACTOR)
    _let_everybody_in(project)
    environment = project.environments.get(slug="live")
    environment_start(environment, ACTOR)
    return environment


def make_constant_flag(environment: Environment, key: str, value_type: str, value: Any) -> None:
    """A flag that is on and has one value for every player."""
    document = decode_document(
        {
            "value_type": value_type,
            "variants": [{"key": "only", "value": value}],
            "default": "only",
            "off": "only",
            "enabled": True,
        }
    )
    flag_create(environment=environment, key=key, document=document, actor=ACTOR)


def make_metric(
    environment: Environment, key: str, kind: MetricKind = MetricKind.COUNT, **columns: Any
) -> Metric:
    defaults = {"name": key, "direction": MetricDirection.UP}
    return Metric.objects.create(
        environment=environment, key=key, kind=kind, **{**defaults, **columns}
    )


def make_experiment(
    flag: Flag, key: str = "bigger-button", *metrics: Metric, **columns: Any
) -> Experiment:
    """A running experiment on the first rule of the flag, in its first phase; the first metric is
    the primary one, and those of a guarded rollout are guards."""
    now = datetime.now(UTC)
    defaults = {
        "kind": ExperimentKind.EXPERIMENT,
        "name": key,
        "rule_id": flag.document["rules"][0]["id"],
        "control": flag.document["variants"][0]["key"],
        "state": ExperimentState.RUNNING,
        "phase": 1,
        "phase_at": now,
        "started_at": now,
    }
    found = Experiment.objects.create(
        environment=flag.environment, flag=flag, key=key, **{**defaults, **columns}
    )
    for position, metric in enumerate(metrics):
        role = MetricRole.SECONDARY if position else MetricRole.PRIMARY
        guards = found.kind == ExperimentKind.ROLLOUT
        ExperimentMetric.objects.create(
            experiment=found,
            metric=metric,
            position=position,
            role=MetricRole.GUARD if guards else role,
            tolerance=0.05 if guards else None,
        )
    return found


def make_results(
    experiment: Experiment,
    arms: Mapping[str, Mapping[str, Arm]],
    day: date | None = None,
    breakdowns: Mapping[str, Any] | None = None,
    **columns: Any,
) -> ExperimentDay:
    """The results of a day, by default today's: `arms` by metric and variant. `breakdowns` are
    those of each metric."""
    now = datetime.now(UTC)
    day = day or now.date()
    key = {"experiment": experiment, "phase": experiment.phase, "day": day, "computed_at": now}
    metrics = {each.metric.key: each.metric for each in experiment.metrics.select_related("metric")}
    for name, by_variant in arms.items():
        ExperimentResult.objects.create(
            **key,
            metric=metrics[name],
            arms={variant: asdict(arm) for variant, arm in by_variant.items()},
            breakdowns=breakdowns,
        )
    players = {variant: arm.players for each in arms.values() for variant, arm in each.items()}
    defaults = {
        "players": players,
        "left_out": {"overridden": 0, "two": 0, "population": 0},
        "ratio_p": 0.5,
    }
    return ExperimentDay.objects.create(**key, **{**defaults, **columns})


def make_example_results(environment: Environment) -> None:
    """The experiment of the reference's examples, with results."""
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    metric = make_metric(environment, "revenue", MetricKind.REVENUE, window_days=7)
    experiment = make_experiment(flag, "bigger-button", metric, control="disabled", state="stopped")
    arms = {"disabled": Arm(900, 400, 900), "enabled": Arm(910, 800, 1800)}
    make_results(experiment, {"revenue": arms})


def make_exposure(
    experiment: Experiment, player: Player, variant: str, exposed_at: datetime, **columns: Any
) -> Exposure:
    return Exposure.objects.create(
        experiment=experiment,
        player_id=player.pk,
        phase=experiment.phase,
        variant=variant,
        exposed_at=exposed_at,
        **columns,
    )


@no_savepoints()
def make_key(
    environment: Environment, kind: KeyKind = KeyKind.PUBLIC, **options: Any
) -> api_keys.NewKey:
    return api_keys.api_key_create(
        environment=environment, kind=kind, name="Test", actor=ACTOR, **options
    )


def make_player(
    environment: Environment, external_id: str = "player_123", **columns: Any
) -> Player:
    """A player first and last seen now, unless the columns override it."""
    player = unsaved_player(environment, external_id, **columns)
    player.save(force_insert=True)
    return player


def unsaved_player(environment: Environment, external_id: str, **columns: Any) -> Player:
    """For many at once."""
    now = datetime.now(UTC)
    last_seen_at = columns.get("last_seen_at", now)
    first_seen_at = columns.get("first_seen_at", last_seen_at)
    days = (last_seen_at.date() - first_seen_at.date()).days
    defaults = {
        "first_seen_at": first_seen_at,
        "last_seen_at": last_seen_at,
        "last_active_on": last_seen_at.date(),
        "active_since": first_seen_at,
        "activity": make_activity(days, columns.get("active_days", 1)),
    }
    return Player(
        id=player_id_for(environment.namespace, external_id),
        environment=environment,
        external_id=external_id,
        **{**defaults, **columns},
    )


def make_activity(days: int, active_days: int) -> str:
    """Activity bits: first and last active day `days` apart, active days evenly spread."""
    gaps = max(min(active_days - 1, days), 1)
    active = {round(step * days / gaps) for step in range(gaps + 1)}
    return "".join("1" if day in active else "0" for day in range(days + 1))


def make_staff(role: Role = Role.ADMIN, username: str = "", *projects: Project) -> User:
    """An owner, or a member of these projects; by default of all, also of those that
    make_environment makes later in the test."""
    user = User(username=username or f"staff-{next(_numbers)}", is_owner=role is Role.OWNER)
    user.set_password(PASSWORD)
    user.save()
    if role is not Role.OWNER:
        _add_members({user.pk: (role, projects or Project.objects.all())})
        if not projects:
            EVERYWHERE[user.pk] = role
    return user


def make_session(user: User) -> str:
    """The cookie of a new session. One statement, while `force_login` runs fourteen."""
    session = SessionStore()
    data = {
        SESSION_KEY: str(user.pk),
        BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    made = Session.objects.create(
        session_key=get_random_string(32),
        session_data=session.encode(data),
        expire_date=session.get_expiry_date(),
    )
    return made.session_key


def _let_everybody_in(project: Project) -> None:
    _add_members({pk: (role, [project]) for pk, role in EVERYWHERE.items()})


def _add_members(roles: dict[int, tuple[Role, Iterable[Project]]]) -> None:
    Membership.objects.bulk_create(
        Membership(user_id=pk, project=project, role=role)
        for pk, (role, projects) in roles.items()
        for project in projects
    )


def make_request(environment: Environment, author: User, key: str = "new-feature") -> ChangeRequest:
    """A change request to turn on a flag; without a key, the starter flag that is off."""
    flag = Flag.objects.get(environment=environment, key=key)
    item = ChangeItem(
        environment.pk, "flag.enabled", flag.key, flag.key, {"enabled": False}, {"enabled": True},
        {**flag.document, "enabled": True, "archived": False},
    )  # fmt: skip
    return request_submit(environment, [item], actor=Actor.of_user(author))


def make_freeze(environment: Environment) -> FreezeWindow:
    """A freeze window that has not begun and shows no banner yet."""
    start = datetime.now(UTC) + timedelta(days=30)
    return freeze_create(
        environment, starts_at=start, ends_at=start + timedelta(days=1), reason="Sale", actor=ACTOR
    )


@dataclass(frozen=True, slots=True)
class World:
    """One object of each kind that a URL may name, one staff account per role in its project, and
    one per role in another project. An owner has no project."""

    environment: Environment
    key: ApiKey
    player: Player
    members: dict[Role, User]
    strangers: dict[Role, User]
    entry: AuditEntry  # that support may undo
    request: ChangeRequest
    freeze: FreezeWindow


def make_world() -> World:
    environment = make_environment()
    make_metric(environment, "sessions", MetricKind.SESSIONS)
    player = make_player(environment)
    entry = player_update(player, PlayerPatch(device_id="d-1"), actor=ACTOR)
    assert entry
    make_experiment(Flag.objects.get(environment=environment, key="new_tutorial"))
    ExperimentGroup.objects.create(environment=environment, key="economy", name="Economy")
    elsewhere = projects.project_create(name="Elsewhere", slug="elsewhere", actor=ACTOR)
    members = {role: make_staff(role, "", environment.project) for role in Role}
    return World(
        environment=environment,
        key=make_key(environment).key,
        player=player,
        entry=entry,
        members=members,
        strangers={role: make_staff(role, "", elsewhere) for role in MEMBER_ROLES},
        request=make_request(environment, members[Role.LIVE_OPS]),
        freeze=make_freeze(environment),
    )
