"""`manage.py segment_import`."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from ilara_admin.management.commands import segment_import
from ilara_admin.models import AuditEntry, Environment
from segments.models import ListState, Segment, SegmentListChange
from tests.factories import make_environment, make_player
from tests.segments.lists.test_services import on

pytestmark = pytest.mark.django_db


@pytest.fixture
def segment(environment: Environment) -> Segment:
    return Segment.objects.get(environment=environment, key="beta-testers")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "vips.csv"
    path.write_bytes(b"external_id,name\r\nb,Bea\r\na,Ada\r\nb,again\r\n")
    return path


def run(segment: Segment, *options: object) -> str:
    out = io.StringIO()
    path = str(segment.environment)
    call_command("segment_import", path, segment.key, *map(str, options), stdout=out)
    return out.getvalue()


def error_of(*options: object) -> CommandError:
    with pytest.raises(CommandError) as error:
        call_command("segment_import", *map(str, options), stdout=io.StringIO())
    assert "\n" not in str(error.value)
    return error.value


def test_file__is_imported_to_the_include_list(segment: Segment, file: Path) -> None:
    out = run(segment, file, "--reason", "sale")
    assert on(segment) == ["a", "b"]
    assert out == (
        f"2 added, 1 already there. beta-testers of {segment.environment} now includes 2.\n"
    )
    entry = AuditEntry.objects.order_by("-id")[0]
    assert (entry.actor_name, entry.reason) == ("manage.py segment_import", "sale")
    assert entry.after is not None
    assert entry.after["file"] == "vips.csv"


def test_exclude_and_replace(segment: Segment, file: Path) -> None:
    run(segment, file, "--exclude")
    file.write_bytes(b"c\nb\n")
    assert "1 added, 1 already there, 1 removed." in run(segment, file, "--exclude", "--replace")
    assert on(segment, excluded=True) == ["b", "c"]
    assert on(segment) == []


def test_standard_input(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a\nb\n")))
    run(segment, "-")
    assert on(segment) == ["a", "b"]


def test_invalid_lines__are_reported_in_one_line(segment: Segment, file: Path) -> None:
    file.write_bytes(b'a\n""\n' + b"\xff\n" * 20)
    error = error_of(segment.environment, segment.key, file)
    assert error.returncode == segment_import.LEFT_OUT
    assert str(error).startswith("21 lines were skipped: line 2 is empty; line 3 is not UTF-8; ")
    assert str(error).endswith("; ….")
    assert on(segment) == ["a"]


def test_error__is_reported_in_one_line(segment: Segment, tmp_path: Path) -> None:
    here = segment.environment
    assert "no segment “missing”. It has: beta-testers." in str(error_of(here, "missing", "x"))
    assert "is not PROJECT/ENV" in str(error_of("x", segment.key, "x"))
    assert "No such file" in str(error_of(here, segment.key, tmp_path / "none.csv"))
    assert "Is a directory" in str(error_of(here, segment.key, tmp_path))
    (tmp_path / "empty.csv").write_bytes(b"")
    error = error_of(here, segment.key, tmp_path / "empty.csv", "--replace")
    assert (error.returncode, "no external id" in str(error)) == (1, True)


def test_file_that_is_no_list__is_refused_and_writes_nothing(
    segment: Segment, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = AuditEntry.objects.count()
    file.write_bytes(b"player_1;x@example.com\nplayer_2;y@example.com\n")
    error = error_of(segment.environment, segment.key, file)
    assert error.returncode == 1
    assert str(error).startswith("vips.csv was not imported. The line “player_1;x@example.com” has")
    assert "external_id" in str(error)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"PK\3\4" + bytes(9))))
    assert "Excel" in str(error_of(segment.environment, segment.key, "-"))
    assert on(segment) == []
    assert not SegmentListChange.objects.exists()
    assert AuditEntry.objects.count() == entries


def test_player_ids__stand_for_registered_players(segment: Segment, file: Path) -> None:
    here = segment.environment
    one, two = make_player(here, "one"), make_player(here, "two")
    named = make_player(here, str(two.pk).upper())
    alien = make_player(make_environment(), "alien")
    later = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    lines = ["player_id", str(one.pk).upper(), two.pk.hex, named.external_id, later, str(alien.pk)]
    file.write_text("\n".join(lines))
    error = error_of(here, segment.key, file)
    assert str(error).startswith("1 line was skipped: line 6 is the id of no player here.")
    assert on(segment) == sorted(["one", "two", named.external_id, later])
    file.write_text(str(alien.pk))
    run(segment, file)  # without that header, it is an external id like any other
    assert str(alien.pk) in on(segment)


def test_interruption__is_reported_with_how_to_continue(
    segment: Segment, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(segment_import, "list_run", interrupted)
    error = error_of(segment.environment, segment.key, file)
    assert (error.returncode, "Run it again" in str(error)) == (130, True)
    assert SegmentListChange.objects.get().state == ListState.STOPPED
