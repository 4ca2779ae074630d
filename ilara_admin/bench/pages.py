"""Times every page of the dashboard, found from the URL patterns, with objects that exist."""

import json
import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from html.parser import HTMLParser
from statistics import median
from time import perf_counter
from typing import NamedTuple
from urllib.parse import urlencode

from django.http import QueryDict
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from events.models import Event, EventName
from flags.models import (
    Experiment,
    ExperimentGroup,
    ExperimentKind,
    Flag,
    Metric,
    MetricDirection,
    MetricKind,
)
from ilara_admin.accounts.reset_links import reset_path
from ilara_admin.core.audit import Actor
from ilara_admin.core.change_requests import request_submit
from ilara_admin.core.freezes import freeze_create
from ilara_admin.core.guard import ChangeItem
from ilara_admin.core.invites import invite_create, token_of
from ilara_admin.models import (
    ApiKey,
    AuditEntry,
    ChangeRequest,
    ChannelKind,
    Environment,
    FreezeWindow,
    Notification,
    NotificationChannel,
    NotificationRecipient,
    Role,
    SavedView,
    User,
)
from ilara_admin.web.routes import SCOPE, Page, all_pages
from players.models import (
    Player,
    PlayerAlias,
    PlayerExport,
    PlayerNote,
    PlayerSession,
    Purchase,
)
from segments.models import Segment

REQUESTS = 20  # of each row, after one of each URL
SECONDS = 10.0  # after this time no further requests are sent for a row
STATES = ("on", "archive")
# Endless, without GET, or of factors and sessions, which a temporary database lacks.
UNTIMED = {"event_stream", "passkey_sign_in", "account_factor_remove", "account_session_end"}
# Filters by typed values, which a page does not list as choices: common and rare players.
TYPED = {
    "game_figures": ({"range": "90"}, {"range": "90", "by": "country"}, {"by": "version"}),
    "overview_csv": ({"range": "90", "by": "version"},),
    "player_list": (
        {"country": "PT"},
        {"attribute": "level", "test": "least", "value": "40"},
        {"attribute": "level", "value": "no such level"},
        {"attribute": "username", "test": "set"},
        {"within": "7"},
        {"since": "2020-01-01", "until": "2025-12-31"},
        {"columns": "email,.level,.country,revenue"},
    ),
}
SEARCHED = "player_12"

type Case = Mapping[str, object]


class Timing(NamedTuple):
    """Milliseconds of server time. `kind` distinguishes the rows of one page."""

    name: str
    kind: str
    status: int
    requests: int
    p50: float
    p95: float
    slowest: str  # the URL of the slowest request


def times_of_pages(
    environment: Environment, user: User, requests: int = REQUESTS
) -> Iterator[Timing]:
    """Time the pages that answer GET, in the order of the URL patterns."""
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    cases = _cases(environment) | {
        "views": {"": [_view(environment, user)]},
        "requests": {"": [_request(environment, user)]},
        "settings": {"": [_freeze(environment)]},
        "notifications": {"": [_notified(environment, user)]},
    }
    cases["players"][""].append({"export_id": _export(environment, user)})
    cases |= _one_time_links(environment, user)
    for page in all_pages():
        if "GET" not in getattr(page.view, "methods", ("GET",)) or page.name in UNTIMED:
            continue
        timed: set[str] = set()
        for kind, found in cases.get(page.section, {"": [{}]}).items():
            urls = urls_of(page, environment, found)
            if timed.isdisjoint(urls):
                yield from _times(client, page.name, kind, urls, requests)
            timed.update(urls)


