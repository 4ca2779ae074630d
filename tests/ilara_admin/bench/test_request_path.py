"""The commands `bench api` and `bench growth` measure what they list, with tiny numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from ilara_admin.bench.drivers import default_driver
from ilara_admin.bench.scenarios import COPY, INSERT, SELECT, api_scenarios
from tests.processes import output_of
from tests.running import OURS

TINY = ("--players", "50", "--rounds", "1")


def measured(folder: Path, *arguments: str) -> tuple[str, Any]:
    """What the command prints, and the figures it writes."""
    file = folder / "figures.json"
    command = [str(OURS.path), "manage.py", "bench", *arguments, *TINY, "--json", str(file)]
    return output_of(command, settings.BASE_DIR), json.loads(file.read_text())


@pytest.mark.slow
def test_bench_api__compares_every_call_with_its_limit(tmp_path: Path) -> None:
    arguments = ("--flags", "3", "--seconds", "0.1", "--driver", "python")
    printed, figures = measured(tmp_path, "api", *arguments)
    calls = figures["calls"]
    assert set(calls) == {*api_scenarios("", ""), SELECT, INSERT, COPY}
    for name, found in calls.items():
        assert found["median"]["rate"] > 0 < found["median"]["p50"] <= found["median"]["p99"]
        assert (found["of_rate"] is None) == (name in {SELECT, INSERT, COPY, "stream"})
    assert "python" in figures["method"]
    assert figures["memory"] > 20_000_000
    assert all(name in printed for name in calls)


@pytest.mark.slow
def test_bench_growth__prints_a_chart(tmp_path: Path) -> None:
    printed, figures = measured(
        tmp_path, "growth", "--flags", "1", "--seconds", "1", "--only", "flags"
    )
    assert [each["call"] for each in figures["points"]] == ["evaluate", "evaluate-all"]
    assert "evaluate-all: µs of CPU per request by flags\n1  █" in printed
    assert default_driver() in figures["method"]
