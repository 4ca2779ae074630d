"""The pages of metrics, used as a browser without JavaScript would, and as htmx does."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from events.models import EventName, EventProperty
from flags.models import Flag, Metric, MetricKind
from flags.results.metrics import fields_of, metric_create, metric_update
from ilara_admin.models import AuditEntry, Environment, Role
from tests.factories import ACTOR, make_experiment, make_metric, make_player
from tests.form_fields import fields_of as form_fields
from tests.pages import HTMX, message_of, squeezed, text_of, url_of

pytestmark = pytest.mark.django_db
STARS = {"operator": "AND", "conditions": [{"field": "stars", "operator": ">=", "value": 2}]}


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


@pytest.fixture
def catalogue(environment: Environment) -> None:
    now = datetime.now(UTC)
    name = EventName.objects.create(
        environment=environment, name="purchase", first_seen_at=now, last_seen_at=now, count=10
    )
    for property_, type_ in (("price", "number"), ("item_id", "string")):
        EventProperty.objects.create(event_name=name, name=property_, type=type_, count=10)


class Form:
    """The editor of a metric in a browser."""

    def __init__(self, client: Client, url: str) -> None:
        self.client, self.url = client, url
        self.show(client.get(url))

    def show(self, response: Any) -> None:
        self.response = response
        if response.status_code in (200, 422):
            self.text = squeezed(text_of(response))
            self.fields = form_fields(text_of(response), "editor")

    def post(self, **fields: Any) -> "Form":
        typed = {name.replace("__", "-"): value for name, value in fields.items()}
        self.show(self.client.post(self.url, {**self.fields, **typed}))
        return self


def test_new_metric__is_built_without_javascript(
    client: Client, environment: Environment, catalogue: None
) -> None:
    make_player(environment)
    form = Form(client, url_of(environment, "metric_new"))
    assert "event" in form.fields
    assert "property" not in form.fields
    form.post(kind="sum", refine="1")
    form.post(event="purchase", property="item_id", **{"rule-act": "property conditions"})
    assert "text, 100 % of purchase events; only numbers count" in form.text
    form.post(preview="1", conditions__0__field="stars", conditions__0__operator=">=",
              conditions__0__value="2", property="price", key="x")  # fmt: skip
    assert "Sum of “price” of “purchase” events whose stars is at least 2" in form.text
    assert "Counted over all players" in form.text
    form.post(key="gems", name="Gems", unit="gems", window_days="7", percentile="99", reason="Why")
    assert form.response.status_code == 302
    metric = Metric.objects.get(environment=environment, key="gems")
    assert fields_of(metric) == {
        "name": "Gems", "description": "", "direction": "up", "unit": "gems", "owner": "",
        "definition": {
            "kind": "sum", "event": "purchase", "property": "price", "conditions": STARS,
            "window_days": 7, "percentile": 99.0,
        },
    }  # fmt: skip
    page = text_of(client.get(form.response["Location"]))
    assert "values above the 99th percentile capped." in page
    assert AuditEntry.objects.latest("pk").reason == "Why"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event": ""}, "Name the event with 1 to 128 characters"),
        ({"event": "x", "window_days": "0"}, "greater than or equal to 1"),
        ({"event": "x", "percentile": "100"}, "less than or equal to 99.99"),
        ({"kind": "sum", "event": "x"}, "Name a property of the event"),
        ({"kind": "retention"}, "Give a number of days from 1 to 365"),
        ({"event": "x", "key": "a b"}, "Use 1 to 128 letters"),
        ({"event": "x", "key": "taken"}, "already a metric “taken”"),
    ],
)
def test_wrong_form__keeps_what_was_typed(
    client: Client, environment: Environment, fields: dict[str, str], message: str
) -> None:
    make_metric(environment, "taken")
    form = Form(client, url_of(environment, "metric_new"))
    form.post(**{"key": "new", "owner": "Ada", **fields})
    assert form.response.status_code == 422
    assert message in form.text
    assert form.fields["owner"] == ["Ada"]
    assert Metric.objects.count() == 1


def test_fields_that_the_kind_lacks__are_ignored(client: Client, environment: Environment) -> None:
    form = Form(client, url_of(environment, "metric_new"))
    form.post(key="money", kind="revenue", event="purchase", unit="gems")
    assert form.response.status_code == 302
    metric = Metric.objects.get(key="money")
    assert (metric.event, metric.unit) == ("", "")


def test_wrong_condition__is_shown_at_its_control(client: Client, environment: Environment) -> None:
    form = Form(client, url_of(environment, "metric_new"))
    form.post(**{"rule-act": "property conditions"})
    form.post(key="x", event="win", conditions__0__field="stars", conditions__0__operator=">=",
              conditions__0__value="many")  # fmt: skip
    assert form.response.status_code == 422
    assert 'href="#id_conditions-0-value"' in form.text
    assert "Give a number." in form.text


@pytest.mark.parametrize("nested", [False, True])
def test_stored_conditions__return_from_the_editor(
    client: Client, environment: Environment, nested: bool
) -> None:
    conditions = {**STARS, "conditions": [*STARS["conditions"], STARS]} if nested else STARS
    metric = make_metric(environment, "m", event="win", conditions=conditions)
    form = Form(client, url_of(environment, "metric_edit", "m"))
    assert ('name="conditions-json"' in form.text) == nested
    form.post(owner="Ada")
    assert form.response.status_code == 302
    metric.refresh_from_db()
    assert (metric.conditions, metric.owner) == (conditions, "Ada")
    if not nested:
        form = Form(client, url_of(environment, "metric_edit", "m"))
        form.post(**{"rule-act": "json conditions"})
        form.post(**{"rule-act": "rows conditions"})
        form.post(**{"rule-act": "remove conditions-0"})
        form.post()
        metric.refresh_from_db()
        assert metric.conditions is None


def test_preview_of_htmx__has_the_hints(
    client: Client, environment: Environment, catalogue: None
) -> None:
    form = Form(client, url_of(environment, "metric_new"))
    typed = {**form.fields, "preview": "1"}
    text = text_of(client.post(form.url, {**typed, "event": "purchas"}, headers=HTMX))
    assert "No event purchas was received; did you mean purchase?" in text
    assert "No players were active on these days." in squeezed(text)
    assert "<form" not in text
    text = text_of(client.post(form.url, typed, headers=HTMX))
    assert "Complete the definition" in text
    assert '<option value="price">' in text
    assert '<option value="item_id">' not in text


def test_saved_by_someone_else__is_a_conflict(client: Client, environment: Environment) -> None:
    metric = metric_create(
        environment=environment, key="m", definition={"kind": "sessions"}, direction="up",
        actor=ACTOR,
    )  # fmt: skip
    form = Form(client, url_of(environment, "metric_edit", "m"))
    form.post(refine="1", kind="payers")  # keeps what was seen
    metric_update(metric, {"owner": "Ada"}, actor=ACTOR)
    stale = Form(client, url_of(environment, "metric_edit", "m"))
    assert form.post().response.status_code == 302  # another field
    response = stale.post(window_days="3").response
    assert response.status_code == 409
    text = text_of(response)
    assert "Share of players with a purchase" in text
    assert "Number of sessions, per player, within 3 days" in text


def test_change_of_what_is_measured__says_what_is_computed_again(
    client: Client, environment: Environment
) -> None:
    metric = make_metric(environment, "m", MetricKind.SESSIONS)
    make_experiment(
        Flag.objects.get(environment=environment, key="new_tutorial"), "tutorial", metric
    )
    form = Form(client, url_of(environment, "metric_edit", "m"))
    assert "If you change what it measures, their results are computed again" in form.text
    form.post(window_days="3")
    assert "The results of tutorial are computed again." in message_of(form.response)
    page = text_of(client.get(url_of(environment, "metric_detail", "m")))
    assert "tutorial" in page
    assert "running" in page


def test_list__filters_searches_and_sorts(client: Client, environment: Environment) -> None:
    make_metric(environment, "sessions", MetricKind.SESSIONS, owner="Ada")
    make_metric(environment, "wins", event="win", owner="Bo")
    make_metric(environment, "old", event="old", archived_at=datetime.now(UTC))
    url = url_of(environment, "metric_list")

    def keys(**query: str) -> list[str]:
        text = text_of(client.get(url, query))
        return [key for key in ("sessions", "wins", "old") if f"/metrics/{key}/" in text]

    assert keys() == ["sessions", "wins"]
    assert keys(state="archived") == ["old"]
    assert keys(kind="sessions") == ["sessions"]
    assert keys(owner="Bo") == ["wins"]
    assert keys(q="win") == ["wins"]
    assert keys(sort="-used") == ["sessions", "wins"]
    assert keys(q="nothing") == []


def test_list__runs_as_many_queries_for_20_rows_as_for_one(
    client: Client, environment: Environment, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    url = url_of(environment, "metric_list")
    make_metric(environment, "m")
    client.get(url)
    with django_assert_num_queries(6):
        client.get(url)
    for number in range(19):
        make_metric(environment, f"m-{number}")
    with django_assert_num_queries(6):
        client.get(url)


def test_archive__and_back(client: Client, environment: Environment) -> None:
    make_metric(environment, "m")
    for state, archived in (("archive", True), ("unarchive", False)):
        url = url_of(environment, "metric_archive", "m", state)
        assert state.capitalize() in text_of(client.get(url))
        response = client.post(url)
        assert f"m is {state}d." in message_of(response)
        assert (Metric.objects.get().archived_at is not None) == archived


def test_invalid_stored_definition__has_a_page(client: Client, environment: Environment) -> None:
    make_metric(environment, "m", conditions={"operator": "NO"}, event="x")
    text = text_of(client.get(url_of(environment, "metric_detail", "m")))
    assert "The definition is not valid" in text
    assert client.get(url_of(environment, "metric_edit", "m")).status_code == 200
    assert client.get(url_of(environment, "metric_list")).status_code == 200


def test_event__says_which_metrics_count_it(
    client: Client, environment: Environment, catalogue: None
) -> None:
    make_metric(environment, "buys", event="purchase")
    name = EventName.objects.get(environment=environment, name="purchase")
    text = text_of(client.get(url_of(environment, "event_name", name.pk)))
    assert url_of(environment, "metric_detail", "buys") in text
