"""When a schedule changes whom a flag serves."""

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from flags.engine.document import (
    FlagDocument,
    Prerequisite,
    Ramp,
    Rule,
    ScheduleStep,
    boolean_document,
)
from flags.engine.evaluation import CompiledFlag, compile_flag
from flags.engine.moments import MAX_MOMENTS, moments_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return NOW + timedelta(days=number)


def compiled(key: str, document: FlagDocument, others: dict[str, CompiledFlag]) -> CompiledFlag:
    return compile_flag(
        key=key,
        salt=key,
        revision=1,
        document=document,
        archived=False,
        segments={},
        segment_rules={},
        others=others,
    )


def moments(*rules: dict[str, Any]) -> list[tuple[float, str]]:
    """Days from now and texts."""
    document = boolean_document(
        enabled=True,
        rules=tuple(Rule(id=f"r{n}", variant="enabled", **each) for n, each in enumerate(rules)),
    )
    found, left_out = moments_of(compiled("f", document, {}), NOW)
    assert not left_out
    return [((each.at - NOW) / timedelta(days=1), each.text) for each in found]


def test_steps__are_moments_from_now_on() -> None:
    steps = (ScheduleStep(day(-1), 20_000), ScheduleStep(day(1), 50_000))
    assert moments({"steps": steps}) == [(1, "Rule 1 at 50 %")]


def test_ramp__has_its_start_its_quarters_and_its_end() -> None:
    ramp = Ramp(from_=0, to=100_000, start=day(1), end=day(5))
    assert moments({"ramp": ramp}) == [
        (1, "Rule 1 at 0 %"),
        (2, "Rule 1 at 25 %"),
        (3, "Rule 1 at 50 %"),
        (4, "Rule 1 at 75 %"),
        (5, "Rule 1 at 100 %"),
    ]
    running = Ramp(from_=100_000, to=0, start=day(-2), end=day(2))
    assert moments({"ramp": running}) == [(1, "Rule 1 at 25 %"), (2, "Rule 1 at 0 %")]


def test_start_and_end__hide_the_moments_outside() -> None:
    steps = (ScheduleStep(day(1), 20_000), ScheduleStep(day(3), 50_000), ScheduleStep(day(9), 0))
    assert moments({"steps": steps, "start": day(2), "end": day(4)}, {"end": day(2)}) == [
        (2, "Rule 1 at 20 %; Rule 2 at 0 %"),
        (3, "Rule 1 at 50 %"),
        (4, "Rule 1 at 0 %"),
    ]


def test_needed_flags__have_moments_too_while_they_are_on() -> None:
    rule = Rule(id="r", variant="enabled", start=day(1))
    others: dict[str, CompiledFlag] = {}
    for key in ("on", "off"):
        document = boolean_document(enabled=key == "on", rules=(rule,))
        others[key] = compiled(key, document, others)
    needs = tuple(Prerequisite(key, ("enabled",)) for key in others)
    flag = compiled("f", replace(boolean_document(enabled=True), prerequisites=needs), others)
    found, _ = moments_of(flag, NOW)
    assert found == [(day(1), "on: Rule 1 at 100 %")]


def test_many_moments__end_with_the_last() -> None:
    steps = tuple(ScheduleStep(day(number), number * 1_000) for number in range(1, 21))
    document = boolean_document(enabled=True, rules=(Rule(id="r", variant="enabled", steps=steps),))
    found, left_out = moments_of(compiled("f", document, {}), NOW)
    assert (len(found), left_out) == (MAX_MOMENTS, 20 - MAX_MOMENTS)
    assert found[-1] == (day(20), "Rule 1 at 20 %")
