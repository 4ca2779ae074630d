"""Changes of segment lists."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from procrastinate import JobContext
from procrastinate.exceptions import JobAborted

from ilara_admin.core.changes import undo as undo_entry
from ilara_admin.models import AuditAction, AuditEntry, Environment
from players.models import player_id_for
from segments import tasks
from segments.lists import chunks, csv_reader, services
from segments.lists.chunks import SupersededError, take_up
from segments.models import (
    ListAction,
    ListState,
    Segment,
    SegmentFormerMember,
    SegmentListChange,
    SegmentListPiece,
    SegmentMember,
)
from segments.services import segment_delete
from tests.factories import ACTOR, make_environment, make_player

pytestmark = pytest.mark.django_db
# The context of a job whose worker is stopping, or not.
STOPPING = cast(JobContext, SimpleNamespace(should_abort=lambda: True))
NOT_STOPPING = cast(JobContext, SimpleNamespace(should_abort=lambda: False))


@pytest.fixture
def segment(environment: Environment) -> Segment:
    Segment.objects.filter(environment=environment).update(key="vips")  # no flag uses it
    return Segment.objects.select_related("environment__project").get(environment=environment)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 3)
    monkeypatch.setattr(csv_reader, "HEAD_BYTES", 1)
    monkeypatch.setattr(csv_reader, "HEAD_LINES", 1)


def on(segment: Segment, *, excluded: bool = False) -> list[str]:
    """The ids of a list; also checks the segment's stored count."""
    found = SegmentMember.objects.on(segment, excluded=excluded)
    segment.refresh_from_db()
    assert (segment.excluded if excluded else segment.included) == found.count()
    return [member.external_id for member in found]


def add(segment: Segment, *ids: str, excluded: bool = False) -> SegmentListChange:
    return services.ids_add(segment, ids, excluded=excluded, actor=ACTOR)


def import_ids(segment: Segment, *ids: str, replace: bool = False) -> SegmentListChange:
    change = services.list_import(segment, excluded=False, actor=ACTOR, replace=replace)
    return services.list_run(change, [f"{each}\n".encode() for each in ids])


def undo(change: SegmentListChange) -> SegmentListChange:
    return services.list_run(services.list_undo(change, actor=ACTOR))


def last_entry() -> AuditEntry:
    return AuditEntry.objects.order_by("-id")[0]


def shown(entry: AuditEntry) -> dict[str, Any]:
    """What the audit log shows of an entry."""
    fields = (entry.after or {}).items()
    return {name: value for name, value in fields if not name.startswith("_")}


# --- A few ids ------------------------------------------------------------------------------------


def test_ids__are_added_and_removed_with_an_audit_entry(segment: Segment) -> None:
    change = services.ids_add(segment, ["b", "a"], excluded=False, actor=ACTOR, reason="launch")
    assert on(segment) == ["a", "b"]
    assert (change.added, change.present, change.state) == (2, 0, ListState.DONE)
    entry = last_entry()
    assert (entry.action, entry.object_id) == (AuditAction.SEGMENT_LIST_CHANGED, "vips")
    assert (entry.reason, entry.actor_name) == ("launch", "Ada")
    assert shown(entry) == {"list": "included", "change": "add", "added": 2, "ids": ["b", "a"]}

    services.ids_remove(segment, ["a", "missing"], excluded=False, actor=ACTOR)
    assert on(segment) == ["b"]
    assert shown(last_entry()) == {
        "list": "included", "change": "remove", "removed": 1, "ids": ["a", "missing"],
    }  # fmt: skip


def test_row__has_the_player_id_before_the_player_registers(segment: Segment) -> None:
    add(segment, "later")
    player = make_player(segment.environment, "later")
    assert SegmentMember.objects.get().player_id == player.id


def test_player__can_be_on_both_lists_and_in_several_segments(segment: Segment) -> None:
    other = Segment.objects.create(
        environment=segment.environment, key="other", name="", rule=segment.rule
    )
    add(segment, "x")
    add(segment, "x", "y", excluded=True)
    add(other, "x")
    with connection.cursor() as cursor:
        player_id = player_id_for(segment.environment.namespace, "x")
        cursor.execute(f"SELECT {services.memberships_sql('%s')}", [player_id])
        (found,) = cursor.fetchone()
    assert found == f'{{"{segment.pk}": true, "{other.pk}": false}}'


