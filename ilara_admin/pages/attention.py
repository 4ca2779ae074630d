"""What needs attention in an environment: one line each, with a link to where it can be handled."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import chain

from django.db.models import F, Q
from django.utils import timezone

from events.models import EventName, RejectedEvent
from events.stats import Freshness, in_words, unusual_names
from flags.cache import flags_of
from flags.engine.document import Rule
from flags.engine.schedule import is_scheduled, next_change
from flags.models import Experiment, ExperimentKind, ExperimentState, Flag
from ilara_admin.api import environment_cache
from ilara_admin.core.key_warnings import EXPIRY_DAYS, UNUSED_DAYS
from ilara_admin.core.open_requests import NOT_CLOSED, waiting_for
from ilara_admin.core.percentages import percent
from ilara_admin.core.text import isolated
from ilara_admin.models import ApiKey, ChangeRequest, Role
from ilara_admin.templatetags.ilara import counted
from ilara_admin.web.access import environment_url, may
from ilara_admin.web.htmx import HtmxHttpRequest

SHOWN = 5  # of each kind; further ones are one line
BREACHED = timedelta(days=7)  # for so long a breach is shown
DAY = timedelta(days=1)
REJECTED_MOST = 1_000  # rejected events counted at most


@dataclass(frozen=True, slots=True)
class Matter:
    """One line: `name` is the text of the link. `at` is when it happened or will happen."""

    tone: str
    name: str
    text: str
    url: str
    at: datetime | None = None


def matters(
    request: HtmxHttpRequest, fresh: Freshness, keys: Collection[ApiKey], now: datetime
) -> list[Matter]:
    """All of them, the most urgent kinds first. `keys` are the usable ones."""
    kinds = (
        _guards(request, now),
        _requests(request),
        _unusual(request, fresh, now),
        _scheduled(request, now),
        _rejected(request, now),
        _keys(request, keys, now),
        _stale(request, now),
    )
    return list(chain.from_iterable(kinds))


def _guards(request: HtmxHttpRequest, now: datetime) -> Iterator[Matter]:
    """Breached guards of the last days, and guarded rollouts that run."""
    recent = Q(breached_at__gte=now - BREACHED)
    running = Q(kind=ExperimentKind.ROLLOUT, state=ExperimentState.RUNNING)
    found = Experiment.objects.filter(recent | running, environment=request.environment)
    newest = found.select_related("flag").defer("flag__document")
    for each in newest.order_by(F("breached_at").desc(nulls_last=True), "-pk")[: 2 * SHOWN]:
        url = environment_url(request, "flag_detail", each.flag.key)
        if each.breached_at:
            text = f"A guard metric of “{isolated(each.name)}” was breached"
            yield Matter("danger", each.flag.key, text, url, each.breached_at)
        else:
            text = f"Guarded rollout “{isolated(each.name)}” runs since"
            yield Matter("info", each.flag.key, text, url, each.started_at)


def _requests(request: HtmxHttpRequest) -> Iterator[Matter]:
    """Those that wait for this account, and how many others are open."""
    open_requests = ChangeRequest.objects.filter(
        environment=request.environment, state__in=NOT_CLOSED
    )
    if not (number := open_requests.count()):
        return
    waiting = waiting_for(
        request.environment, request.user, may_approve=may(request, Role.LIVE_OPS)
    )[:SHOWN]
    for each in waiting:
        text = f"The change request by {isolated(each.author_name)} waits for you, opened"
        url = environment_url(request, "request_detail", each.pk)
        yield Matter("info", each.title, text, url, each.created_at)
    # One that was opened since is not counted.
    if (others := number - len(waiting)) > 0:
        more = "more " if waiting else ""
        text = "waits" if others == 1 else "wait"
        url = environment_url(request, "request_list")
        yield Matter("info", counted(others, f"{more}open change request"), text, url)


def _unusual(request: HtmxHttpRequest, fresh: Freshness, now: datetime) -> Iterator[Matter]:
    """The events that stopped or surged, the most frequent ones first."""
    found = in_words(unusual_names(request.environment, fresh, now), now)
    names = list(EventName.objects.filter(pk__in=found).order_by("-count")) if found else []
    for name in names[:SHOWN]:
        words = found[name.pk]
        url = environment_url(request, "event_name", name.pk)
        yield Matter("warn", name.name, f"{words.state}. {words.text}", url)
    if more := len(names[SHOWN:]):
        url = f"{environment_url(request, 'event_names')}?sort=state"
        yield Matter("warn", counted(more, "more event"), "stopped or surged", url)


def _scheduled(request: HtmxHttpRequest, now: datetime) -> Iterator[Matter]:
    """Changes of percentages until the end of the day in the user's zone. The documents are in
    memory for the API."""
    tomorrow = timezone.localdate(now) + DAY
    end = datetime.combine(tomorrow, time(), timezone.get_current_timezone())
    flags = flags_of(environment_cache.at_version(request.environment))
    found = [
        (at, key, f"Rule {number} {_in_words(rule, rollout)}")
        for key, flag in flags.items()
        if flag.is_on
        for number, rule in enumerate(flag.document.rules, start=1)
        if is_scheduled(rule)
        for at, rollout in _until(rule, now, end)
    ]
    found.sort()
    for at, key, text in found[:SHOWN]:
        yield Matter("info", key, text, environment_url(request, "flag_detail", key), at)
    if more := len(found[SHOWN:]):
        yield Matter(
            "info",
            counted(more, "more change"),
            "scheduled for today",
            environment_url(request, "flag_list"),
        )


def _until(rule: Rule, now: datetime, end: datetime) -> Iterator[tuple[datetime, int]]:
    at = now
    while (following := next_change(rule, at)) and following[0] < end:
        yield following
        at = following[0]


def _in_words(rule: Rule, rollout: int) -> str:
    if rule.ramp and not rollout:
        return "changes gradually from"
    return f"is at {percent(rollout)} from"


def _rejected(request: HtmxHttpRequest, now: datetime) -> Iterator[Matter]:
    found = RejectedEvent.objects.filter(
        environment=request.environment, received_at__gte=now - DAY
    ).order_by()
    number = found[:REJECTED_MOST].count()
    if number:
        most = number == REJECTED_MOST
        name = f"{number:,} or more events" if most else counted(number, "event")
        verb = "was" if number == 1 else "were"
        url = environment_url(request, "event_rejected")
        yield Matter("warn", name, f"{verb} rejected in the last 24 hours", url)


def _keys(request: HtmxHttpRequest, keys: Collection[ApiKey], now: datetime) -> Iterator[Matter]:
    """Keys that expire soon, and how many nothing uses."""
    url = environment_url(request, "key_list")
    limit = now + timedelta(days=max(EXPIRY_DAYS))
    soon = [each for each in keys if each.expires_at and each.expires_at <= limit]
    soon.sort(key=lambda each: (each.expires_at, each.pk))
    for key in soon[:SHOWN]:
        yield Matter("warn", key.name, "This API key expires", url, key.expires_at)
    unused_since = now - timedelta(days=UNUSED_DAYS)
    unused = sum(
        (each.last_used_at or each.created_at) < unused_since and each not in soon for each in keys
    )
    if unused:
        text = f"{'is' if unused == 1 else 'are'} unused for {UNUSED_DAYS} days"
        yield Matter("info", counted(unused, "API key"), text, url)


def _stale(request: HtmxHttpRequest, now: datetime) -> Iterator[Matter]:
    if number := Flag.objects.of(request.environment).stale(now).count():
        text = "is no longer needed, it seems" if number == 1 else "are no longer needed, it seems"
        url = environment_url(request, "flag_stale_list")
        yield Matter("info", counted(number, "stale flag"), text, url)
