"""Undo: every change by staff can be undone from the audit log or has a reason why not."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import msgspec
import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from events.models import EventName
from events.services import event_name_describe
from flags.engine.document import Prerequisite, Rule
from flags.models import (
    Experiment,
    ExperimentGroup,
    Flag,
    FlagOverride,
    Metric,
    MetricKind,
    MetricRole,
)
from flags.overrides import override_remove, override_set, overrides_clear
from flags.results.experiments import (
    MetricUse,
    experiment_create,
    experiment_decide,
    experiment_delete,
    experiment_start,
    experiment_stop,
    experiment_update,
)
from flags.results.groups import group_create, group_delete, group_update
from flags.results.metrics import metric_create, metric_set_archived, metric_update
from flags.services import (
    flag_create,
    flag_restore,
    flag_set_archived,
    flag_set_details,
    flag_set_enabled,
    flag_update,
)
from flags.shadow import flag_archive_later
from ilara_admin.core.api_keys import api_key_create, api_key_update
from ilara_admin.core.audit import Actor, request_id
from ilara_admin.core.change_requests import (
    request_apply,
    request_approve,
    request_conflict,
    request_submit,
    why_not_requested,
)
from ilara_admin.core.changes import (
    Conflict,
    entries_together,
    undo,
    undo_together,
    why_not_undoable,
)
from ilara_admin.core.channels import channel_create, channel_update
from ilara_admin.core.freezes import freeze_create, freeze_delete, freeze_update
from ilara_admin.core.guard import Act, ChangeItem, Collected, Confirmation, is_guarded
from ilara_admin.core.projects import environment_update, project_update
from ilara_admin.core.staff import membership_set, staff_set_password, staff_update
from ilara_admin.models import (
    AuditAction,
    AuditEntry,
    ChannelKind,
    Environment,
    KeyKind,
    NotificationChannel,
    Role,
    Tier,
    User,
)
from players.aliases import player_alias_link, player_alias_unlink
from players.models import Player, player_id_for
from players.notes import note_add, note_delete
from players.schemas import PlayerPatch
from players.services import player_update, purchase_refund, purchase_refund_undo
from segments.lists.services import ids_add, ids_remove, list_clear, list_run
from segments.models import Segment
from segments.services import segment_create, segment_delete, segment_update
from tests.api_client import Api
from tests.factories import (
    ACTOR,
    make_environment,
    make_key,
    make_metric,
    make_player,
    make_staff,
)

type Snapshot = dict[str, list[str]]

# Histories of changes and events.
LEFT_OUT = (
    "audit_entry", "flag_revision", "segment_list_change", "segment_former_member",
    "event", "event_receipt",  # refunds append events
    "player_late_day",  # days to count again
)  # fmt: skip
COLUMNS_LEFT_OUT = {
    "environment": {"config_version"},
    "membership": {"id"},
    "experiment": {"revision", "updated_at", "ended_at", "rebuild"},
    "experiment_group": {"id", "revision", "created_at"},
    "flag": {"revision", "updated_at"},
    "metric": {"revision", "updated_at"},
    "segment": {"updated_at", "size", "sized_among", "sized_at", "size_wanted_at"},
}
BO = Actor("Bo")
SOON = datetime.now(UTC) + timedelta(days=7)
SUM = {
    "kind": "sum", "event": "bought", "property": "gems", "window_days": 7, "percentile": 99.0,
    "conditions": {
        "operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]
    },
}  # fmt: skip
RULE = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]}


@cache
def tables() -> tuple[str, ...]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT table_name FROM information_schema.tables
               WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"""
        )
        names = {name for (name,) in cursor.fetchall()}
    jobs = {name for name in names if name.startswith("procrastinate_")}
    parts = {name for name in names if name.startswith(("event_2", "event_receipt_"))}
    return tuple(sorted(names - jobs - parts - set(LEFT_OUT)))


def all_rows() -> Snapshot:
    """Every row of every table, as text."""
    found: Snapshot = {name: [] for name in tables()}
    dropped = [list(COLUMNS_LEFT_OUT.get(name, ())) for name in found]
    of_each = [
        f"SELECT '{name}', (to_jsonb(t) - %s::text[])::text FROM \"{name}\" t" for name in found
    ]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(of_each), dropped)
        for name, row in cursor.fetchall():
            found[name].append(row)
    for rows in found.values():
        rows.sort()
    # A removed value stays as a row with null, see the migration of players.
    found["player_value"] = [row for row in found["player_value"] if '"value": null' not in row]
    assert found["flag"]
    return found