def test_ids_already_on_the_list__write_nothing(segment: Segment) -> None:
    add(segment, "x")
    entries = AuditEntry.objects.count()
    change = add(segment, "x", "x")
    assert (change.added, change.present) == (0, 2)
    assert SegmentListChange.objects.count() == 1
    assert AuditEntry.objects.count() == entries


def test_list_change__keeps_config_version(segment: Segment) -> None:
    before = Environment.objects.get(pk=segment.environment_id).config_version
    add(segment, "x")
    assert Environment.objects.get(pk=segment.environment_id).config_version == before


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "at least one"),
        (["x"] * 1_001, "at most 1,000 external ids"),
        (["a", ""], "is empty"),
        (["x" * 256], "longer than 255"),
        (["a\0b"], "“ab” contains a NUL character"),
    ],
)
def test_invalid_ids__are_refused_and_change_nothing(
    ids: list[str], message: str, segment: Segment
) -> None:
    with pytest.raises(ValidationError, match=message):
        add(segment, *ids)
    assert on(segment) == []
    assert not SegmentListChange.objects.exists()


# --- Files ----------------------------------------------------------------------------------------


def test_import__adds_valid_lines_and_reports_invalid_ones(segment: Segment) -> None:
    add(segment, "a")
    change = services.list_import(
        segment, excluded=False, actor=ACTOR, file_name="vips.csv", size=24, reason="sale"
    )
    seen: list[tuple[str, int, int]] = []
    data = b"a\nb\n\xff\nc\nc\nd\n" + b"x" * 256 + b"\ne\n"
    services.list_run(change, [data[:7], data[7:]], lambda *done: seen.append(done))
    change.refresh_from_db()
    assert on(segment) == ["a", "b", "c", "d", "e"]
    assert (change.lines, change.added, change.present, change.bad) == (8, 4, 2, 2)
    assert change.bad_lines == [[3, "is not UTF-8"], [7, "is longer than 255 characters"]]
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1] == ("Importing", len(data), 24)
    assert shown(last_entry()) == {
        "list": "included", "change": "import", "file": "vips.csv", "added": 4, "bad lines": 2,
    }  # fmt: skip


def test_import_with_many_invalid_lines__stores_the_first_few(segment: Segment) -> None:
    change = import_ids(segment, *['""'] * 40)
    assert change.bad == 40
    assert [number for number, _ in change.bad_lines] == list(range(1, 11))


def test_replace__removes_ids_missing_from_the_file(segment: Segment) -> None:
    add(segment, *"abcdefgh")
    add(segment, "z", excluded=True)
    change = import_ids(segment, *"cdxyz", replace=True)
    assert on(segment) == list("cdxyz")
    assert on(segment, excluded=True) == ["z"]
    assert (change.added, change.removed, change.present) == (3, 6, 2)


def test_replace__leaves_concurrent_additions(segment: Segment) -> None:
    add(segment, *"abcd")
    change = services.list_import(segment, excluded=False, actor=ACTOR, replace=True)

    def pieces() -> Iterable[bytes]:
        yield b"d\ne\nf\ng\n"
        add(segment, "late")

    services.list_run(change, pieces())
    assert on(segment) == ["d", "e", "f", "g", "late"]


def test_replace_by_an_empty_file__is_refused(segment: Segment) -> None:
    add(segment, "a")
    with pytest.raises(ValidationError, match="no external id"):
        import_ids(segment, "", '""', replace=True)
    assert on(segment) == ["a"]
    stopped = SegmentListChange.objects.get(action=ListAction.REPLACE)
    assert (stopped.state, stopped.bad) == (ListState.STOPPED, 1)
    assert "no external id" in stopped.problem


def test_uploaded_file__is_deleted_after_the_import(segment: Segment) -> None:
    change = services.list_import(segment, excluded=True, actor=ACTOR)
    services.upload_keep(change, [b"a\nb", b"b\n", b"c\n"])
    services.list_run(change, services.upload_read(change))
    assert on(segment, excluded=True) == ["a", "bb", "c"]
    assert not SegmentListPiece.objects.exists()


