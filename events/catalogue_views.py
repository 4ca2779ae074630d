"""The event catalogue, the page of one event name, and rejected events."""

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.utils import timezone

from events import services
from events.forms import DescriptionForm, NamesForm, RejectedForm
from events.log_reader import recent_examples
from events.models import EventName, RejectedEvent
from events.rejections import KEPT_DAYS, PAYLOAD_CHARACTERS
from events.stats import Series, Span, arrivals, chart_of, freshness, hours_of, series
from ilara_admin.core.changes import Conflict
from ilara_admin.core.text import isolated
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, staff_view
from ilara_admin.web.confirm import changed, form_conflict, is_review
from ilara_admin.web.filters import render_list
from ilara_admin.web.forms import FormPage, add_errors, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial
from ilara_admin.web.pagination import KeysetPage

RECENT = timedelta(days=1)  # before the last event, so that few partitions are read
SPANS = {Span.HOUR: "Last hour", Span.DAY: "Last 24 hours", Span.MONTH: "Last 30 days"}
UNITS = {
    Span.HOUR: "Events per minute",
    Span.DAY: "Events per hour",
    Span.MONTH: "Events per day",
}


@staff_view(Role.VIEWER)
def event_names(request: HtmxHttpRequest) -> HttpResponse:
    """All event names of the environment, sorted by name."""
    now = timezone.now()
    form = NamesForm(request)
    names = EventName.objects.filter(environment=request.environment)
    if text := form.value("q"):
        names = names.filter(name__icontains=text)
    page = KeysetPage.of(names.order_by("name"), request)
    hours = hours_of(page.rows, request.environment, now)
    context = {
        "form": form,
        "page": page,
        "rows": [
            (name, [count for _, count in hours[name.pk]], _total(hours[name.pk]))
            for name in page.rows
        ],
        "fresh": freshness(request.environment, now),
    }
    return render_list(request, "events/names.html", context)


@staff_view(Role.VIEWER)
def event_name(request: HtmxHttpRequest, name_id: int) -> HttpResponse:
    """How often an event arrives, and its properties. `?span=` selects the chart's range."""
    now = timezone.now()
    name = get_or_404(request, EventName, id=name_id)
    requested = request.GET.get("span", "")
    span = Span(requested) if requested in set(Span) else Span.DAY
    examples = recent_examples(request.environment.pk, name.name, name.last_seen_at - RECENT)
    context = {
        "name": name,
        "arrived": arrivals(request.environment, now, name),
        "spans": [(each, label, each is span) for each, label in SPANS.items()],
        "chart": SPANS[span],
        "bars": chart_of(series(request.environment, span, now, name), UNITS[span]),
        "properties": [
            (known, round(100 * known.count / name.count), examples.get((known.name, known.type)))
            for known in name.properties.order_by("-count", "name", "type")
        ],
        "may_edit": request.user.may(Role.LIVE_OPS),
    }
    return render_partial(request, "events/name.html", context, partial="chart")


@staff_view(Role.LIVE_OPS, "GET", "POST")
def event_name_describe(request: HtmxHttpRequest, name_id: int) -> HttpResponse:
    name = get_or_404(request, EventName, id=name_id)
    url = environment_url(request, "event_name", name.pk)
    form = DescriptionForm(
        f"event_name:{name.pk}", {"description": name.description}, request.POST or None
    )
    if request.method == "POST" and form.is_valid() and not is_review(request):
        try:
            entry = services.event_name_describe(name, actor=actor_of(request), **form.cleaned_data)
        except ValidationError as error:
            add_errors(form, error)
        except Conflict as conflict:
            return form_conflict(request, form, conflict, url)
        else:
            return changed(request, url, entry, f"Described {isolated(name.name)}.")
    return render_form(request, FormPage(f"Describe {isolated(name.name)}", "Save", form, url))


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
        "rows": [(row, len(row.payload) == PAYLOAD_CHARACTERS) for row in page.rows],
        "days": KEPT_DAYS,
    }
    return render_list(request, "events/rejected.html", context)


def _total(counts: Series) -> int:
    return sum(count for _, count in counts)
