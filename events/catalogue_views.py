"""The event catalogue, the page of one event name, and rejected events."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db.models import Case, IntegerField, Value, When
from django.http import Http404, HttpResponse
from django.utils import timezone

from events import services
from events.charts import counts_chart
from events.forms import NAME_COLUMNS, DescriptionForm, NamesForm, RejectedForm
from events.log_reader import recent_examples
from events.models import EventName, EventNameQuerySet, EventProperty, RejectedEvent
from events.rejections import KEPT_DAYS, PAYLOAD_CHARACTERS, without_personal
from events.stats import (
    Series,
    Span,
    arrivals,
    day_start,
    freshness,
    hours_of,
    in_words,
    series,
    unusual_names,
)
from events.unusual import State, Unusual
from events.usage import users_of_events
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.core.projects import environment_update
from ilara_admin.core.text import isolated
from ilara_admin.models import Role
from ilara_admin.web.access import (
    actor_of,
    environment_url,
    get_or_404,
    may,
    sees_personal,
    staff_view,
)
from ilara_admin.web.confirm import Confirm, changed, form_conflict, is_review, render_confirm
from ilara_admin.web.csv_download import csv_download
from ilara_admin.web.filters import render_list
from ilara_admin.web.forms import FormPage, add_errors, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial
from ilara_admin.web.pagination import KeysetPage
from ilara_admin.web.sorting import headers, ordering
from players.aliases import linked_among
from players.personal import mask_text, mask_value

RECENT = timedelta(days=1)  # before the last event, so that few partitions are read
SPANS = {
    Span.HOUR: "Last hour",
    Span.DAY: "Last 24 hours",
    Span.MONTH: "Last 30 days",
    Span.QUARTER: "Last 90 days",
}
UNITS = {
    Span.HOUR: "Events per minute",
    Span.DAY: "Events per hour",
    Span.MONTH: "Events per day",
    Span.QUARTER: "Events per day",
}
URGENCY = list(State)  # of the order by state; other events follow


# --- The list -------------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def event_names(request: HtmxHttpRequest) -> HttpResponse:
    """The event names of the environment."""
    now = timezone.now()
    form = NamesForm(request)
    fresh = freshness(request.environment, now)
    unusual = unusual_names(request.environment, fresh, now)
    sort = form.value("sort") or "name"
    names = _matching(request, form, unusual)
    if sort.endswith("day"):
        names = names.counted_since(day_start(now))
    page = KeysetPage.of(names.order_by(*ordering(NAME_COLUMNS, sort)), request)
    hours = hours_of(page.rows, request.environment, now)
    users = users_of_events(request.environment, [name.name for name in page.rows])
    said = in_words(unusual, now)
    context = {
        "form": form,
        "page": page,
        "headers": headers(request, NAME_COLUMNS, sort),
        "rows": [
            {
                "name": name,
                "unusual": said.get(name.pk),
                "hours": [count for _, count in hours[name.pk]],
                "total": _total(hours[name.pk]),
                "users": users[name.name],
            }
            for name in page.rows
        ],
        "fresh": fresh,
    }
    return render_list(request, "events/names.html", context)


def _matching(
    request: HtmxHttpRequest, form: NamesForm, unusual: dict[int, Unusual]
) -> EventNameQuerySet:
    """The names that match the search, with `state`: the place of their state in the list."""
    names = EventName.objects.of(request.environment)
    if text := form.value("q"):
        names = names.matching(text)
    urgent = [
        When(pk__in=[pk for pk, each in unusual.items() if each.state is state], then=Value(place))
        for place, state in enumerate(URGENCY)
    ]
    state = Case(*urgent, default=Value(len(URGENCY)), output_field=IntegerField())
    return names.annotate(state=state)


CSV = (
    "event", "state", "last_24_hours", "total", "first_seen", "last_seen", "owner", "description",
    "used_by",
)  # fmt: skip


@staff_view(Role.VIEWER)
def event_names_csv(request: HtmxHttpRequest) -> HttpResponse:
    """All names that match the search, in the order of the list."""
    now = timezone.now()
    form = NamesForm(request)
    fresh = freshness(request.environment, now)
    unusual = unusual_names(request.environment, fresh, now)
    order = ordering(NAME_COLUMNS, form.value("sort") or "name")
    names = list(_matching(request, form, unusual).counted_since(day_start(now)).order_by(*order))
    users = users_of_events(request.environment, [name.name for name in names])
    rows = []
    for name in names:
        counted: Any = name  # annotated
        found = unusual.get(name.pk)
        rows.append(
            [
                name.name,
                found.state.value if found else "",
                str(counted.recent),
                str(name.count),
                *(_csv_time(moment) for moment in (name.first_seen_at, name.last_seen_at)),
                name.owner,
                name.description,
                ", ".join(f"{user.kind} {user.key}" for user in users[name.name]),
            ]
        )
    return csv_download(request, "events", CSV, rows)


def _csv_time(moment: datetime) -> str:
    """As in the API."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


# --- One name -------------------------------------------------------------------------------------


class PropertyRow(NamedTuple):
    """`share` is a fraction of the events. `example` is None without a recent one."""

    known: EventProperty
    share: float
    example: str | None
    personal: bool


