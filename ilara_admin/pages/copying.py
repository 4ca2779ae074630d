"""The copy of flags and segments to another environment: the review and the save.

Both happen in the target, so that its name and colour frame the page. The pages of the source post
here, or link here, with the keys and the target, and are redirected.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.core import signing
from django.http import HttpResponse, HttpResponseRedirect

from flags.dashboard.affected import affected_flags
from flags.dashboard.impact_figures import Impact
from flags.models import Flag
from ilara_admin.config.comparison import ConfigKey, changes, entry_in
from ilara_admin.config.copying import CopyChoice, needed_for, wanted_in
from ilara_admin.config.document import Config, ConfigEntry, ConfigError
from ilara_admin.config.plan import Plan, PlanAction, make_plan
from ilara_admin.config.preview import impacts_of
from ilara_admin.config.store import apply_plan, read_config
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.core.diff import Change
from ilara_admin.core.json_equality import json_equal
from ilara_admin.core.path_error import PathError
from ilara_admin.models import AuditEntry, Environment, Role
from ilara_admin.web.access import (
    actor_of,
    environment_url,
    project_environments,
    staff_view,
    url_in,
)
from ilara_admin.web.confirm import (
    Affected,
    changed_together,
    is_review,
    posted_again,
    render_conflict,
)
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, render_partial, with_toast
from segments.models import Segment

LISTS = {"flags": "flag_list", "segments": "segment_list"}
PAGES = {"flags": "flag_detail", "segments": "segment_detail"}
COPIES = {"flags": "flag_copy", "segments": "segment_copy"}
SALT = "copy"  # of the signature of the reviewed entries

type Entries = dict[str, ConfigEntry | None]  # by the text of their ConfigKey


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_copy(request: HtmxHttpRequest) -> HttpResponse:
    """Copy the flags `key` from here to the environment `to`, or to here from `?from=`."""
    return _copy(request, "flags")


@staff_view(Role.LIVE_OPS, "GET", "POST")
def segment_copy(request: HtmxHttpRequest) -> HttpResponse:
    """Copy the segments `key` from here to the environment `to`, or to here from `?from=`."""
    return _copy(request, "segments")


def _copy(request: HtmxHttpRequest, kind: str) -> HttpResponse:
    sent = request.POST if request.method == "POST" else request.GET
    keys = list(dict.fromkeys(sent.getlist("key")))
    if "from" not in request.GET:
        return _to_target(request, kind, keys, sent.get("to", ""))
    source = sibling(request, request.GET["from"])
    if source is None or not keys:
        return _back(request, kind, "Choose what to copy from which environment.")
    try:
        return _review(request, source, [ConfigKey(kind, key) for key in keys])
    except PathError as error:
        return _back(request, kind, f"A flag cannot be read: {error}")


def _to_target(request: HtmxHttpRequest, kind: str, keys: list[str], slug: str) -> HttpResponse:
    """Go on in the target. A POST is repeated there: many keys do not fit in a URL."""
    target = sibling(request, slug)
    if target is None:
        return _back(request, kind, "Choose another environment to copy to.")
    posts = request.method == "POST"
    query = {"from": request.environment.slug, "key": [] if posts else keys}
    url = f"{url_in(target, COPIES[kind])}?{urlencode(query, doseq=True)}"
    return HttpResponseRedirect(url, preserve_request=posts)


def sibling(request: HtmxHttpRequest, slug: str) -> Environment | None:
    """Another environment of the same project."""
    others = (each for each in project_environments(request) if each != request.environment)
    return next((each for each in others if each.slug == slug), None)


def _back(request: HtmxHttpRequest, kind: str, text: str) -> HttpResponse:
    response = redirect_to(request, environment_url(request, LISTS[kind]))
    return with_toast(request, response, text, tone="warn")


# --- Review ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CopiedItem:
    """A flag or a segment to copy: lines that describe a new one, or the changes of the one in the
    target, whose page is `url`; and who switches."""

    name: ConfigKey
    url: str
    lines: list[str]
    changes: list[Change]
    impact: Impact | None
    is_new_and_off: bool = False

    @property
    def is_equal(self) -> bool:
        return not self.lines and not self.changes


def _review(request: HtmxHttpRequest, source: Environment, names: list[ConfigKey]) -> HttpResponse:
    here, there = read_config(source), read_config(request.environment)
    for name in names:
        if entry_in(here, name) is None:
            return _back(
                request, name.kind, f"There is no {name.noun} {name.key} in {source.slug}."
            )
    seen = _seen(request)
    choice = _choice(request, names, seen)
    needed = needed_for(choice, here, there)
    again = _signed(here, there, [*names, *(each.name for each in needed)])
    salts = dict(Flag.objects.of(source).values_list("key", "salt"))
    errors: list[str] = []
    plan: Plan | None = None
    try:
        plan = make_plan(there, wanted_in(there, here, choice, needed), prune=False)
        if seen and "save" in request.POST and not is_review(request):
            _check_source(source, here, plan, seen)
            _check_target(there, plan, seen)
            apply_plan(
                request.environment, plan, actor=actor_of(request), reason=reason_of(request),
                salts=salts,
            )  # fmt: skip
            return _done(request, names)
    except Conflict as conflict:
        fields = posted_again(request, seen=again)
        return render_conflict(
            request, conflict, cancel_url=_cancel_url(source, names), fields=fields
        )
    except ConfigError as error:
        errors = [fault.message for fault in error.faults]
    impacts = impacts_of(request.environment, plan, salts) if plan else {}
    context: dict[str, Any] = {
        "source": source,
        "names": names,
        "title": _title(names),
        "items": _items(request, plan, names, impacts) if plan else [],
        "needed": needed,
        "affected": _affected(request, plan, impacts) if plan else [],
        "states": _states(here, there, names),
        "choice": choice,
        "listed": _listed(source, plan) if plan else [],
        "errors": errors,
        "may_save": plan is not None and bool(plan.steps),
        "reason": reason_of(request),
        "seen": again,
        "cancel_url": _cancel_url(source, names),
    }
    status = 422 if errors and request.method == "POST" else 200
    return render_partial(request, "ilara_admin/copy.html", context, partial="copy", status=status)


def _choice(
    request: HtmxHttpRequest, names: list[ConfigKey], seen: Mapping[str, Entries] | None
) -> CopyChoice:
    along = frozenset(filter(None, map(ConfigKey.read, request.POST.getlist("along"))))
    offered = filter(None, map(ConfigKey.read, seen["target"] if seen else ()))
    return CopyChoice(
        names=tuple(names),
        along=along,
        declined=frozenset(offered) - along,
        with_state="state" in request.POST,
    )


def _signed(here: Config, there: Config, names: Iterable[ConfigKey]) -> str:
    """What the review shows, for the save."""
    reviewed = {
        side: {str(name): entry_in(config, name) for name in names}
        for side, config in (("source", here), ("target", there))
    }
    return signing.dumps(reviewed, salt=SALT, compress=True)


def _seen(request: HtmxHttpRequest) -> dict[str, Entries] | None:
    """What the posted review showed; None without one."""
    try:
        seen: dict[str, Entries] = signing.loads(request.POST.get("seen", ""), salt=SALT)
    except signing.BadSignature:
        return None
    return seen


def _items(
    request: HtmxHttpRequest,
    plan: Plan,
    names: list[ConfigKey],
    impacts: Mapping[str, Impact | None],
) -> list[CopiedItem]:
    steps = {ConfigKey(step.kind, step.key): step for step in plan.steps}
    found = []
    for name in names:
        before, step = entry_in(plan.base, name), steps.get(name)
        url = environment_url(request, PAGES[name.kind], name.key) if before else ""
        lines = step.lines if step and step.action is PlanAction.CREATE else []
        differences = (
            changes(name.kind, before, step.entry) if before and step and step.entry else []
        )
        impact = impacts.get(name.key) if name.kind == "flags" else None
        off = before is None and step is not None and _state(step.entry) == "off"
        found.append(CopiedItem(name, url, lines, differences, impact, off))
    return found


def _affected(
    request: HtmxHttpRequest, plan: Plan, impacts: Mapping[str, Impact | None]
) -> list[Affected]:
    """The flags that are not copied, but use or depend on what is."""
    copied = {step.key for step in plan.steps if step.kind == "flags"}
    found: dict[str, Affected] = {}
    for key, impact in impacts.items():
        if impact is None:
            continue
        if key not in copied:
            url = environment_url(request, "flag_detail", key)
            found[key] = Affected(key, url, f"uses it. {impact.headline} {impact.basis}")
        for each in affected_flags(request, Flag(key=key), impact, only_changed=True):
            found.setdefault(each.name, each)
    return [each for name, each in found.items() if name not in copied]


class StateDifference(NamedTuple):
    """A flag that is in another state here than there: on, off, archived, or missing there."""

    key: str
    here: str
    there: str

    @property
    def act(self) -> str:
        return {"on": "Turn it on", "off": "Turn it off", "archived": "Archive it"}[self.here]


def _states(here: Config, there: Config, names: list[ConfigKey]) -> list[StateDifference]:
    found = [
        StateDifference(name.key, _state(entry_in(here, name)), _state(entry_in(there, name)))
        for name in names
        if name.kind == "flags"
    ]
    return [each for each in found if each.here != each.there and each[1:] != ("off", "missing")]


def _state(flag: ConfigEntry | None) -> str:
    if flag is None:
        return "missing"
    return "archived" if flag.get("archived") else "on" if flag.get("enabled") else "off"


def _listed(source: Environment, plan: Plan) -> list[Segment]:
    """The copied segments with lists of players, which stay behind."""
    keys = [step.key for step in plan.steps if step.kind == "segments"]
    segments = Segment.objects.filter(environment=source, key__in=keys)
    return [segment for segment in segments if segment.included + segment.excluded]


def _title(names: list[ConfigKey]) -> str:
    return names[0].key if len(names) == 1 else f"{len(names)} {names[0].kind}"


def _cancel_url(source: Environment, names: list[ConfigKey]) -> str:
    kind = names[0].kind
    if len(names) == 1:
        return url_in(source, PAGES[kind], names[0].key)
    return url_in(source, LISTS[kind])


# --- Save -----------------------------------------------------------------------------------------


def _check_source(
    source: Environment, here: Config, plan: Plan, seen: Mapping[str, Entries]
) -> None:
    """Raise ConfigError unless all that the plan copies is as it was reviewed."""
    for step in plan.steps:
        name = ConfigKey(step.kind, step.key)
        if str(name) not in seen["source"]:
            text = f"The {name.noun} {step.key} is needed, too."
        elif not json_equal(entry_in(here, name), seen["source"][str(name)]):
            text = f"{step.key} was changed in {source.slug} since."
        else:
            continue
        raise ConfigError([PathError("", f"{text} Look at the review again.")])


def _check_target(there: Config, plan: Plan, seen: Mapping[str, Entries]) -> None:
    """Raise Conflict unless all that the plan changes is as it was reviewed."""
    theirs: list[Change] = []
    changed: list[ConfigKey] = []
    for step in plan.steps:
        name = ConfigKey(step.kind, step.key)
        was, now = seen["target"].get(str(name)), entry_in(there, name)
        if not json_equal(was, now):
            changed.append(name)
            theirs += _labelled(name, was, now)
    if changed:
        yours = [
            change
            for step in plan.steps
            for name in [ConfigKey(step.kind, step.key)]
            if name in changed
            for change in _labelled(name, entry_in(there, name), step.entry)
        ]
        first = changed[0]
        raise Conflict(first.noun, first.key, first.key, theirs=theirs, yours=yours)


def _labelled(
    name: ConfigKey, before: ConfigEntry | None, after: ConfigEntry | None
) -> list[Change]:
    """The differences between two entries, with the name of the object."""
    if before is None or after is None:
        sides = ["missing" if side is None else "there" for side in (before, after)]
        return [Change(f"{name.noun} {name.key}", *sides)]
    return [
        replace(change, label=f"{name.key}: {change.label}")
        for change in changes(name.kind, before, after)
    ]


def _done(request: HtmxHttpRequest, names: list[ConfigKey]) -> HttpResponse:
    entries = AuditEntry.objects.filter(
        environment=request.environment, actor_user=request.user, request_id=request.id
    )
    kind, slug = names[0].kind, request.environment.slug
    if len(names) == 1:
        url = environment_url(request, PAGES[kind], names[0].key)
    else:
        url = environment_url(request, LISTS[kind])
    text = f"Copied {_title(names)} to {slug}. Players see it at their next request."
    return changed_together(request, url, list(entries.order_by("-id")), text)
