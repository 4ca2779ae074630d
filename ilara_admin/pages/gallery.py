"""Sample data for the component gallery."""

from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from django import forms
from django.utils import timezone

from ilara_admin.core.diff import Change
from ilara_admin.models import Environment, Project
from ilara_admin.templatetags.charts import Share
from ilara_admin.web import chart_axes, charts
from ilara_admin.web.charts import ChartInterval, ChartSeries, Marker
from ilara_admin.web.confirm import Confirm

ENVIRONMENTS = ("live", "test")
COUNTS = [310, 280, 190, 120, 90, 70, 64, 88, 140, 260, 390, 430, 520, 610, 580, 640, 720, 860]
COUNTS += [910, 870, 760, 640, 480, 0]


class SampleFlagForm(forms.Form):
    key = forms.CharField(
        initial="new_tutorial",
        help_text="The game evaluates the flag by this key. It cannot be changed later.",
        widget=forms.TextInput(attrs={"class": "mono", "spellcheck": "false"}),
    )
    name = forms.CharField(initial="New tutorial")
    value_type = forms.ChoiceField(
        choices=[("boolean", "Boolean"), ("string", "String"), ("number", "Number")]
    )
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    rollout = forms.DecimalField(
        max_value=100, initial=25, help_text="Percentage of the players that match the rules."
    )
    lifetime = forms.ChoiceField(
        choices=[("temporary", "Temporary"), ("permanent", "Permanent")],
        initial="temporary",
        widget=forms.RadioSelect,
    )
    on = forms.BooleanField(
        label="On",
        initial=True,
        required=False,
        help_text="When off, all players get the off value from the next request on.",
        widget=forms.CheckboxInput(attrs={"class": "switch", "role": "switch"}),
    )


class SampleFilterForm(forms.Form):
    q = forms.CharField(
        label="Search",
        required=False,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "Key or name"}),
    )
    state = forms.ChoiceField(required=False, choices=[("", "Any state"), ("on", "On")])
    owner = forms.ChoiceField(required=False, choices=[("", "Anyone"), ("ana", "Ana Reyes")])


def environment(slug: str) -> tuple[Project, Environment]:
    project = Project(name="Skyforge Legends", slug="skyforge")
    return project, Environment(project=project, slug=slug if slug in ENVIRONMENTS else "live")


def _charts(theme: str) -> dict[str, Any]:
    """One of each kind. The label names the theme, since it has to be unique on a page."""
    now = timezone.localtime().replace(minute=0, second=0, microsecond=0)
    hours = chart_axes.time_axis([now - timedelta(hours=ago) for ago in reversed(range(24))])
    half, third = [count // 2 for count in COUNTS], [count // 3 for count in COUNTS]
    lift = [None, 4, 2.5, 3, None, 1.5, 1, 1.2, 0.4, -0.5, -1.2, -0.8]
    markers = [
        Marker(now - timedelta(hours=ago), f"Revision {20 - ago}: 5 % → 10 %", "?")
        for ago in (0, 9, 14, 14)
    ]
    days = chart_axes.label_axis([f"Day {day}" for day in range(8)])
    kept: list[list[float | None]] = [
        [100, 44, 35, 31, 28, 26, 25, 24],
        [100, 41, 33, 28, 26, None, None, None],
        [100, 38, *[None] * 6],
    ]
    return {
        "bars": charts.bars(
            hours, [ChartSeries("Events", COUNTS)], label=f"Events per hour, {theme}", unit="event"
        ),
        "stacked": charts.bars(
            hours,
            [
                ChartSeries("control", COUNTS),
                ChartSeries("blue", half),
                ChartSeries("green", third),
            ],
            label=f"Evaluations per hour, {theme}",
            unit="evaluation",
            markers=markers,
        ),
        "lines": charts.lines(
            chart_axes.label_axis([f"{each} Nov" for each in range(1, 13)]),
            [ChartSeries("blue", lift), ChartSeries("green", [each and -each for each in lift])],
            label=f"Lift by day, {theme}",
            unit="%",
        ),
        "intervals": charts.intervals(
            [
                ChartInterval("Revenue", -1.2, 3.4, 8.0),
                ChartInterval("Retention, day 7", 0.8, 2.1, 3.4),
                ChartInterval("Sessions", None, None, None),
            ],
            label="Lift over control",
            unit="%",
        ),
        "heat": charts.heat_map(
            ["1 Nov", "2 Nov", "3 Nov"], days, kept, label=f"Retention, {theme}", unit="%"
        ),
    }


def _sample(prefix: str) -> dict[str, Any]:
    wrong = {"key": "", "name": "New tutorial", "value_type": "boolean", "rollout": "250"}
    return {
        "id": prefix,
        "form": SampleFlagForm(auto_id=f"{prefix}_%s"),
        "bad_form": SampleFlagForm(wrong, auto_id=f"{prefix}_bad_%s"),
        "filters": SampleFilterForm({"state": "on"}, auto_id=f"{prefix}_filter_%s"),
        "charts": _charts(prefix),
    }


def context() -> dict[str, Any]:
    now = timezone.now()
    ago = [now - timedelta(seconds=each) for each in (12, 190, 8000, 90000, 900000, 9000000)]
    return {
        "samples": [("light", _sample("light")), ("dark", _sample("dark"))],
        "spark": COUNTS,
        "shares": [
            Share("control", 50_000),
            Share("blue", 25_000),
            Share("green", 12_500),
        ],
        "times": ago,
        "soon": now + timedelta(hours=26),
        "amount": Decimal("18240.5"),
        "page": SimpleNamespace(previous="?before=a", next="?after=b", is_only=False),
        "chips": [
            SimpleNamespace(label="State", value="On", url="?"),
            SimpleNamespace(label="Segment", value="beta-testers", url="?"),
        ],
        "document": {"event_id": "evt_9f2c", "level": 42, "items": ["sword", "potion"]},
        "curl": (
            "curl -X POST http://localhost:18000/v1/players/register \\\n"
            '  -H "X-API-Key: pk_live_7Qd…" -H "Content-Type: application/json" \\\n'
            """  -d '{"external_id": "player_123", "platform": "ios"}'"""
        ),
        "facts": [
            ("External id", "player_123"),
            ("Platform", "ios"),
            ("App version", "4.2.0"),
            ("Country", "PT"),
            ("E-mail", None),
        ],
        "confirm": Confirm(
            title="Turn off new_tutorial in live",
            button="Turn off new_tutorial",
            cancel_url="?",
            text="About 1,240 of 8,300 players get “enabled” now. All will get the off value.",
            changes=[
                Change("State", "On", "Off"),
                Change("Served to everyone", "by rules", "false"),
            ],
        ),
        "delete": Confirm(
            title="Delete segment beta-testers",
            button="Delete beta-testers",
            cancel_url="?",
            tone="danger",
            text="Flags that use it stop matching. This can be undone from the audit log.",
            dependents=[("flags with a rule on it", 2), ("players on its lists", 148)],
            type_to_confirm="beta-testers",
            error="The name did not match.",
        ),
    }
