"""The flag pages: the list, a new flag, one flag. actions.py and editor.py change it."""

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from flags import services
from flags.cache import compile_draft, flags_of
from flags.dashboard.affected import dependents_in_use
from flags.dashboard.forms import FlagFilterForm, FlagNewForm
from flags.dashboard.impact import impact
from flags.dashboard.impact_figures import Impact
from flags.dashboard.overrides import overrides_of
from flags.dashboard.shortcuts import get_flag_or_404
from flags.dashboard.stale import hints
from flags.engine import sentences
from flags.engine.bucketing import weights_of
from flags.engine.document import (
    EVERYBODY,
    DocumentError,
    FlagDocument,
    Rule,
    check_document,
)
from flags.engine.evaluation import EvaluationContext, evaluate, event_counts_needed
from flags.engine.receipt import receipt_of
from flags.engine.schedule import is_scheduled, next_change, rollout_at
from flags.models import Flag, FlagOverride, FlagRevision, segments_used
from flags.usage import use_of
from ilara_admin.api import environment_cache
from ilara_admin.models import Role
from ilara_admin.templatetags.charts import Share
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.filters import render_list, searched
from ilara_admin.web.forms import add_errors
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, render_partial, with_toast
from ilara_admin.web.pagination import KeysetPage
from players.aliases import player_id_named
from segments.cache import segments_part
from segments.language.parser import RuleError, parse
from segments.language.sentences import describe as describe_rule
from segments.models import Segment
from segments.subject import stored_subject

HISTORY_SIZE = 20
SHOWN_RULES = 2
USE_DAYS = 7


@staff_view(Role.VIEWER)
def flag_list(request: HtmxHttpRequest) -> HttpResponse:
    form = FlagFilterForm(request)
    archived = form.value("show") == "archived"
    flags = Flag.objects.of(request.environment)
    exists = flags.exists()
    flags = flags.archived(archived).with_author().with_last_evaluated().order_by("key")
    if text := form.value("q"):
        flags = flags.matching(text)
    if state := form.value("state"):
        flags = flags.filter(document__enabled=state == "on")
    if segment := form.value("segment"):
        flags = flags.naming(segment)
    page, now = KeysetPage.of(flags, request), timezone.now()
    context = {
        "form": form,
        "page": page,
        "rows": [_list_row(flag, now) for flag in page.rows],
        "archived": archived,
        "exists": exists,
        "may_edit": request.user.may(Role.LIVE_OPS),
    }
    return render_list(request, "flags/list.html", context)


