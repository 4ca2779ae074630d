"""The chart of a flag's evaluations."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from flags.engine.document import Rule, boolean_document
from flags.models import Flag, FlagRevision, FlagUsage
from flags.services import flag_create
from ilara_admin.models import Environment, Role, User
from tests.factories import ACTOR
from tests.pages import HTMX, signed_in, text_of, url_of


@pytest.fixture
def viewer(db: None) -> Client:
    return signed_in(Role.VIEWER)


@pytest.fixture
def flag(environment: Environment) -> Flag:
    document = boolean_document(enabled=True, rules=(Rule(id="r", variant="enabled"),))
    return flag_create(environment=environment, key="chart", document=document, actor=ACTOR)


def use(flag: Flag, variant: str, ago: timedelta, count: int) -> None:
    at = (timezone.now() - ago).replace(minute=0, second=0, microsecond=0)
    FlagUsage.objects.create(flag=flag, hour=at, variant=variant, count=count, last_at=at)


def panel(viewer: Client, flag: Flag, query: str = "", **options: Any) -> str:
    url = url_of(flag.environment, "flag_detail", flag.key)
    html = text_of(viewer.get(f"{url}{query}", **options))
    return html[html.index('id="evaluations"') :].partition("</section>")[0]


def test_hours_and_days__have_a_column_each_with_the_counts_by_variant(
    viewer: Client, flag: Flag
) -> None:
    use(flag, "enabled", timedelta(), 2)
    use(flag, "disabled", timedelta(), 1)
    use(flag, "enabled", timedelta(hours=47), 10)
    use(flag, "enabled", timedelta(days=50), 1_000)
    html = panel(viewer, flag)
    assert html.count("<div data-hit") == 48
    assert "enabled <b>12</b>" in html  # of the legend
    assert '\n3 evaluations">' in html
    assert "1,000" not in html
    days = panel(viewer, flag, "?evaluations=day")
    assert days.count("<div data-hit") == 90
    assert '\n1,000 evaluations">' in days
    assert panel(viewer, flag, "?evaluations=day", headers=HTMX) == days
    assert panel(viewer, flag, "?evaluations=nonsense").count("<div data-hit") == 48


def test_columns__begin_in_the_users_zone(viewer: Client, flag: Flag) -> None:
    use(flag, "enabled", timedelta(), 7)
    User.objects.update(time_zone="Asia/Kolkata")
    with timezone.override("Asia/Kolkata"):
        local = timezone.localtime(timezone.now().replace(minute=0))
    assert f'aria-label="{local.day} {local:%b}, {local:%H}:30\n' in panel(viewer, flag)


def test_every_revision__has_a_marker_that_leads_to_its_diff(viewer: Client, flag: Flag) -> None:
    use(flag, "enabled", timedelta(), 1)
    FlagRevision.objects.filter(flag=flag).update(created_at=timezone.now() - timedelta(days=3))
    fields = {"flag": flag, "name": "x", "document": flag.document, "author_name": "Ana <b>"}
    FlagRevision.objects.create(
        **fields, number=2, reason="Slow " * 100, created_at=timezone.now() - timedelta(hours=30)
    )
    html = panel(viewer, flag)
    first, second = (url_of(flag.environment, "flag_revision", "chart", each) for each in (1, 2))
    assert set(re.findall(r'href="([^"]*revision[^"]*)"', html)) == {second}
    assert "Revision 2 by Ana &lt;b&gt;, " in html
    assert "Slow Slow" in html
    assert "Slow " * 30 not in html
    days = panel(viewer, flag, "?evaluations=day")
    assert set(re.findall(r'href="([^"]*revision[^"]*)"', days)) == {first, second}


def test_many_variants__are_told_apart_by_six_colours(viewer: Client, flag: Flag) -> None:
    for number in range(9):
        use(flag, f"gone-{number}", timedelta(), 10 + number)
    html = panel(viewer, flag)
    legend = html.partition("<ul")[2].partition("</ul>")[0]
    assert re.findall(r">([^<>]+) <b>", legend) == [
        *("gone-4", "gone-5", "gone-6", "gone-7", "gone-8", "others"),
    ]
    assert "others <b>46</b>" in html
    assert '\n126 evaluations">' in html


def test_without_evaluations__says_so(viewer: Client, flag: Flag) -> None:
    use(flag, "enabled", timedelta(days=5), 1)
    assert "Evaluations per hour, last 48 hours: none." in panel(viewer, flag)
    assert "<svg" in panel(viewer, flag, "?evaluations=day")


def test_flag_that_cannot_be_read__shows_its_evaluations(viewer: Client, flag: Flag) -> None:
    use(flag, "enabled", timedelta(), 5)
    Flag.objects.filter(pk=flag.pk).update(document={"variants": 3})
    assert '\n5 evaluations">' in panel(viewer, flag)