def urls_of(page: Page, environment: Environment, cases: list[Case]) -> list[str]:
    """The page's distinct URLs. Raises NoReverseMatch if no case has an object that it needs."""
    scope = {"project": environment.project.slug, "environment": environment.slug}
    if other := environment.project.environments.exclude(pk=environment.pk).first():
        scope["other"] = other.slug
    urls: dict[str, None] = {}
    for case in cases:
        for state in STATES:
            known = {"state": state, "operation_id": "player_register", **scope, **case}
            if page.route.startswith(SCOPE) and not set(page.parameters) <= set(known):
                continue
            try:
                arguments = {name: known[name] for name in page.parameters}
                urls[reverse(page.name, kwargs=arguments) + str(case.get("?", ""))] = None
            except (NoReverseMatch, KeyError):
                continue
    if not urls:
        raise NoReverseMatch(f"bench has no object for the parameters of {page.route}")
    return list(urls)


def _times(
    client: Client, name: str, kind: str, urls: list[str], requests: int
) -> Iterator[Timing]:
    """Times of the page and, unless it has kinds, of each of its filters."""
    first = _get(client, urls[0])
    yield _timed(client, name, kind, urls, requests)
    typed = [urlencode(each) for each in TYPED.get(name, ())]
    for query in [*_queries(first), *typed] if not kind else ():
        yield _timed(client, name, query, [f"{urls[0]}?{query}"], requests)


def _timed(client: Client, name: str, kind: str, urls: list[str], requests: int) -> Timing:
    for url in urls[1:requests]:
        _get(client, url)
    times: list[tuple[float, str]] = []
    until = perf_counter() + SECONDS
    while len(times) < requests and (perf_counter() < until or not times):
        url = urls[len(times) % len(urls)]
        started = perf_counter()
        response = _get(client, url)
        times.append((1_000 * (perf_counter() - started), url))
    times.sort()
    p95 = times[math.ceil(0.95 * len(times)) - 1][0]
    p50 = median(each for each, _ in times)
    return Timing(name, kind, response.status_code, len(times), p50, p95, times[-1][1])


def _get(client: Client, url: str) -> HttpResponseBase:
    """The response, read to its end."""
    response = client.get(url, secure=True)
    if response.streaming:
        response.getvalue()
    return response


# --- Objects in URLs ----------------------------------------------------------------------------


def _cases(environment: Environment) -> dict[str, dict[str, list[Case]]]:
    """Values for the parameters of URLs by section and kind, with a query string as "?". A list
    holds several objects, since their pages may differ."""
    players, segments, flags = _players(environment), _segments(environment), _flags(environment)
    entries = AuditEntry.objects.of(environment).order_by("-id")[:3]
    events: list[Case] = [
        {
            "name_id": name.pk,
            "event": event.id,
            "?": "?"
            + urlencode(
                {
                    "at": event.received_at.isoformat(),
                    "property": getattr(name.properties.first(), "name", ""),
                }
            ),
        }
        for name, event in zip(
            EventName.objects.filter(environment=environment).order_by("-count")[:5],
            Event.objects.of(environment).order_by("-id")[:5],
            strict=False,
        )
    ]
    return {
        "players": {"": players},
        "segments": segments,
        "flags": {"": [{**flag, **players[0]} for flag in flags]},
        "experiments": {"": _experiments(environment)},
        "metrics": _metrics(environment),
        "events": {"": events},
        "audit": {"": [{"entry_id": entry.pk} for entry in entries]},
        "find": _searches(environment),
        "keys": {"": [{"pk": key.pk} for key in ApiKey.objects.filter(environment=environment)]},
        "palette": {"": [{}], "search": [{"?": "?" + urlencode({"q": SEARCHED})}]},
    }


def _view(environment: Environment, user: User) -> Case:
    view, _ = SavedView.objects.get_or_create(
        user=user, project=environment.project, page="flag_list", name="On", query="state=on"
    )
    return {"page": view.page, "view_id": view.pk}