def test_interrupted_change__restarts_from_its_beginning(segment: Segment) -> None:
    def dies(data: list[bytes]) -> Iterable[bytes]:
        yield from data
        raise KeyboardInterrupt

    change = services.list_import(segment, excluded=False, actor=ACTOR)
    pieces = [b"a\nb\nc\nd\n", b"e\nf\n\xff\ng\n"]
    with pytest.raises(KeyboardInterrupt):
        services.list_run(change, dies(pieces[:1]))
    assert on(segment) == ["a", "b", "c"]
    again = SegmentListChange.objects.get(pk=change.pk)
    services.list_run(again, pieces)
    again.refresh_from_db()
    assert on(segment) == list("abcdefg")
    assert (again.added, again.lines, again.bad, again.present) == (7, 8, 1, 0)
    undo(again)
    assert on(segment) == []


def test_restarted_change__supersedes_the_earlier_run(segment: Segment) -> None:
    change = services.list_import(segment, excluded=False, actor=ACTOR)

    def pieces() -> Iterable[bytes]:
        yield b"a\nb\nc\nd\n"
        take_up(SegmentListChange.objects.get(pk=change.pk))
        yield b"e\nf\ng\n"

    with pytest.raises(SupersededError):
        services.list_run(change, pieces())
    assert on(segment) == ["a", "b", "c"]
    again = SegmentListChange.objects.get(pk=change.pk)
    services.list_run(again, [b"a\n"])
    with pytest.raises(SupersededError):
        take_up(again)


def test_deleting_the_segment__stops_an_import(segment: Segment) -> None:
    change = services.list_import(segment, excluded=False, actor=ACTOR)

    def pieces() -> Iterable[bytes]:
        yield b"a\nb\nc\nd\n"
        segment_delete(segment, actor=ACTOR)
        yield b"e\nf\ng\n"

    with pytest.raises(ValidationError, match="deleted in the meantime"):
        services.list_run(change, pieces())
    assert SegmentMember.objects.count() == 3
    change.refresh_from_db()
    assert change.state == ListState.STOPPED


# --- Clear and undo -------------------------------------------------------------------------------


def test_clear__empties_one_list(segment: Segment) -> None:
    add(segment, *"abcdefgh")
    add(segment, *"ab", excluded=True)
    change = services.list_clear(segment, excluded=False, actor=ACTOR, reason="over")
    add(segment, "late")
    services.list_run(change)
    assert on(segment) == ["late"]
    assert on(segment, excluded=True) == ["a", "b"]
    assert shown(last_entry()) == {"list": "included", "change": "clear", "removed": 8}
    undo(change)
    assert on(segment) == [*"abcdefgh", "late"]


def test_undo_of_an_addition__removes_exactly_what_it_added(segment: Segment) -> None:
    add(segment, *"abc")
    change = import_ids(segment, *"bcdefg")
    services.ids_remove(segment, ["d", "e"], excluded=False, actor=ACTOR)
    add(segment, "e", "z")
    undo(change)
    assert on(segment) == [*"abc", "e", "z"]


def test_undo_of_a_removal__restores_ids_not_added_since(segment: Segment) -> None:
    first = add(segment, *"abcde")
    change = services.ids_remove(segment, [*"abcd"], excluded=False, actor=ACTOR)
    add(segment, "b")
    undone = undo(change)
    assert on(segment) == [*"abcde"]
    assert (undone.added, undone.removed) == (3, 0)
    # A restored row still belongs to the change that added it.
    undo(first)
    assert on(segment) == ["b"]


def test_undo__can_be_undone_repeatedly(segment: Segment) -> None:
    add(segment, *"abcdefgh")
    replaced, before = import_ids(segment, *"efghijklm", replace=True), [*"abcdefgh"]
    after = [*"efghijklm"]
    last = replaced
    for expected in (before, after, before, after, before):
        last = undo(last)
        assert on(segment) == expected


def test_undo_of_an_undo__leaves_what_was_added_since(segment: Segment) -> None:
    add(segment, *"abcde")
    put_back = undo(services.ids_remove(segment, [*"abcd"], excluded=False, actor=ACTOR))
    services.ids_remove(segment, ["a"], excluded=False, actor=ACTOR)
    add(segment, "a")
    undo(put_back)
    assert on(segment) == ["a", "e"]


def test_undo__is_possible_once_within_30_days(segment: Segment) -> None:
    change = add(segment, "a")
    waiting = services.list_clear(segment, excluded=False, actor=ACTOR)
    with pytest.raises(ValidationError, match="still running"):
        services.list_undo(waiting, actor=ACTOR)
    undo(change)
    with pytest.raises(ValidationError, match="already been undone"):
        services.list_undo(change, actor=ACTOR)
    old = add(segment, "b")
    SegmentListChange.objects.filter(pk=old.pk).update(finished_at="2020-01-01T00:00:00Z")
    with pytest.raises(ValidationError, match="30 days"):
        services.list_undo(old, actor=ACTOR)