class Things(NamedTuple):
    """One of each object that can be changed."""

    environment: Environment
    player: Player
    user: User

    @property
    def flag(self) -> Flag:
        return Flag.objects.select_related("environment__project").get(
            environment=self.environment, key="new_tutorial"
        )

    @property
    def segment(self) -> Segment:
        return Segment.objects.select_related("environment__project").get(
            environment=self.environment, key="beta-testers"
        )

    @property
    def experiment(self) -> Experiment:
        return Experiment.objects.select_related("flag__environment__project").get(
            environment=self.environment
        )

    @property
    def channel(self) -> NotificationChannel:
        return NotificationChannel.objects.get(project=self.environment.project)

    @property
    def event_name(self) -> EventName:
        return EventName.objects.get(environment=self.environment)


@pytest.fixture(scope="module")
def shared_things(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Things]:
    """Built once in a transaction; each test runs in a savepoint."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield make_things()
        transaction.set_rollback(True)


@pytest.fixture
def things(shared_things: Things, db: None) -> Things:
    return deepcopy(shared_things)


def make_things() -> Things:
    environment = make_environment()
    player = make_player(environment, email="p@example.com", attributes={"level": 3, "vip": True})
    make_player(environment, "other")
    api = Api(make_key(environment).token)
    path = f"/v1/players/players/{player.pk}/purchase"
    assert api.post(path, {"amount": 5, "transaction_id": "t-1"}).status == 200
    now = datetime.now(UTC)
    EventName.objects.create(
        environment=environment, name="died", description="Old", first_seen_at=now,
        last_seen_at=now, count=1,
    )  # fmt: skip
    make_staff(Role.OWNER)
    user = make_staff(Role.SUPPORT)
    things = Things(environment, Player.objects.get(pk=player.pk), user)
    ids_add(things.segment, ["player_123", "guest-1"], excluded=False, actor=ACTOR)
    ids_add(things.segment, ["guest-1"], excluded=True, actor=ACTOR)
    return things


type Change = Callable[[Things], object]


def update(things: Things, **fields: Any) -> None:
    flag = things.flag
    document = msgspec.structs.replace(flag.spec, **fields)
    flag_update(flag, document=document, base_revision=flag.revision, actor=ACTOR)


def rename(things: Things, name: str) -> None:
    flag = things.flag
    details = {**flag.details, "name": name, "expected_end": "2031-01-01"}
    flag_update(flag, document=flag.spec, details=details, base_revision=flag.revision, actor=ACTOR)


def freeze(things: Things) -> None:
    end = SOON + timedelta(days=1)
    freeze_create(things.environment, starts_at=SOON, ends_at=end, reason="Finals", actor=ACTOR)


def move_freeze(things: Things, days: int) -> None:
    window, end = things.environment.freeze_windows.get(), SOON + timedelta(days=days)
    freeze_update(window, starts_at=SOON, ends_at=end, reason="Finals", actor=ACTOR)


def roll_out(things: Things, share: int) -> None:
    flag = things.flag
    document = flag.spec.with_rollout("beta", share)
    flag_update(flag, document=document, base_revision=flag.revision, actor=ACTOR)


def restore_first(things: Things) -> None:
    flag = things.flag
    flag_restore(flag, 1, base_revision=flag.revision, actor=ACTOR)


def create_flag(things: Things) -> None:
    flag_create(environment=things.environment, key="new", document=things.flag.spec, actor=ACTOR)


def switch_new_flag(things: Things) -> None:
    flag = Flag.objects.get(environment=things.environment, key="new")
    flag_set_enabled(flag, not flag.enabled, actor=ACTOR)


def update_segment(things: Things, **fields: Any) -> None:
    segment = things.segment
    now = {"name": segment.name, "rule": segment.rule, "description": segment.description}
    segment_update(segment, **{**now, **fields}, actor=ACTOR)


def free_segment(things: Things) -> None:
    Flag.objects.filter(environment=things.environment).update(
        document={**things.flag.document, "rules": []}
    )


def create_segment(things: Things) -> None:
    segment_create(environment=things.environment, key="new", name="", rule=RULE, actor=ACTOR)


def create_metric(things: Things) -> None:
    metric_create(
        environment=things.environment, key="gems", definition=SUM, direction="up", actor=ACTOR
    )


def create_archived_metric(things: Things) -> None:
    create_metric(things)
    metric_set_archived(metric(things), True, actor=ACTOR)


def metric(things: Things) -> Metric:
    return Metric.objects.select_related("environment__project").get(
        environment=things.environment, key="gems"
    )


def clear(things: Things) -> None:
    list_run(list_clear(things.segment, excluded=False, actor=ACTOR))


def guest_rows(things: Things) -> None:
    """Overrides of an unregistered id, one for a flag that the player has an override of, too."""
    guest = player_id_for(things.environment.namespace, "guest-1")
    for number, flag in enumerate(Flag.objects.filter(environment=things.environment)):
        FlagOverride.objects.create(player_id=guest, flag=flag, variant="enabled", author_name="Bo")
        if number:
            override_set(flag, things.player, "disabled", actor=BO)


def create_key(things: Things) -> None:
    api_key_create(environment=things.environment, kind=KeyKind.SECRET, name="Old", actor=ACTOR)


def update_key(things: Things, **fields: Any) -> None:
    api_key_update(things.environment.api_keys.get(name="Old"), fields, actor=ACTOR)


class Case(NamedTuple):
    """`first` prepares; `later` changes the same fields again."""

    action: AuditAction
    do: Change
    later: Change
    first: Change = lambda things: None


def revenue(things: Things) -> None:
    make_metric(things.environment, "revenue", MetricKind.REVENUE)


def draft(things: Things) -> None:
    experiment_create(
        flag=things.flag, rule_id="beta", key="shop", control="disabled", planned_players=1000,
        planned_end=SOON.date(), population=RULE, actor=ACTOR,
        metrics=[MetricUse("revenue", MetricRole.PRIMARY)],
    )  # fmt: skip


def new_draft(things: Things) -> None:
    revenue(things)
    draft(things)


def run(things: Things) -> None:
    flag_set_enabled(things.flag, True, actor=ACTOR)
    roll_out(things, 50_000)
    new_draft(things)
    experiment_start(things.experiment, actor=ACTOR)


def create_group(things: Things) -> None:
    group_create(environment=things.environment, key="shop", holdout=5_000, actor=ACTOR)


def group(things: Things) -> ExperimentGroup:
    return ExperimentGroup.objects.get(environment=things.environment, key="shop")


def rename_experiment(things: Things, name: str, **fields: Any) -> None:
    experiment_update(things.experiment, {"name": name, **fields}, actor=ACTOR)


A = AuditAction
LINK = {"label": "Ticket", "url": "https://tracker.example/1"}
CASES = {
    "key": Case(
        A.API_KEY_UPDATED,
        lambda t: update_key(t, scopes=["read"], networks=["10.0.0.0/8"]),
        lambda t: update_key(t, scopes=["track"]),
        first=create_key,
    ),
    "flag created": Case(A.FLAG_CREATED, create_flag, switch_new_flag),
    "flag deleted": Case(
        A.FLAG_DELETED,
        lambda t: undo(newest(), actor=ACTOR),
        create_flag,
        first=create_flag,
    ),
    "flag rollout": Case(
        A.FLAG_UPDATED, lambda t: roll_out(t, 5_000), lambda t: roll_out(t, 6_000)
    ),
    "flag variants": Case(
        A.FLAG_UPDATED,
        lambda t: update(t, default="enabled", rules=()),
        lambda t: update(t, default="disabled"),
    ),
    "flag description": Case(
        A.FLAG_UPDATED, lambda t: rename(t, "New name"), lambda t: rename(t, "Newer name")
    ),
    "flag off": Case(
        A.FLAG_DISABLED,
        lambda t: flag_set_enabled(t.flag, False, actor=ACTOR),
        lambda t: flag_set_enabled(t.flag, True, actor=ACTOR),
    ),
    "flag on": Case(
        A.FLAG_ENABLED,
        lambda t: flag_set_enabled(t.flag, True, actor=ACTOR),
        lambda t: flag_set_enabled(t.flag, False, actor=ACTOR),
        first=lambda t: flag_set_enabled(t.flag, False, actor=ACTOR),
    ),
    "flag archived": Case(
        A.FLAG_ARCHIVED,
        lambda t: flag_set_archived(t.flag, True, actor=ACTOR),
        lambda t: flag_set_archived(t.flag, False, actor=ACTOR),
    ),
    "flag archived in its shadow period": Case(
        A.FLAG_ARCHIVED,
        lambda t: flag_set_archived(t.flag, True, actor=ACTOR),
        lambda t: flag_set_archived(t.flag, False, actor=ACTOR),
        first=lambda t: flag_archive_later(t.flag, SOON, actor=ACTOR),
    ),
    "flag archives later": Case(
        A.FLAG_ARCHIVE_SCHEDULED,
        lambda t: flag_archive_later(t.flag, SOON, actor=ACTOR),
        lambda t: flag_archive_later(t.flag, None, actor=ACTOR),
    ),
    "flag does not archive": Case(
        A.FLAG_ARCHIVE_CANCELLED,
        lambda t: flag_archive_later(t.flag, None, actor=ACTOR),
        lambda t: flag_archive_later(t.flag, SOON, actor=ACTOR),
        first=lambda t: flag_archive_later(t.flag, SOON, actor=ACTOR),
    ),
    "flag unarchived": Case(
        A.FLAG_UNARCHIVED,
        lambda t: flag_set_archived(t.flag, False, actor=ACTOR),
        lambda t: flag_set_archived(t.flag, True, actor=ACTOR),
        first=lambda t: flag_set_archived(t.flag, True, actor=ACTOR),
    ),
    "flag restored": Case(
        A.FLAG_RESTORED,
        restore_first,
        lambda t: roll_out(t, 6_000),
        first=lambda t: roll_out(t, 5_000),
    ),
    "override set": Case(
        A.FLAG_OVERRIDDEN,
        lambda t: override_set(t.flag, t.player, "enabled", actor=ACTOR),
        lambda t: override_set(t.flag, t.player, "disabled", actor=ACTOR),
    ),
    "override changed": Case(
        A.FLAG_OVERRIDDEN,
        lambda t: override_set(t.flag, t.player, "disabled", actor=ACTOR),
        lambda t: override_remove(t.flag, t.player, actor=ACTOR),
        first=lambda t: override_set(
            t.flag, t.player, "enabled", actor=BO, expires_at=datetime.now(UTC) + timedelta(hours=1)
        ),
    ),
    "override removed": Case(
        A.FLAG_OVERRIDE_REMOVED,
        lambda t: override_remove(t.flag, t.player, actor=ACTOR),
        lambda t: override_set(t.flag, t.player, "disabled", actor=ACTOR),
        first=lambda t: override_set(
            t.flag, t.player, "enabled", actor=BO, expires_at=datetime.now(UTC) + timedelta(hours=1)
        ),
    ),
    "overrides cleared": Case(
        A.FLAG_OVERRIDES_REPLACED,
        lambda t: overrides_clear(t.flag, actor=ACTOR),
        lambda t: override_set(t.flag, t.player, "disabled", actor=ACTOR),
        first=lambda t: override_set(t.flag, t.player, "enabled", actor=BO, reason="A test"),
    ),
    "flag tags": Case(
        A.FLAG_UPDATED,
        lambda t: flag_set_details(t.flag, {"tags": ["a"], "links": [LINK]}, actor=ACTOR),
        lambda t: flag_set_details(t.flag, {"tags": ["b"]}, actor=ACTOR),
    ),
    "experiment created": Case(
        A.EXPERIMENT_CREATED,
        draft,
        lambda t: rename_experiment(t, "Newer"),
        first=revenue,
    ),
    "experiment deleted": Case(
        A.EXPERIMENT_DELETED,
        lambda t: experiment_delete(t.experiment, actor=ACTOR),
        lambda t: experiment_create(
            flag=t.flag, rule_id="beta", key="shop", control="disabled", actor=ACTOR
        ),
        first=new_draft,
    ),
    "experiment updated": Case(
        A.EXPERIMENT_UPDATED,
        lambda t: rename_experiment(t, "New", planned_end=None, population=None, metrics=[]),
        lambda t: rename_experiment(t, "Newer"),
        first=new_draft,
    ),
    "experiment stopped": Case(
        A.EXPERIMENT_STOPPED,
        lambda t: experiment_stop(t.experiment, actor=ACTOR),
        lambda t: experiment_decide(t.experiment, evidence=None, actor=ACTOR),
        first=run,
    ),
    "experiment decided": Case(
        A.EXPERIMENT_DECIDED,
        lambda t: experiment_decide(t.experiment, evidence={"day": "x"}, actor=ACTOR),
        lambda t: undo(newest(), actor=ACTOR),
        first=run,
    ),
    "group created": Case(
        A.EXPERIMENT_GROUP_CREATED,
        create_group,
        lambda t: group_update(group(t), {"name": "Newer"}, actor=ACTOR),
    ),
    "group updated": Case(
        A.EXPERIMENT_GROUP_UPDATED,
        lambda t: group_update(group(t), {"name": "New", "holdout": 10_000}, actor=ACTOR),
        lambda t: group_update(group(t), {"name": "Newer", "holdout": 0}, actor=ACTOR),
        first=create_group,
    ),
    "group deleted": Case(
        A.EXPERIMENT_GROUP_DELETED,
        lambda t: group_delete(group(t), actor=ACTOR),
        create_group,
        first=create_group,
    ),
    "metric created": Case(
        A.METRIC_CREATED,
        create_metric,
        lambda t: metric_update(metric(t), {"name": "Newer"}, actor=ACTOR),
    ),
    "metric updated": Case(
        A.METRIC_UPDATED,
        lambda t: metric_update(
            metric(t),
            {"definition": {**SUM, "percentile": 95.0}, "unit": "gems", "name": "Renamed"},
            actor=ACTOR,
        ),
        lambda t: metric_update(metric(t), {"definition": {**SUM, "window_days": 1}}, actor=ACTOR),
        first=create_metric,
    ),
    "metric archived": Case(
        A.METRIC_ARCHIVED,
        lambda t: metric_set_archived(metric(t), True, actor=ACTOR),
        lambda t: metric_set_archived(metric(t), False, actor=ACTOR),
        first=create_metric,
    ),
    "metric unarchived": Case(
        A.METRIC_UNARCHIVED,
        lambda t: metric_set_archived(metric(t), False, actor=ACTOR),
        lambda t: metric_set_archived(metric(t), True, actor=ACTOR),
        first=create_archived_metric,
    ),
    "metric deleted": Case(
        A.METRIC_DELETED,
        lambda t: undo(newest(), actor=ACTOR),
        create_metric,
        first=create_metric,
    ),
    "segment created": Case(
        A.SEGMENT_CREATED,
        create_segment,
        lambda t: segment_update(
            Segment.objects.get(key="new", environment=t.environment),
            name="Newer",
            rule=RULE,
            description="",
            actor=ACTOR,
        ),
    ),
    "segment updated": Case(
        A.SEGMENT_UPDATED,
        lambda t: update_segment(t, rule=RULE, name="Renamed"),
        lambda t: update_segment(t, name="Renamed again"),
    ),
    "segment deleted": Case(
        A.SEGMENT_DELETED,
        lambda t: segment_delete(t.segment, actor=ACTOR),
        lambda t: segment_create(
            environment=t.environment, key="beta-testers", name="", rule=RULE, actor=ACTOR
        ),
        first=free_segment,
    ),
    "ids added": Case(
        A.SEGMENT_LIST_CHANGED,
        lambda t: ids_add(t.segment, ["x", "player_123"], excluded=False, actor=ACTOR),
        lambda t: ids_remove(t.segment, ["x"], excluded=False, actor=ACTOR),
    ),
    "ids removed": Case(
        A.SEGMENT_LIST_CHANGED,
        lambda t: ids_remove(t.segment, ["player_123"], excluded=False, actor=ACTOR),
        lambda t: ids_add(t.segment, ["player_123"], excluded=False, actor=ACTOR),
    ),
    "list cleared": Case(
        A.SEGMENT_LIST_CHANGED,
        clear,
        lambda t: ids_add(t.segment, ["player_123", "guest-1"], excluded=False, actor=ACTOR),
    ),
    "player fields": Case(
        A.PLAYER_UPDATED,
        lambda t: player_update(
            t.player,
            PlayerPatch(email=None, device_id="d", attributes={"level": 4, "vip": None, "new": 1}),
            actor=ACTOR,
        ),
        lambda t: player_update(t.player, PlayerPatch(attributes={"new": 2}), actor=ACTOR),
    ),
    "refund": Case(
        A.PLAYER_PURCHASE_REFUNDED,
        lambda t: purchase_refund(t.player, "t-1", actor=ACTOR),
        lambda t: purchase_refund_undo(t.player, "t-1", actor=ACTOR),
    ),
    "reversal": Case(
        A.PLAYER_REFUND_REVERSED,
        lambda t: purchase_refund_undo(t.player, "t-1", actor=ACTOR),
        lambda t: purchase_refund(t.player, "t-1", actor=ACTOR),
        first=lambda t: purchase_refund(t.player, "t-1", actor=ACTOR),
    ),
    "id linked": Case(
        A.PLAYER_ALIAS_LINKED,
        lambda t: player_alias_link(t.player, "guest-9", actor=ACTOR),
        lambda t: player_alias_unlink(t.player, "guest-9", actor=ACTOR),
    ),
    "id linked that has rows": Case(
        A.PLAYER_ALIAS_LINKED,
        lambda t: player_alias_link(t.player, "guest-1", actor=ACTOR),
        lambda t: ids_remove(t.segment, ["player_123"], excluded=True, actor=ACTOR),
        first=lambda t: guest_rows(t),
    ),
    "id unlinked": Case(
        A.PLAYER_ALIAS_UNLINKED,
        lambda t: player_alias_unlink(t.player, "guest-1", actor=ACTOR),
        lambda t: player_alias_link(t.player, "guest-1", actor=ACTOR),
        first=lambda t: player_alias_link(t.player, "guest-1", actor=ACTOR),
    ),
    "note added": Case(
        A.PLAYER_NOTE_ADDED,
        lambda t: note_add(t.player, "Be kind", actor=BO),
        lambda t: note_delete(t.player, t.player.notes.get().id, actor=ACTOR),
    ),
    "note deleted": Case(
        A.PLAYER_NOTE_DELETED,
        lambda t: note_delete(t.player, t.player.notes.get().id, actor=ACTOR),
        lambda t: undo(AuditEntry.objects.all()[0], actor=ACTOR),
        first=lambda t: note_add(t.player, "Be kind", actor=BO),
    ),
    "event described": Case(
        A.EVENT_NAME_DESCRIBED,
        lambda t: event_name_describe(
            t.event_name, {"description": "New", "owner": "Bo"}, actor=ACTOR
        ),
        lambda t: event_name_describe(t.event_name, {"owner": "Ada"}, actor=ACTOR),
    ),
    "environment settings": Case(
        A.ENVIRONMENT_UPDATED,
        lambda t: environment_update(
            t.environment, {"new_days": 3, "public_keys_restricted": True}, actor=ACTOR
        ),
        lambda t: environment_update(t.environment, {"new_days": 4}, actor=ACTOR),
    ),
    "project settings": Case(
        A.PROJECT_UPDATED,
        lambda t: project_update(t.environment.project, name="New", tier=Tier.PRO, actor=ACTOR),
        lambda t: project_update(t.environment.project, tier=Tier.FREE, actor=ACTOR),
    ),
    "channel": Case(
        A.CHANNEL_UPDATED,
        lambda t: channel_update(t.channel, name="#new", kinds=["live_change"], actor=ACTOR),
        lambda t: channel_update(t.channel, name="#newer", actor=ACTOR),
        first=lambda t: channel_create(
            project=t.environment.project,
            kind=ChannelKind.SLACK,
            name="#old",
            url="https://hooks.slack.com/services/x",
            kinds=[],
            actor=ACTOR,
        ),
    ),
    "staff": Case(
        A.STAFF_UPDATED,
        lambda t: staff_update(
            t.user,
            name="Bo",
            email="bo@x.example",
            is_owner=True,
            time_zone="Asia/Tokyo",
            is_active=False,
            actor=ACTOR,
        ),
        lambda t: staff_update(t.user, is_active=True, actor=ACTOR),
    ),
    "freeze planned": Case(
        A.FREEZE_WINDOW_CREATED,
        lambda t: freeze(t),
        lambda t: move_freeze(t, 3),
    ),
    "freeze moved": Case(
        A.FREEZE_WINDOW_UPDATED,
        lambda t: move_freeze(t, 2),
        lambda t: move_freeze(t, 3),
        first=lambda t: freeze(t),
    ),
    "freeze deleted": Case(
        A.FREEZE_WINDOW_DELETED,
        lambda t: freeze_delete(t.environment.freeze_windows.get(), actor=ACTOR),
        lambda t: undo(newest(), actor=ACTOR),
        first=lambda t: freeze(t),
    ),
    "role": Case(
        A.STAFF_MEMBERSHIP_CHANGED,
        lambda t: membership_set(t.user, t.environment.project, Role.ADMIN, actor=ACTOR),
        lambda t: membership_set(t.user, t.environment.project, Role.VIEWER, actor=ACTOR),
    ),
    "member removed": Case(
        A.STAFF_MEMBERSHIP_CHANGED,
        lambda t: membership_set(t.user, t.environment.project, None, actor=ACTOR),
        lambda t: membership_set(t.user, t.environment.project, Role.VIEWER, actor=ACTOR),
    ),
}


def newest() -> AuditEntry:
    return AuditEntry.objects.all()[0]


@pytest.mark.parametrize("name", CASES)
def test_undo__restores_every_table(name: str, things: Things) -> None:
    case = CASES[name]
    case.first(things)
    before = all_rows()
    case.do(things)
    entry, changed = newest(), all_rows()
    assert entry.action == case.action
    assert changed != before
    undone = undo(entry, actor=BO)
    assert undone is not None
    assert undone.actor_name == "Bo"
    assert all_rows() == before
    redone = undo(undone, actor=BO)
    assert redone is not None
    assert all_rows() == changed
    undo(redone, actor=BO)
    assert all_rows() == before


@pytest.mark.parametrize("name", CASES)
def test_undo_after_a_later_change_of_the_same_fields__is_refused(
    name: str, things: Things
) -> None:
    case = CASES[name]
    case.first(things)
    case.do(things)
    entry = newest()
    case.later(things)
    later = all_rows()
    with pytest.raises((Conflict, ValidationError)) as refused:
        undo(entry, actor=BO)
    assert all_rows() == later
    if entry.action != A.SEGMENT_LIST_CHANGED:
        assert isinstance(refused.value, Conflict)
        assert refused.value.theirs


def test_every_action__can_be_undone_or_has_a_reason() -> None:
    now = datetime.now(UTC)
    entries = [AuditEntry(action=action, after={"x": 1}, created_at=now) for action in AuditAction]
    refusals = {entry.action: why_not_undoable(entry) for entry in entries}
    undoable = {action for action, sentence in refusals.items() if not sentence}
    assert undoable == {case.action for case in CASES.values()}
    assert all(sentence.endswith(".") for sentence in refusals.values() if sentence)


def test_password__cannot_be_undone(things: Things) -> None:
    staff_set_password(things.user, password="a new long password", actor=ACTOR)
    with pytest.raises(ValidationError, match="cannot be restored"):
        undo(newest(), actor=ACTOR)


def test_undo__restores_only_the_fields_of_its_entry(things: Things) -> None:
    roll_out(things, 5_000)
    entry = newest()
    rename(things, "Later")
    undo(entry, actor=ACTOR)
    assert things.flag.spec.rules[0].rollout == 100_000
    assert things.flag.name == "Later"


@pytest.fixture
def one_request(things: Things) -> Iterator[None]:
    token = request_id.set("r-1")
    yield
    request_id.reset(token)


@pytest.mark.usefixtures("one_request")
def test_undo_together__takes_back_all_of_a_change(things: Things) -> None:
    """A flag and the segment that it needs, a flag that was turned off and archived."""
    before = all_rows()
    create_segment(things)
    rules = (Rule(id="r1", segment="new", variant="enabled"),)
    document = msgspec.structs.replace(things.flag.spec, rules=rules)
    flag_create(environment=things.environment, key="new", document=document, actor=ACTOR)
    flag_set_enabled(things.flag, False, actor=ACTOR)
    flag_set_archived(things.flag, True, actor=ACTOR)
    changed, entries = all_rows(), entries_together(newest())
    actions = [A.FLAG_ARCHIVED, A.FLAG_DISABLED, A.FLAG_CREATED, A.SEGMENT_CREATED]
    assert [entry.action for entry in entries] == actions
    with pytest.raises(ValidationError, match="is used by the flag new"):
        undo(entries[-1], actor=BO)

    undone = undo_together(entries, actor=BO)
    assert all_rows() == before
    undo_together(undone, actor=BO)
    assert all_rows() == changed


@pytest.mark.usefixtures("one_request")
def test_undo_together__undoes_nothing_if_one_was_changed_since(things: Things) -> None:
    create_segment(things)
    roll_out(things, 5_000)
    entries = entries_together(newest())
    assert len(entries) == 2
    roll_out(things, 6_000)
    later = all_rows()
    with pytest.raises(Conflict):
        undo_together(entries, actor=BO)
    assert all_rows() == later


def test_entries_together__are_of_one_request_and_account(things: Things) -> None:
    token = request_id.set("")  # of a command
    create_flag(things)
    create_segment(things)
    assert entries_together(newest()) == [newest()]
    request_id.set("r-2")
    roll_out(things, 5_000)
    rename(things, "New")
    request_id.reset(token)
    newer, older = AuditEntry.objects.all()[:2]
    assert entries_together(older) == [newer, older]
    AuditEntry.objects.filter(pk=newer.pk).update(actor_user=things.user)
    assert entries_together(older) == [older]


def test_flag_that_is_in_use__is_not_deleted(things: Things) -> None:
    create_flag(things)
    entry = newest()
    needs = (Prerequisite(flag="new", variants=("enabled",)),)
    update(things, prerequisites=needs)
    with pytest.raises(ValidationError, match="required by new_tutorial"):
        undo(entry, actor=ACTOR)
    update(things, prerequisites=())
    flag = Flag.objects.get(environment=things.environment, key="new")
    override_set(flag, things.player, "enabled", actor=ACTOR)
    with pytest.raises(ValidationError, match="has overrides"):
        undo(entry, actor=ACTOR)
    override_remove(flag, things.player, actor=ACTOR)
    flag_set_archived(flag, True, actor=ACTOR)
    with pytest.raises(ValidationError, match="is archived"):
        undo(entry, actor=ACTOR)
    flag_set_archived(flag, False, actor=ACTOR)
    entry.created_at -= timedelta(days=2)
    with pytest.raises(ValidationError, match="on its first day only"):
        undo(entry, actor=ACTOR)
    entry.created_at += timedelta(days=2)
    undo(entry, actor=ACTOR)
    assert not Flag.objects.filter(pk=flag.pk).exists()


# --- Change requests ------------------------------------------------------------------------------

REQUESTED = [
    name
    for name, case in CASES.items()
    # To freeze needs nothing, and neither do changes of players, events and staff.
    if case.action != A.FREEZE_WINDOW_CREATED and is_guarded(case.action.partition(".")[0])
]


@pytest.fixture
def staged() -> Callable[[Callable[[], object]], list[ChangeItem]]:
    """What a change by ACTOR would record."""

    def collect(change: Callable[[], object]) -> list[ChangeItem]:
        found: list[Collected] = []
        object.__setattr__(ACTOR, "confirmation", Confirmation(collecting=found))
        try:
            with transaction.atomic():
                change()
                transaction.set_rollback(True)
        finally:
            object.__setattr__(ACTOR, "confirmation", Confirmation())
        return [each.item for each in found]

    return collect


@pytest.mark.slow
@pytest.mark.parametrize("name", REQUESTED)
def test_each_kind_of_change__is_applied_as_requested(
    name: str, things: Things, staged: Callable[[Callable[[], object]], list[ChangeItem]]
) -> None:
    case, environment = CASES[name], things.environment
    ana, bo = (Actor.of_user(make_staff(Role.ADMIN)) for _ in range(2))
    case.first(things)
    before = all_rows()
    items = staged(lambda: case.do(things))
    assert all_rows() == before
    assert not why_not_requested(environment, items)
    environment_update(environment, {"guard_approval": sorted(Act)}, actor=ACTOR)
    request = request_submit(environment, items, actor=ana)
    request_approve(request, actor=bo, fingerprint=request.fingerprint)
    # JSON in the database and back.
    request.refresh_from_db()
    assert request_conflict(request) is None
    applied = request_apply(request, actor=ana, fingerprint=request.fingerprint)
    assert [entry.action for entry in applied.entries] == [item.action for item in items]
    assert applied.entries[-1].action == case.action