def _one_time_links(environment: Environment, user: User) -> dict[str, dict[str, list[Case]]]:
    """The pages of an invite and of a link to set a password, and the page that revokes."""
    invite = invite_create(
        project=environment.project, role=Role.VIEWER, created_by=user, actor=Actor.of_user(user)
    )
    token = reset_path(user).rstrip("/").rpartition("/")[2]
    people: list[Case] = [
        {"pk": each.pk, "invite_id": invite.pk} for each in User.objects.all()[:3]
    ]
    return {
        "staff": {"": people},
        "invite": {"": [{"token": token_of(invite)}]},
        "sign-in": {"": [{"token": token}]},
    }


def _notified(environment: Environment, user: User) -> Case:
    channel, _ = NotificationChannel.objects.get_or_create(
        project=environment.project, name="Timed", kind=ChannelKind.SLACK,
        url="https://hooks.slack.com/services/timed",
    )  # fmt: skip
    notification, _ = Notification.objects.get_or_create(
        environment=environment, kind="live_change", title="Timed", dedupe_key="live_change:timed"
    )
    NotificationRecipient.objects.get_or_create(
        notification=notification, user=user, project=environment.project
    )
    return {"channel_id": channel.pk, "notification_id": notification.pk}


def _export(environment: Environment, user: User) -> int:
    exports = PlayerExport.objects.filter(environment=environment, user=user)
    found = exports.first() or PlayerExport.objects.create(
        environment=environment, user=user, columns=["id"], masked=False, personal=[], done=True
    )
    return found.pk


def _request(environment: Environment, user: User) -> Case:
    """A change request that turns a flag on or off."""
    found = ChangeRequest.objects.filter(environment=environment).first()
    if found is None:
        flag = Flag.objects.of(environment)[0]
        before, after = {"enabled": flag.enabled}, {"enabled": not flag.enabled}
        whole = {**flag.document, **after, "archived": False}
        item = ChangeItem(environment.pk, "flag.enabled", flag.key, flag.key, before, after, whole)
        found = request_submit(environment, [item], actor=Actor.of_user(user))
    return {"pk": found.pk, "number": 1}


def _freeze(environment: Environment) -> Case:
    """One that has not begun."""
    found = FreezeWindow.objects.filter(environment=environment).first()
    if found is None:
        start = timezone.now() + timedelta(days=30)
        actor = Actor.of_command("bench")
        found = freeze_create(
            environment,
            starts_at=start,
            ends_at=start + timedelta(days=1),
            reason="Sale",
            actor=actor,
        )
    return {"pk": found.pk}


def _players(environment: Environment) -> list[Case]:
    """Those with notes, linked ids and purchases, and some of the others."""
    notes = dict(PlayerNote.objects.filter(environment=environment).values_list("player_id", "id"))
    aliases = dict(PlayerAlias.objects.filter(player__in=notes).values_list("player_id", "id"))
    purchases = Purchase.objects.filter(environment=environment).order_by("-received_at")[:3]
    others = Player.objects.of(environment).order_by("id").values_list("id", flat=True)[:5]
    made = [
        {"player_id": player, "note_id": note, "alias_id": aliases[player]}
        for player, note in notes.items()
    ]
    return [
        *made,
        *({"player_id": each.player_id, "purchase": each.digest.hex()} for each in purchases),
        *({"player_id": player} for player in others),
    ]


def _searches(environment: Environment) -> dict[str, list[Case]]:
    """What people search for, by kind: texts that name one player, beginnings that many have, and
    texts that nothing has."""
    players = Player.objects.of(environment).exclude(email=None).exclude(device_id=None)
    player = players.order_by("id").first()
    texts: dict[str, list[str]] = {
        "": [""],
        "beginning": ["player", "player_1", "dev_", "p", "guest"],
        "nothing": ["zzz", "zzz@example.com", "0190d1f0-0000-7000-8000-000000000000"],
        "flag": ["flag", "segment", "level"],
    }
    if player:
        texts |= {
            "id": [player.external_id, str(player.pk)],
            "e-mail": [str(player.email), str(player.email).upper()],
            "device": [str(player.device_id)],
        }
        texts["attribute"] = [
            str(player.attributes[name])
            for name in environment.searchable_attributes
            if name in player.attributes
        ]
    purchases = Purchase.objects.filter(environment=environment).order_by("-received_at")[:3]
    texts["transaction"] = [bytes(each.digest).hex() for each in purchases]
    sessions = PlayerSession.objects.filter(player=player) if player else ()
    texts["session"] = [bytes(each.digest).hex() for each in sessions[:3]]
    return {
        kind: [{"?": "?" + urlencode({"q": text})} for text in found]
        for kind, found in texts.items()
        if found
    }


