"""Template tags and filters."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django import forms
from django.forms.renderers import DjangoTemplates, TemplatesSetting
from django.template import Context, Template
from django.utils import timezone
from django.utils.safestring import mark_safe

from ilara_admin.core.diff import Change
from ilara_admin.models import Environment, Project
from ilara_admin.templatetags import ilara
from ilara_admin.templatetags.charts import Share
from ilara_admin.web.context_processors import NavItem

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def render(source: str, **context: object) -> str:
    return Template(source).render(Context(context))


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=0), "just now"),
        (timedelta(seconds=4.9), "just now"),
        (timedelta(seconds=-4), "just now"),
        (timedelta(seconds=5), "5 s ago"),
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(seconds=60), "1 min ago"),
        (timedelta(minutes=59, seconds=59), "59 min ago"),
        (timedelta(hours=23, minutes=59), "23 h ago"),
        (timedelta(days=1), "1 d ago"),
        (timedelta(days=29, hours=23), "29 d ago"),
        (timedelta(days=30), "4 Apr 2026"),
        (timedelta(minutes=-3), "in 3 min"),
        (timedelta(days=-31), "4 Jun 2026"),
    ],
)
def test_reltime_words(ago: timedelta, text: str) -> None:
    assert ilara.reltime_words(NOW - ago, NOW) == text


def test_reltime__has_the_exact_time_in_both_zones() -> None:
    with timezone.override("Europe/Lisbon"):
        html = render("{% reltime moment %}", moment=NOW)
    assert 'datetime="2026-05-04T12:00:00Z"' in html
    assert 'title="4 May 2026, 13:00:00 WEST · 4 May 2026, 12:00:00 UTC"' in html
    assert "data-reltime" in html


def test_reltime_in_utc__has_one_time() -> None:
    assert 'title="4 May 2026, 12:00:00 UTC"' in render("{% reltime moment %}", moment=NOW)


def test_reltime_of_nothing() -> None:
    assert "never" in render("{% reltime moment %}", moment=None)
    assert "not yet" in render('{% reltime moment "not yet" %}', moment=None)


@pytest.mark.parametrize(
    ("thousandths", "text"),
    [
        (0, "0 %"),
        (1, "0.001 %"),
        (500, "0.5 %"),
        (10_000, "10 %"),
        (12_500, "12.5 %"),
        (18_204, "18.204 %"),
        (100_000, "100 %"),
        (None, ilara.ABSENT),
    ],
)
def test_percent(thousandths: int | None, text: str) -> None:
    assert ilara.percent(thousandths) == text


def test_money_and_number() -> None:
    assert ilara.money(Decimal("18240.5")) == "18,240.50"
    assert ilara.money(Decimal("999999999.99"), "EUR") == "999,999,999.99 EUR"
    assert ilara.money(None) == ilara.ABSENT
    assert ilara.money(Decimal("1.2"), "KWD") == "1.200 KWD"
    assert ilara.money(Decimal("1200.00"), "JPY") == "1,200 JPY"
    assert ilara.amount_text(Decimal("0"), "USD") == "0.00"
    assert ilara.amount_text(Decimal("1.2345"), "USD") == "1.2345"
    assert ilara.number(1234567) == "1,234,567"
    assert ilara.number(None) == ilara.ABSENT


def test_timeline_event__escapes_texts_of_games() -> None:
    now = timezone.now()
    event = SimpleNamespace(name="<a>&", properties={"<b>": 1}, brief="<b> 1", session_id="<a>&")
    entry = SimpleNamespace(detail=event, at=now, late=now)
    drawn = ilara.timeline_event(SimpleNamespace(entry=entry, url="/e?at=1"), "/p?event=")
    assert 'href="/p?event=%3Ca%3E%26#timeline"' in drawn
    assert drawn.count("<time ") == 2
    assert "<a>" not in drawn
    assert "<b>" not in drawn


def test_json_pretty__is_escaped_by_the_template() -> None:
    html = render("{{ document|json_pretty }}", document={"name": "</pre><script>é"})
    assert "<script>" not in html
    assert "&lt;script&gt;é" in html


def test_shares__lie_side_by_side() -> None:
    parts = [Share("control", 50_000), Share("blue", 25_000)]
    html = render('{% shares parts label="Split" %}', parts=parts)
    assert 'data-series="1" x="0" y="0" width="50000"' in html
    assert 'data-series="2" x="50000" y="0" width="25000"' in html
    assert "control" in html
    assert "25 %" in html


def test_rollout() -> None:
    html = render("{% rollout 12500 %}")
    assert 'width="12500"' in html
    assert "12.5 %" in html


def test_pure__is_rendered_once_for_each_combination_of_values() -> None:
    source = '{% pure "components/_env.html" slug=slug %}'
    assert 'data-env="live"' in render(source, slug="live")
    assert 'data-env="test"' in render(source, slug="test")
    assert "<b>" in render(source, slug=mark_safe("<b>"))
    assert "<b>" not in render(source, slug="<b>")  # equal to the markup, but a text


def test_truncatechars() -> None:
    assert render("{{ text|truncatechars:4 }}", text="<ab>") == "&lt;ab&gt;"
    assert render("{{ text|truncatechars:4 }}", text="<abc>") == "&lt;ab…"
    assert render("{{ text|truncatechars:4 }}", text=None) == "None"


def test_difference__leaves_out_a_side_without_a_value() -> None:
    assert render("{{ x|difference }}", x=Change("", "<", "2")) == "<del>&lt;</del> → <ins>2</ins>"
    assert render("{{ x|difference }}", x=Change("", "", "2")) == "<ins>2</ins>"


def test_attributes() -> None:
    attrs = {"class": 'a"b', "required": True, "checked": False, "min": 0, "pattern": None}
    html = render("{{ attrs|attributes }}", attrs=attrs)
    assert html == ' class="a&quot;b" required min="0" pattern="None"'


def test_select__is_as_django_writes_it() -> None:
    choices = [
        ("", "All"), (1, 'a"<b>'), ("&x", mark_safe("<i>y</i>")), ("<g>", [(True, "c"), (None, 2)]),
    ]  # fmt: skip
    for widget in (forms.Select({"id": "x"}, choices), forms.SelectMultiple({}, choices)):
        ours, djangos = (
            widget.render("one", ["&x", True], renderer=renderer)
            for renderer in (TemplatesSetting(), DjangoTemplates())
        )
        assert "selected" in ours
        assert "".join(ours.split()) == "".join(djangos.split())


def test_icon__is_hidden_from_assistive_technology() -> None:
    assert 'aria-hidden="true"' in ilara.icon("flag")


@pytest.mark.parametrize("current", [True, False])
def test_nav_link(current: bool) -> None:
    item = NavItem("Flags", "/game/live/flags/", "flag", "f", current)
    html = render("{% nav_link item %}", item=item)
    assert 'href="/game/live/flags/" data-shortcut="g f"' in html
    assert ('aria-current="page"' in html) is current


def test_dialog_link__omits_empty_query_values() -> None:
    environment = Environment(slug="live", project=Project(slug="game"))
    request = SimpleNamespace(environment=environment)
    link = '{% dialog_link "flag_clone" "a" list=none from=7 q="x&y" %}'
    url = "/game/live/flags/a/clone/?from=7&amp;q=x%26y"
    html = render(link, request=request, none="")
    assert html == f'href="{url}" hx-get="{url}" hx-target="#dialog"'


def test_notice__is_an_alert_only_if_set() -> None:
    assert 'role="alert"' not in render('{% notice "warn" %}<b>Text</b>{% endnotice %}')
    assert "<div><b>Text</b></div>" in render('{% notice "warn" %}<b>Text</b>{% endnotice %}')
    focused = render('{% notice "warn" focus=True %}{{ text }}{% endnotice %}', text="<i>")
    assert 'role="alert" tabindex="-1" autofocus' in focused
    assert "<i>" not in focused