def _list_row(flag: Flag, now: datetime) -> dict[str, Any]:
    if flag.problem:
        return {"flag": flag, "hints": hints(flag, now)}
    document = flag.spec
    rules = [(rule, rollout_at(rule, now)) for rule in document.rules[:SHOWN_RULES]]
    more = len(document.rules) - len(rules)
    return {
        "flag": flag,
        "document": document,
        "rules": rules,
        "more": more,
        "hints": hints(flag, now),
    }


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_new(request: HtmxHttpRequest) -> HttpResponse:
    environments = list(request.project.environments.all())
    owner = actor_of(request).name
    form = FlagNewForm(environments, request.POST or None, initial={"owner": owner})
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data["environments"]
        try:
            services.flag_create_everywhere(
                request.project,
                slugs=chosen,
                key=form.cleaned_data["key"],
                name=form.cleaned_data["name"],
                description=form.cleaned_data["description"],
                owner=form.cleaned_data["owner"],
                expected_end=form.cleaned_data["expected_end"],
                document=form.document(),
                actor=actor_of(request),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            here = request.environment.slug in chosen
            url = environment_url(request, "flag_detail", form.cleaned_data["key"])
            response = redirect_to(request, url if here else environment_url(request, "flag_list"))
            text = f"Created {form.cleaned_data['key']}, off, in {', '.join(chosen)}."
            return with_toast(request, response, text)
    status = 422 if form.is_bound else 200
    return render(request, "flags/new.html", {"form": form}, status=status)


@staff_view(Role.VIEWER)
def flag_detail(request: HtmxHttpRequest, key: str) -> HttpResponse:
    flag, now = get_flag_or_404(request, key), timezone.now()
    context: dict[str, Any] = {
        "flag": flag,
        "unreadable_segments": _unreadable_segments(flag),
        "dependents": dependents_in_use(request, flag),
        "overrides": overrides_of(flag, now),
        "use": _use(flag, now),
        "hints": hints(flag, now),
        "history": _history(flag),
        "tried": _try(request, flag),
        "may_edit": request.user.may(Role.LIVE_OPS),
    }
    if not flag.problem:
        document = flag.spec
        context |= {
            "document": document,
            "variants": [
                {"variant": variant, "text": sentences.value_text(variant.value)}
                for variant in document.variants
            ],
            "rules": [_rule_row(rule, now) for rule in document.rules],
        }
    partial = "try" if "player" in request.GET else "history"
    return render_partial(request, "flags/detail.html", context, partial=partial)


def _unreadable_segments(flag: Flag) -> list[Segment]:
    compiled = segments_part.of(environment_cache.at_version(flag.environment))
    used = segments_used(flag.document)
    if all(key in compiled and compiled[key].rule for key in used):
        return []
    segments = Segment.objects.filter(environment=flag.environment, key__in=used)
    return [segment for segment in segments if segment.spec is None]


def _rule_row(rule: Rule, now: datetime) -> dict[str, Any]:
    weights = weights_of(rule.split) if rule.split else {}
    return {
        "rule": rule,
        "conditions": describe_rule(parse(rule.conditions)) if rule.conditions else "",
        "shares": [Share(key, weight) for key, weight in weights.items()],
        "figure": rollout_at(rule, now),
        "schedule": sentences.percentage(rule) if is_scheduled(rule) else "",
        "next": next_change(rule, now),
    }


def _use(flag: Flag, now: datetime) -> dict[str, Any]:
    """How often the API served each variant in the last USE_DAYS."""
    found = use_of(flag, now - timedelta(days=USE_DAYS))
    total = sum(each.times for each in found)
    shares = [Share(each.variant, EVERYBODY * each.times // total) for each in found if total]
    return {"total": total, "shares": shares}


NEWEST = "SELECT * FROM flag_revision WHERE flag_id = %s ORDER BY number DESC LIMIT %s"


def _history(flag: Flag) -> list[dict[str, Any]]:
    """The newest revisions with their changes."""
    revisions = list(FlagRevision.objects.raw(NEWEST, [flag.pk, HISTORY_SIZE + 1]))
    older: list[Any] = [*revisions[1:], None]
    found = []
    for revision, before in zip(revisions[:HISTORY_SIZE], older, strict=False):
        changes = []
        if before is not None:
            changes = services.differences(before, revision)
        found.append({"revision": revision, "changes": changes, "is_first": revision.number == 1})
    return found


def _try(request: HtmxHttpRequest, flag: Flag) -> dict[str, Any] | None:
    """The value for the player with the typed external id, and its receipt."""
    external_id = searched(request, "player")
    if not external_id:
        return None
    environment = request.environment
    known = environment_cache.at_version(environment)
    ready = flags_of(known).get(flag.key)
    if ready is None or flag.problem:
        return None
    player_id = player_id_named(environment, external_id)
    found = stored_subject(known, player_id, event_counts_needed([ready]))
    if found is None:
        return {"external_id": external_id}
    player, subject, _ = found
    overrides = FlagOverride.objects.in_force(player.id, subject.now)
    variants = {each.flag_id: each.variant for each in overrides}
    context = EvaluationContext(str(player.id), subject, variants, subject.now)
    decision = evaluate(ready, context)
    return {
        "external_id": external_id,
        "player": player,
        "value": sentences.value_text(decision.variant.value),
        "variant": decision.variant.key,
        "receipt": receipt_of(ready, context, decision, segments_part.of(known)),
    }


def impact_of(
    request: HtmxHttpRequest,
    flag: Flag,
    draft: FlagDocument,
    *,
    archived: bool | None = None,
    everyone: bool = False,
) -> Impact | None:
    """The players who would switch; None for a draft that cannot be evaluated."""
    known = environment_cache.at_version(request.environment)
    live = flags_of(known).get(flag.key)
    if live is None:
        return None
    try:
        check_document(draft)
        changed = live.archived if archived is None else archived
        ready = compile_draft(known, live, draft, changed)
    except (DocumentError, RuleError):
        return None
    return impact(known, live, ready, timezone.now(), everyone=everyone)