# --- Deleted segments -----------------------------------------------------------------------------


def test_undo_of_a_deletion__restores_the_lists(segment: Segment) -> None:
    change = add(segment, *"abcd")
    add(segment, "z", excluded=True)
    environment = segment.environment
    entry = segment_delete(segment, actor=ACTOR)
    assert entry.before is not None
    assert entry.before["_lists"]["included"] == 4
    undo_entry(entry, actor=ACTOR)
    back = Segment.objects.get(environment=environment, key="vips")
    assert on(back) == [*"abcd"]
    assert on(back, excluded=True) == ["z"]
    undo(change)
    assert on(back) == []


def test_segment_of_the_same_key__does_not_inherit_lists(segment: Segment) -> None:
    add(segment, "a")
    fields = {"key": "vips", "name": "", "rule": segment.rule}
    segment_delete(segment, actor=ACTOR)
    made = Segment.objects.create(environment=segment.environment, **fields)
    assert on(made) == []


def test_other_environment__has_separate_lists(segment: Segment) -> None:
    other = Segment.objects.get(environment=make_environment())
    add(segment, "a")
    add(other, "a")
    assert len({member.player_id for member in SegmentMember.objects.all()}) == 2
    services.list_run(services.list_clear(segment, excluded=False, actor=ACTOR))
    assert on(other) == ["a"]
    assert SegmentFormerMember.objects.count() == 1


# --- Jobs -----------------------------------------------------------------------------------------


def old(change: SegmentListChange) -> None:
    SegmentListChange.objects.filter(pk=change.pk).update(
        touched_at="2020-01-01T00:00:00Z", finished_at="2020-01-01T00:00:00Z"
    )


def test_change_that_fails_repeatedly__is_stopped(
    segment: Segment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    change = services.list_clear(segment, excluded=False, actor=ACTOR)
    monkeypatch.setattr(chunks, "sweep", lambda *_: 1 / 0)
    for _ in range(tasks.MAX_ATTEMPTS + 1):
        old(change)
        tasks.look_after_lists(NOT_STOPPING, timestamp=0)
    change.refresh_from_db()
    assert (change.state, change.attempt) == (ListState.STOPPED, tasks.MAX_ATTEMPTS)
    assert "Failed 10 times" in change.problem
    assert "ZeroDivisionError" in caplog.text


def test_stopping_worker__leaves_the_rest_to_the_next_one(segment: Segment) -> None:
    change = services.list_import(segment, excluded=False, actor=ACTOR)
    services.upload_keep(change, [b"a\nb\nc\nd\ne\n"])
    with pytest.raises(JobAborted):
        tasks.list_carry_out(STOPPING, change.pk)
    assert on(segment) == ["a", "b", "c"]
    tasks.list_carry_out(NOT_STOPPING, change.pk)
    assert on(segment) == list("abcde")
    tasks.list_carry_out(NOT_STOPPING, change.pk)


def test_undo_data__is_deleted_when_it_expires(segment: Segment) -> None:
    change = add(segment, *"abcd")
    first = services.ids_remove(segment, ["a", "b"], excluded=False, actor=ACTOR)
    services.ids_remove(segment, ["c"], excluded=False, actor=ACTOR)
    old(change)
    old(first)
    tasks.forget_lists(timestamp=0)
    assert [row.external_id for row in SegmentFormerMember.objects.all()] == ["c"]
    assert on(segment) == ["d"]


def test_lists_of_a_deleted_segment__are_deleted_when_they_expire(segment: Segment) -> None:
    other = Segment.objects.create(
        environment=segment.environment, key="other", name="", rule=segment.rule
    )
    add(other, "x")
    add(segment, *"abcd")
    entry = segment_delete(segment, actor=ACTOR)
    tasks.forget_lists(timestamp=0)
    assert SegmentMember.objects.count() == 5
    old(SegmentListChange.objects.get(action=ListAction.DELETE))
    tasks.forget_lists(timestamp=0)
    assert [member.external_id for member in SegmentMember.objects.all()] == ["x"]
    assert SegmentListChange.objects.count() == 1
    undo_entry(entry, actor=ACTOR)
    assert on(Segment.objects.get(key="vips")) == []