def _segments(environment: Environment) -> dict[str, list[Case]]:
    kinds: dict[str, list[Case]] = {"": [], "counts events": []}
    for key, rule in Segment.objects.filter(environment=environment).values_list("key", "rule"):
        kinds["counts events" if '"event"' in json.dumps(rule) else ""].append({"key": key})
    return {kind: _some(cases) for kind, cases in kinds.items() if cases}


def _experiments(environment: Environment) -> list[Case]:
    """A draft, if there are none."""
    groups = ExperimentGroup.objects.filter(environment=environment)
    group = groups.first() or ExperimentGroup.objects.create(
        environment=environment, key="timed", name="Timed"
    )
    found = Experiment.objects.filter(environment=environment)
    if not found:
        flag = Flag.objects.of(environment).filter(document__rules__0__isnull=False)[0]
        Experiment.objects.create(
            environment=environment, flag=flag, rule_id=flag.document["rules"][0]["id"],
            key="timed", name="Timed", kind=ExperimentKind.EXPERIMENT,
        )  # fmt: skip
    keys = found.all().values_list("key", flat=True)
    return _some([{"key": key, "group_key": group.key} for key in keys])


def _metrics(environment: Environment) -> dict[str, list[Case]]:
    metrics = Metric.objects.filter(environment=environment)
    if not metrics:
        Metric.objects.create(
            environment=environment, key="timed", name="Timed", kind=MetricKind.SESSIONS,
            direction=MetricDirection.UP,
        )  # fmt: skip
    found: dict[str, list[Case]] = {}
    for metric in metrics.all():
        kind = "counts events" if metric.event else ""
        found.setdefault(kind, []).append({"key": metric.key})
    return {kind: _some(cases) for kind, cases in found.items()}


def _flags(environment: Environment) -> list[Case]:
    found = Flag.objects.of(environment).values_list("key", "document")
    return _some(
        [
            {"key": key, "number": 1, "rule_id": document["rules"][-1]["id"]}
            for key, document in found
            if document.get("rules")
        ]
    )


def _some(cases: list[Case], number: int = 10) -> list[Case]:
    return cases[:: max(len(cases) // number, 1)][:number]


# --- Filters of lists ---------------------------------------------------------------------------


def _queries(response: HttpResponseBase) -> list[str]:
    """The query strings of the page's filters and orders, each on its own."""
    reader = _FilterReader()
    reader.feed(getattr(response, "content", b"").decode())
    return list(dict.fromkeys(urlencode(pair) for pair in reader.found))


class _FilterReader(HTMLParser):
    """Collects the fields of forms of the class `filters`, as a query string would hold them, and
    the orders that the headers of tables link to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []
        self.inside = self.in_header = False
        self.select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.inside = given.get("class") == "filters"
        elif tag in ("thead", "tbody"):
            self.in_header = tag == "thead"
        elif tag == "a" and self.in_header:
            order = QueryDict(given.get("href", "").partition("?")[2]).get("sort", "")
            self.found += [{"sort": each} for each in _both_directions(order)]
        if not self.inside:
            return
        if tag == "select":
            self.select = given["name"]
        elif tag == "option" and given.get("value"):
            self.found.append({self.select: given["value"]})
        elif tag == "input" and given.get("name") == "q":
            self.found.append({"q": SEARCHED})

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.inside = False


def _both_directions(order: str) -> list[str]:
    name = order.removeprefix("-")
    return [name, f"-{name}"] if name else []
