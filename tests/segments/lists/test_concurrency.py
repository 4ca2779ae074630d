"""Concurrent changes of one list, and changes that are killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import transaction

from ilara_admin.models import AuditEntry
from ilara_admin.runtime.supervisor import ending_with_parent
from segments.lists import chunks, services
from segments.models import ListState, Segment, SegmentListChange, SegmentMember
from segments.services import segment_update
from segments.tasks import look_after_lists
from tests.factories import ACTOR, make_environment
from tests.homes import wait_until
from tests.segments.lists.test_services import NOT_STOPPING, on
from tests.serving import database_url
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def segment() -> Segment:
    environment = make_environment()
    return Segment.objects.select_related("environment__project").get(environment=environment)


def test_concurrent_imports_of_overlapping_ids__add_each_id_once(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 20)
    ids = [f"player_{number}" for number in range(200)]

    def run_import(number: int) -> int:
        part = [ids[:150], ids[149:49:-1], ids[::-1], ids[50:]][number]
        change = services.list_import(segment, excluded=False, actor=ACTOR)
        return services.list_run(change, ["\n".join(part).encode()]).added

    assert sum(at_once(run_import, range(4))) == 200
    assert on(segment) == sorted(ids)


def test_import_concurrent_with_clear_and_edits__has_correct_counts(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 20)
    ids = [f"player_{number}" for number in range(200)]
    services.ids_add(segment, ids[:100], excluded=False, actor=ACTOR)

    def act(number: int) -> None:
        if number == 0:
            change = services.list_import(segment, excluded=False, actor=ACTOR)
            services.list_run(change, ["\n".join(ids).encode()])
        elif number == 1:
            services.list_run(services.list_clear(segment, excluded=False, actor=ACTOR))
        elif number == 2:
            for name in "abcde":
                segment_update(segment, name=name, rule=segment.rule, description="", actor=ACTOR)
        else:
            for external_id in ids[::10]:
                services.ids_remove(segment, [external_id], excluded=False, actor=ACTOR)

    at_once(act, range(4))
    assert set(ids[100:]) - set(ids[::10]) <= set(on(segment))


def test_chunk__locks_its_segment(segment: Segment) -> None:
    def is_free(_: None) -> bool:
        segments = Segment.objects.select_for_update(skip_locked=True)
        with transaction.atomic():
            return segments.filter(pk=segment.pk).exists()

    run = chunks.take_up(services.list_clear(segment, excluded=False, actor=ACTOR))
    with chunks.chunk(run):
        assert at_once(is_free, [None]) == [False]
    assert at_once(is_free, [None]) == [True]


def start_import(segment: Segment, *options: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "segment_import", str(segment.environment), segment.key,
         *options],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": database_url(), "SECRET_KEY": "x"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=ending_with_parent(),
    )  # fmt: skip


@pytest.mark.slow
def test_killed_command__can_be_run_again(segment: Segment, tmp_path: Path) -> None:
    ids = [f"player_{number:05}" for number in range(25_000)]
    data = "\n".join(ids).encode()
    with start_import(segment, "-") as process:
        assert process.stdin
        process.stdin.write(data[: len(data) // 2])
        process.stdin.flush()
        wait_until(lambda: SegmentMember.objects.exists(), 60)
        process.kill()
    change = SegmentListChange.objects.get()
    before = change.added
    assert change.state == ListState.RUNNING
    assert 0 < before < len(ids)
    assert on(segment) == ids[:before]

    file = tmp_path / "ids.csv"
    file.write_bytes(data)
    with start_import(segment, str(file)) as process:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert f"{25_000 - before:,} added, {before:,} already there" in out.decode()
    assert on(segment) == ids

    SegmentListChange.objects.filter(pk=change.pk).update(touched_at="2020-01-01T00:00:00Z")
    look_after_lists(NOT_STOPPING, timestamp=0)
    change.refresh_from_db()
    assert (change.state, change.added) == (ListState.STOPPED, before)
    assert AuditEntry.objects.filter(action="segment.list_changed").count() == 2
    services.list_run(services.list_undo(change, actor=ACTOR))
    assert on(segment) == ids[before:]


def test_change_of_a_killed_worker__is_finished_by_another(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 3)
    change = services.list_import(segment, excluded=False, actor=ACTOR)
    services.upload_keep(change, [b"a\nb\nc\nd\n", b"e\nf\ng\n"])

    def killed(step: str, done: int, total: int) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        services.list_run(change, services.upload_read(change), killed)
    assert on(segment) == ["a", "b", "c"]
    look_after_lists(NOT_STOPPING, timestamp=0)
    assert on(segment) == ["a", "b", "c"], "the first run may still be alive"
    SegmentListChange.objects.update(touched_at="2020-01-01T00:00:00Z")
    look_after_lists(NOT_STOPPING, timestamp=0)
    assert on(segment) == list("abcdefg")
    assert SegmentListChange.objects.get().state == ListState.DONE
