"""The page of figures, its CSV, and what needs attention on the overview."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from events.models import RejectedEvent
from flags.models import Experiment, ExperimentKind, Flag
from ilara_admin.core.changes import bump_config_version
from ilara_admin.models import ApiKey, Environment, Role
from players.models import FiguresState, PlayerCohort, PlayerDay
from tests.factories import make_experiment, make_key
from tests.pages import HTMX, squeezed, text_of, url_of

TODAY = datetime.now(UTC).date()


def day(ago: int) -> date:
    return TODAY - timedelta(days=ago)


def make_days(environment: Environment, count: int) -> None:
    """Days of 10 active players, 4 of them new and 6 in PT, and cohorts that lose half."""
    now = datetime.now(UTC)
    common = {"environment": environment, "counted_at": now, "purchases": 2}
    for ago in range(count):
        for dimension, value, active in (("", "", 10), ("country", "PT", 6), ("country", "", 3)):
            PlayerDay.objects.create(
                **common, day=day(ago), dimension=dimension, value=value, active=active, new=4,
                sessions=20, payers=1, revenue=Decimal(active), unverified=0,
                weekly=30 if not dimension else None, monthly=50 if not dimension else None,
            )  # fmt: skip
            if ago:
                PlayerCohort.objects.create(
                    environment=environment, day=day(ago), dimension=dimension, value=value,
                    players=4, until=day(1), day_1=2 if ago > 1 else None,
                )  # fmt: skip
    FiguresState.objects.create(
        environment=environment, stages={"new": 3, "churned": 1}, stages_at=now
    )


@pytest.fixture
def viewer(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.VIEWER)


def shown(client: Client, environment: Environment, query: str = "") -> str:
    page = text_of(client.get(url_of(environment, "game_figures") + query))
    return " ".join(squeezed(page).split())


def test_figures__are_those_of_the_range_and_the_one_before(
    viewer: Client, environment: Environment
) -> None:
    assert "No figures for these days yet" in shown(viewer, environment)
    make_days(environment, 60)
    PlayerDay.objects.filter(day__lt=day(28)).update(revenue=4)
    html = shown(viewer, environment)
    assert "UTC days" in html
    assert "<dd>280.00 USD</dd><dd>+150 %, before 112.00 USD</dd>" in html.replace("> <", "><")
    assert "<dd>50 %</dd>" in html
    for label in ("Active players", "Sessions", "Revenue in USD", "Retention by first day"):
        assert label in html
    assert "New 3 <span" in html
    assert "31 days of the period have no figures" in shown(viewer, environment, "?range=90")
    assert "Retention by first week" in shown(viewer, environment, "?range=90")


def test_breakdown__has_a_row_for_each_value_and_the_rest(
    viewer: Client, environment: Environment
) -> None:
    make_days(environment, 9)
    PlayerDay.objects.filter(day=day(4)).update(revenue=0)
    html = shown(viewer, environment, "?by=country&range=7")
    rows = html.partition('id="values-title"')[2].partition("</table>")[0]
    assert [part.partition("<")[0] for part in rows.split("<bdi>")[1:]] == [
        "PT",
        "Not set",
        "Other",
    ]
    assert "Retention by country" in html
    html = shown(viewer, environment, "?by=version")
    assert "Not by version" in html


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("?range=7", 7, 1),
        ("", 28, 1),
        ("?since={3}&until={2}", 3, 2),
        ("?until={2}", 29, 2),
        ("?since={0}", 0, 0),  # today
        ("?since={2}&until={5}", 5, 5),
        ("?range=x&since=y", 28, 1),
    ],
)
def test_period__follows_from_the_address(
    query: str, first: int, last: int, viewer: Client, environment: Environment
) -> None:
    make_days(environment, 30)
    asked = query.format(*(day(ago) for ago in range(6)))
    response = viewer.get(url_of(environment, "overview_csv") + asked)
    rows = list(csv.DictReader(io.StringIO(text_of(response))))
    days = [str(day(ago)) for ago in range(first, last - 1, -1)]
    assert [row["utc_day"] for row in rows] == days
    assert days[0] in response.headers["Content-Disposition"]


def test_csv__has_what_is_shown(viewer: Client, environment: Environment) -> None:
    make_days(environment, 5)
    PlayerDay.objects.filter(value="PT").update(value="=1+1")
    response = viewer.get(
        f"{url_of(environment, 'overview_csv')}?by=country&until={day(3)}&range=7"
    )
    rows = list(csv.DictReader(io.StringIO(text_of(response))))
    assert {row["dimension"] for row in rows} == {"country"}
    assert [row["value"] for row in rows] == ["", "'=1+1"] * 2
    assert {name: rows[0][name] for name in ("active", "returning", "arpdau", "cohort_day_1")} == {
        "active": "3", "returning": "-1", "arpdau": "1.0000", "cohort_day_1": "2",
    }  # fmt: skip


def test_htmx__gets_the_figures_only(viewer: Client, environment: Environment) -> None:
    response = viewer.get(url_of(environment, "game_figures"), headers=HTMX)
    assert text_of(response).strip().startswith('<section class="stack" id="results">')


# --- What needs attention -------------------------------------------------------------------------


def attention(client: Client, environment: Environment) -> str:
    html = " ".join(text_of(client.get(url_of(environment, "overview"))).split())
    return html.partition('id="attention-title"')[2].partition("</section>")[0]


def breach(environment: Environment) -> None:
    guarded(environment)
    Experiment.objects.update(breached_at=timezone.now())


def guarded(environment: Environment) -> None:
    flag = Flag.objects.of(environment).get(key="new-feature")
    flag.document["rules"] = [{"id": "r", "variant": flag.document["default"]}]
    make_experiment(flag, kind=ExperimentKind.ROLLOUT)


def schedule(environment: Environment, **times: object) -> None:
    """A rule with these times; without any, with a step in a second."""
    flag = Flag.objects.of(environment).get(key="new-feature")
    times = times or {"rollout": 0, "steps": [{"at": moment(SOON), "rollout": 25_000}]}
    rule = {"id": "r", "variant": flag.document["default"], **times}
    flag.document |= {"rules": [rule], "enabled": True}
    flag.save()
    bump_config_version(environment)


SOON = timedelta(seconds=1)


def moment(later: timedelta) -> str:
    return (timezone.now() + later).astimezone(UTC).isoformat().replace("+00:00", "Z")


def reject(environment: Environment) -> None:
    RejectedEvent.objects.create(
        environment=environment, received_at=timezone.now(), code="x", message="y", payload="{}"
    )


def expire(environment: Environment) -> None:
    make_key(environment)
    ApiKey.objects.update(expires_at=timezone.now() + timedelta(days=2))


def abandon(environment: Environment) -> None:
    make_key(environment)
    ApiKey.objects.update(created_at=timezone.now() - timedelta(days=100))


def end(environment: Environment) -> None:
    Flag.objects.update(expected_end=day(2))


@pytest.mark.parametrize(
    ("happens", "text"),
    [
        (breach, "A guard metric of “bigger-button” was breached"),
        (guarded, "Guarded rollout “bigger-button” runs since"),
        (schedule, "Rule 1 is at 25 % from"),
        (reject, "1 event</bdi></a> was rejected in the last 24 hours"),
        (expire, "This API key expires"),
        (abandon, "1 API key</bdi></a> is unused for 90 days"),
        (end, "2 stale flags"),
    ],
)
def test_attention__names_what_happens(
    happens: Callable[[Environment], None], text: str, viewer: Client, environment: Environment
) -> None:
    assert attention(viewer, environment) == ""
    happens(environment)
    assert text in attention(viewer, environment)
    assert attention(viewer, environment).count("<li") == 1


@pytest.mark.parametrize("name", ["start", "end", "ramp"])
def test_attention__names_scheduled_changes_of_today_only(
    name: str, viewer: Client, environment: Environment
) -> None:
    for later, lines in ((SOON, 1), (timedelta(days=2), 0), (-timedelta(days=2), 0)):
        times: dict[str, object] = {name: moment(later)}
        if name == "ramp":
            end = moment(later + timedelta(days=9))
            times = {"ramp": {"start": moment(later), "end": end, "from": 0, "to": 50_000}}
        schedule(environment, **times)
        assert attention(viewer, environment).count("<li") == lines


def test_overview__shows_four_weeks_once_days_are_counted(
    viewer: Client, environment: Environment
) -> None:
    page = url_of(environment, "overview")
    assert "Four weeks" not in text_of(viewer.get(page))
    make_days(environment, 3)
    html = text_of(viewer.get(page))
    assert "Four weeks" in html
    assert url_of(environment, "game_figures") in html