@staff_view(Role.VIEWER)
def event_name(request: HtmxHttpRequest, name_id: int) -> HttpResponse:
    """How often an event arrives, and its properties. `?span=` selects the chart's range."""
    now = timezone.now()
    name = get_or_404(request, EventName, id=name_id)
    requested = request.GET.get("span", "")
    span = Span(requested) if requested in set(Span) else Span.DAY
    arrived = arrivals(request.environment, now, name)
    unusual = unusual_names(request.environment, arrived.fresh, now)
    context = {
        "name": name,
        "unusual": in_words(unusual, now).get(name.pk),
        "arrived": arrived,
        "spans": [(each, label, each is span) for each, label in SPANS.items()],
        "chart": SPANS[span],
        "bars": counts_chart(series(request.environment, span, now, name), UNITS[span]),
        "properties": _properties(request, name),
        "users": users_of_events(request.environment, [name.name])[name.name],
        "may_edit": may(request, Role.LIVE_OPS),
        "may_mark": may(request, Role.ADMIN),
    }
    return render_partial(request, "events/name.html", context, partial="chart")


def _properties(request: HtmxHttpRequest, name: EventName) -> list[PropertyRow]:
    """With examples as this user may see them."""
    examples = recent_examples(request.environment.pk, name.name, name.last_seen_at - RECENT)
    personal, shown = set(request.environment.personal_properties), sees_personal(request)
    rows = []
    for known in name.properties.order_by("-count", "name", "type"):
        example = examples.get((known.name, known.type))
        if known.name in personal and not shown and example is not None:
            example = mask_value(example if known.type == "string" else 0)
        rows.append(PropertyRow(known, known.count / name.count, example, known.name in personal))
    return rows


@staff_view(Role.LIVE_OPS, "GET", "POST")
def event_name_describe(request: HtmxHttpRequest, name_id: int) -> HttpResponse:
    name = get_or_404(request, EventName, id=name_id)
    url = environment_url(request, "event_name", name.pk)
    form = DescriptionForm(f"event_name:{name.pk}", services.described(name), request.POST or None)
    if request.method == "POST" and form.is_valid() and not is_review(request):
        given: dict[str, Any] = dict(form.cleaned_data)
        seen = given.pop("seen")
        try:
            entry = services.event_name_describe(name, given, seen=seen, actor=actor_of(request))
        except ValidationError as error:
            add_errors(form, error)
        except Conflict as conflict:
            return form_conflict(request, form, conflict, url)
        else:
            return changed(request, url, entry, f"Described {isolated(name.name)}.")
    return render_form(request, FormPage(f"Describe {isolated(name.name)}", "Save", form, url))


@staff_view(Role.ADMIN, "GET", "POST")
def event_property_personal(request: HtmxHttpRequest, name_id: int) -> HttpResponse:
    """Add `?property=` to the personal properties of the environment, or with `?remove=1` remove
    it."""
    name = get_or_404(request, EventName, id=name_id)
    given, remove = request.GET.get("property", ""), "remove" in request.GET
    if given not in set(name.properties.values_list("name", flat=True)):
        raise Http404("No such property.")
    personal = request.environment.personal_properties
    wanted = sorted({*personal, given} - ({given} if remove else set()))
    url = environment_url(request, "event_name", name.pk)
    confirm = Confirm(
        title=f"{isolated(given)} is {'not ' * remove}personal",
        button="Mark as not personal" if remove else "Mark as personal",
        cancel_url=url,
        text=(
            "Everyone sees its values, in events of any name."
            if remove
            else "Its values are masked below the role support, in events of any name."
        ),
        tone="danger" if remove else "primary",
    )
    if request.method == "GET":
        return render_confirm(request, confirm)
    try:
        entry = environment_update(
            request.environment,
            {"personal_properties": wanted},
            seen={"personal_properties": personal},
            actor=actor_of(request),
            reason=reason_of(request),
        )
    except (ValidationError, Conflict) as error:
        text = error.messages[0] if isinstance(error, ValidationError) else f"{error} Try again."
        return render_confirm(request, replace(confirm, error=text))
    is_personal = "is not personal" if remove else "is personal"
    return changed(request, url, entry, f"{isolated(given)} {is_personal}.")


# --- Rejected events ------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def event_rejected(request: HtmxHttpRequest) -> HttpResponse:
    """Recently rejected events, with the reason."""
    form = RejectedForm(request)
    found = RejectedEvent.objects.filter(environment=request.environment)
    if name := form.value("name"):
        found = found.filter(event_name=name)
    page = KeysetPage.of(found.order_by("-id"), request)
    context = {
        "form": form,
        "page": page,
        "rows": _rejected(request, page.rows),
        "days": KEPT_DAYS,
    }
    return render_list(request, "events/rejected.html", context)


def _rejected(
    request: HtmxHttpRequest, rows: Sequence[RejectedEvent]
) -> list[tuple[RejectedEvent, bool]]:
    """The events, each with whether its payload is cut off. Linked ids and personal properties are
    masked below the role support."""
    found = [(row, len(row.payload) == PAYLOAD_CHARACTERS) for row in rows]
    if not sees_personal(request):
        linked = linked_among(request.environment, [row.player for row in rows if row.player])
        for row in rows:
            personal = request.environment.personal_properties
            row.payload = without_personal(row.payload, personal)
            if row.player in linked:
                row.player, row.payload = mask_text(row.player), ""
    return found


def _total(counts: Series) -> int:
    return sum(count for _, count in counts)
