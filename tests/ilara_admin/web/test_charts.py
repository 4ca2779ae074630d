"""Charts: ticks, scales, paths, texts, and their markup."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.template import Context, Template

from ilara_admin.core.local_times import day_starts
from ilara_admin.web import chart_axes, charts
from ilara_admin.web.chart_axes import (
    ABSENT,
    TICKS,
    axis_text,
    label_axis,
    scale_for,
    time_axis,
    value_text,
)
from ilara_admin.web.charts import (
    HEIGHT,
    ChartInterval,
    ChartSeries,
    Marker,
    bars,
    heat_map,
    intervals,
    lines,
    spark_path,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def hours(number: int, first: datetime = NOON) -> list[datetime]:
    zone = first.tzinfo
    start = first.astimezone(UTC)
    return [(start + timedelta(hours=each)).astimezone(zone) for each in range(number)]


def days(number: int, zone: ZoneInfo = BERLIN) -> list[datetime]:
    starts = day_starts(NOON.date(), number, zone)[:-1]
    return [start.astimezone(zone) for start in starts]


def texts(ticks: Any) -> list[str]:
    return [tick.text for tick in ticks]


# --- Number axes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "whole", "ticks"),
    [
        ([0, 3], True, [0, 1, 2, 3]),
        ([0, 1], True, [0, 1]),
        ([0, 10], True, [0, 5, 10]),
        ([0, 910], True, [0, 250, 500, 750, 1000]),
        ([0, 1_240], True, [0, 500, 1000, 1500]),
        ([0, 1], False, [0, 0.25, 0.5, 0.75, 1]),
        ([0, 0.3], False, [0, 0.1, 0.2, 0.3]),
        ([-1.2, 8], False, [-5, 0, 5, 10]),
        ([-7, -2], True, [-8, -6, -4, -2]),
        ([0, 100], False, [0, 25, 50, 75, 100]),
        ([], True, [0, 1]),
        ([0], False, [0, 0.25, 0.5, 0.75, 1]),
        ([5], True, [0, 2, 4, 6]),
        ([0, 10**18], True, [0, 25 * 10**16, 5 * 10**17, 75 * 10**16, 10**18]),
        ([1e300, 2e300], False, [1e300, 1.25e300, 1.5e300, 1.75e300, 2e300]),
        ([1_000_000, 1_000_001], True, [1_000_000, 1_000_001]),
    ],
)
def test_ticks__are_round_and_enclose_the_values(
    values: list[float], whole: bool, ticks: list[float]
) -> None:
    assert scale_for(values, whole=whole).ticks == ticks


@pytest.mark.parametrize("low", [0, -3, 17, -1_000_003, 0.001])
@pytest.mark.parametrize("high", [1e-9, 0.07, 1, 12, 99, 101, 12_345, 7e9])
@pytest.mark.parametrize("whole", [True, False])
def test_ticks__are_few_and_evenly_spaced(low: float, high: float, whole: bool) -> None:
    scale = scale_for([low, low + high], whole=whole)
    assert scale.low <= low < low + high <= scale.high
    assert 2 <= len(scale.ticks) <= TICKS
    steps = [end - start for start, end in zip(scale.ticks, scale.ticks[1:], strict=False)]
    assert steps == pytest.approx([steps[0]] * len(steps), abs=4 * math.ulp(scale.high))
    if whole:
        assert all(tick == int(tick) for tick in scale.ticks)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "", "0"), (500, "", "500"), (999, "", "999"), (1_000, "", "1k"), (2_500, "", "2.5k"),
        (1_250_000, "", "1.25M"), (3e9, "", "3B"), (1e12, "", "1T"), (1e18, "", "1e+06T"),
        (-250_000, "", "\N{MINUS SIGN}250k"), (0.25, "", "0.25"), (1e-9, "", "1e-09"),
        (75, "%", "75 %"), (500, "event", "500"),
    ],
)  # fmt: skip
def test_axis_text(value: float, unit: str, text: str) -> None:
    assert axis_text(value, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "event", "0 events"), (1, "event", "1 event"), (1_234_567, "", "1,234,567"),
        (1234.567, "", "1,234.57"), (0.0123, "", "0.012"), (-3.5, "%", "\N{MINUS SIGN}3.5 %"),
        (100, "%", "100 %"),
        (None, "event", ABSENT), (float("nan"), "", ABSENT), (float("inf"), "%", ABSENT),
        (10**20, "", "1e+20"),
    ],
)  # fmt: skip
def test_value_text(value: float | None, unit: str, text: str) -> None:
    assert value_text(value, unit) == text


# --- Time axes ------------------------------------------------------------------------------------


def test_last_label__stays_inside_the_chart() -> None:
    assert chart_axes.Tick(0, "28 Nov").anchor == "middle"
    assert chart_axes.Tick(99, "28 Nov").anchor == "end"


def test_hours__are_ticked_at_round_clock_times_with_the_date_at_midnight() -> None:
    axis = time_axis(hours(48))
    assert texts(axis.wide) == [
        *("12:00", "18:00", "5 Mar", "06:00", "12:00", "18:00", "6 Mar", "06:00"),
    ]
    assert texts(axis.narrow) == ["12:00", "5 Mar", "12:00", "6 Mar"]
    assert [tick.at for tick in axis.narrow] == [0, 25, 50, 75]
    assert axis.labels[12] == "5 Mar, 00:00"


def test_minutes() -> None:
    start = NOON - timedelta(minutes=7)
    axis = time_axis([start + timedelta(minutes=each) for each in range(60)])
    assert texts(axis.wide)[:3] == ["11:55", "12:00", "12:05"]
    assert texts(axis.narrow) == ["12:00", "12:15", "12:30", "12:45"]


def test_days__are_ticked_in_the_middle_of_their_column() -> None:
    axis = time_axis(days(10))
    assert texts(axis.wide) == [tick for tick in texts(axis.wide) if tick.endswith(("Feb", "Mar"))]
    assert len(axis.wide) == 10
    assert axis.wide[0].at == 5
    assert axis.labels[-1] == "Wed 4 Mar"


def test_many_days__are_ticked_on_mondays() -> None:
    axis = time_axis(days(90))
    mondays = {f"{day.day} {day:%b}" for day in days(90) if day.weekday() == 0}
    assert set(texts(axis.wide)) <= mondays
    assert 5 <= len(axis.wide) <= chart_axes.WIDE
    assert 2 <= len(axis.narrow) <= chart_axes.NARROW


def test_clocks_go_back__labels_stay_unique_and_ticks_on_the_clock() -> None:
    axis = time_axis(hours(24, datetime(2026, 10, 25, 0, tzinfo=BERLIN)))
    assert "25 Oct, 02:00 CEST" in axis.labels
    assert "25 Oct, 02:00 CET" in axis.labels
    assert len(set(axis.labels)) == 24
    assert texts(axis.wide)[:3] == ["25 Oct", "02:00", "04:00"]
    assert axis.wide[2].at == pytest.approx(100 * 5 / 24, abs=0.01)  # 25 hours in this day


def test_zone_of_half_an_hour__ticks_stand_where_columns_begin() -> None:
    axis = time_axis(hours(24, NOON.astimezone(ZoneInfo("Asia/Kolkata"))))
    assert texts(axis.narrow) == ["18:30", "5 Mar", "06:30", "12:30"]


@pytest.mark.parametrize("starts", [[], [NOON]])
def test_no_column_and_one_column(starts: list[datetime]) -> None:
    axis = time_axis(starts)
    assert len(axis.labels) == len(starts)
    for draw in (bars, lines):
        drawn = draw(axis, [ChartSeries("Events", [1] * len(starts))], label="Events")
        assert len(drawn.columns) == len(starts)
        assert "<svg" in render(drawn)


# --- Paths ----------------------------------------------------------------------------------------


def plain(number: int) -> chart_axes.Axis:
    return label_axis([f"c{each}" for each in range(number)])


def test_bars__stand_on_zero_and_reach_their_value() -> None:
    drawn = bars(plain(4), [ChartSeries("a", [0, 4, 2, 1])], label="x")
    assert [curve.path for curve in drawn.curves] == [
        "M11 160v-160h8v160zM21 160v-80h8v80zM31 160v-40h8v40z"
    ]
    assert drawn.zero is None
    assert texts(drawn.rows) == ["0", "1", "2", "3", "4"]
    assert [row.at for row in drawn.rows] == [160, 120, 80, 40, 0]


def test_bar_that_is_not_zero__stays_visible() -> None:
    drawn = bars(plain(2), [ChartSeries("a", [1, 1_000_000])], label="x")
    assert drawn.curves[0].path.startswith(f"M1 160v-{charts.LEAST}")


def test_bars__are_stacked_and_negative_ones_hang() -> None:
    series = [ChartSeries("a", [1, -1]), ChartSeries("b", [3, -3])]
    drawn = bars(plain(2), series, label="x", unit="event")
    assert drawn.zero == HEIGHT / 2
    assert drawn.curves[0].path == "M1 80v-20h8v20zM11 80v20h8v-20z"
    assert drawn.curves[1].path == "M1 60v-60h8v60zM11 100v60h8v-60z"
    assert [figure.text for figure in drawn.columns[0].figures] == ["1", "3", "4 events"]
    assert [(each.name, each.text) for each in drawn.legend] == [("a", "0"), ("b", "0")]


def test_players_of_several_columns__do_not_add_up() -> None:
    series = [ChartSeries("new", [1, 2]), ChartSeries("returning", [3, 4])]
    drawn = bars(plain(2), series, label="x", unit="player")
    assert [figure.text for figure in drawn.columns[0].figures] == ["1", "3", "4 players"]
    assert [each.text for each in drawn.legend] == ["", ""]


def test_bars_of_percentages__end_at_100_and_do_not_add_up() -> None:
    series = [ChartSeries("found", [30, None]), ChartSeries("expected", [25, 50], line=True)]
    drawn = bars(plain(2), series, label="x", unit="%")
    assert texts(drawn.rows)[-1] == "100 %"
    assert [figure.text for figure in drawn.columns[1].figures] == [ABSENT, "50 %"]
    assert (drawn.curves[1].path, drawn.curves[1].series) == ("M5 120L15 80", charts.INK)


def test_lines__break_at_gaps_and_show_lone_points() -> None:
    values = [0, 4, None, 2, float("nan"), 4, 0]
    curve = lines(plain(7), [ChartSeries("a", values)], label="x").curves[0]
    assert curve.path == "M5 160L15 0M55 0L65 160"
    assert curve.dots == "M35 80h0"


def test_lines__need_not_include_zero() -> None:
    drawn = lines(plain(2), [ChartSeries("a", [1_000, 1_004])], label="x")
    assert texts(drawn.rows)[0] == "1k"
    assert drawn.curves[0].path == "M5 160L15 0"


@pytest.mark.parametrize("values", [[None, None], [0, 0], [1e300, -1e300], [10**18, 1]])
def test_extreme_values__are_drawn_inside_the_plot(values: list[float | None]) -> None:
    for draw in (bars, lines):
        drawn = draw(plain(2), [ChartSeries("a", values)], label="x")
        for curve in drawn.curves:
            assert "nan" not in curve.path
            for _, y in re.findall(r"[ML](\S+) ([^vLM]+)", curve.path):
                assert 0 <= float(y) <= HEIGHT


def test_colours__repeat_after_six() -> None:
    series = [ChartSeries(str(each), [1]) for each in range(8)]
    assert [curve.series for curve in bars(plain(1), series, label="x").curves] == [
        *(1, 2, 3, 4, 5, 6, 1, 2),
    ]


def test_sparkline__is_drawn_of_any_values() -> None:
    assert spark_path([]) == ""
    assert spark_path([0, 0]) == ""
    assert spark_path([4, 2]) == "M1 160v-160h8v160zM11 160v-80h8v80z"
    assert spark_path([1, 10**9]).startswith("M1 160v-12h8")


# --- Markers --------------------------------------------------------------------------------------


def test_markers__are_in_the_column_of_their_time_newest_first() -> None:
    moments = [NOON + timedelta(minutes=each) for each in (5, 20, 119, 120, -1)]
    markers = [Marker(at, f"r{number}", f"#r{number}") for number, at in enumerate(moments)]
    drawn = bars(time_axis(hours(3)), [ChartSeries("a", [0, 0, 0])], label="x", markers=markers)
    found = [[marker.label for marker in column.markers] for column in drawn.columns]
    assert found == [["r1", "r0"], ["r2"], ["r3"]]  # the last one was before the first column
    assert drawn.pins == 2


def test_many_markers_of_a_column__are_merged() -> None:
    markers = [Marker(NOON + timedelta(minutes=each), f"r{each}", f"#{each}") for each in range(9)]
    drawn = bars(time_axis(hours(1)), [ChartSeries("a", [0])], label="x", markers=markers)
    labels = [(marker.label, marker.href) for marker in drawn.columns[0].markers]
    assert labels == [("r8", "#8"), ("r7", "#7"), ("r6, and 6 earlier", "#6")]


# --- Intervals and heat maps ----------------------------------------------------------------------


def test_intervals__lie_on_one_scale_with_zero() -> None:
    rows = [ChartInterval("a", 5, 10, 15), ChartInterval("b", None, None, None)]
    drawn = intervals(rows, label="Lift", unit="%")
    assert texts(drawn.ticks) == ["0 %", "5 %", "10 %", "15 %"]
    assert drawn.zero == 0
    assert drawn.rows[0].at == (33.33, 66.67, 100)
    assert (drawn.rows[0].estimate, drawn.rows[0].limits) == ("10 %", "5 to 15 %")
    assert (drawn.rows[1].at, drawn.rows[1].estimate) == (None, ABSENT)


def test_heat_map__tints_in_proportion() -> None:
    drawn = heat_map(["r"], plain(4), [[0, 1, 50, 100]], label="x", unit="%")
    assert [level for level, _, _ in drawn.rows[0].cells] == [0, 1, 3, 5]
    drawn = heat_map(["r"], plain(2), [[None, 0]], label="x")
    assert [level for level, _, _ in drawn.rows[0].cells] == [-1, 0]
    assert drawn.rows[0].cells[1][2].label == "r, c1"
    assert "<svg" in render(heat_map([], plain(0), [], label="x"))


# --- Markup ---------------------------------------------------------------------------------------


def render(drawn: charts.AnyChart) -> str:
    html = Template("{% chart drawn %}").render(Context({"drawn": drawn}))
    return re.sub(r">\s+|\s+<", lambda found: found[0].strip(), html)


def test_name_with_tabs_and_line_breaks__is_one_line_of_the_tip() -> None:
    series = [ChartSeries("a\tb\nc", [1]), ChartSeries("d", [2])]
    assert 'aria-label="c0\na b c\t1\nd\t2\n3">' in render(bars(plain(1), series, label="x"))


def test_chart__has_values_to_point_at_and_as_a_table() -> None:
    series = [ChartSeries("<on>", [1, 2]), ChartSeries("off", [3, 1_000])]
    markers = [Marker(NOON, "Revision 1", "#revision-1")]
    html = render(bars(time_axis(hours(2)), series, label="Use", unit="time", markers=markers))
    assert html.count("<div data-hit") == 2
    assert html.count('type="radio"') == 2
    assert html.count(" checked") == 1
    assert 'aria-label="4 Mar, 13:00\n&lt;on&gt;\t2\noff\t1,000\n1,002 times">' in html
    assert (
        '<th scope="row">4 Mar, 13:00</th><td class="num">2</td><td class="num">1,000</td>' in html
    )
    assert html.count('<th scope="col"') == 3  # with the total
    assert html.count('href="#revision-1"') == 2  # the pin, and in the table
    assert "<on>" not in html
    assert "style=" not in html


def test_sparkline__says_what_it_shows() -> None:
    html = Template('{% sparkline values "Evaluations" "time" %}').render(
        Context({"values": [1, 4]})
    )
    assert "<title>Evaluations: 5 times in total, 4 at the highest</title>" in html
    empty = Template('{% sparkline values "<b>" "time" %}').render(Context({"values": []}))
    assert "<title>&lt;b&gt;: 0 times in total" in empty
