"""The page of one player: metadata, timeline, and current flags and segments."""

import uuid
from datetime import datetime
from typing import Any, NamedTuple

from django.http import HttpResponse
from django.utils import timezone

from events.forms import TimelineFilterForm
from events.timeline import timeline
from flags.cache import flags_part
from flags.engine import sentences
from flags.engine.evaluation import CompiledFlag, Decision, EvaluationContext, Reason, decide
from flags.engine.receipt import nearest_miss
from flags.models import FlagOverride
from ilara_admin.api import environment_cache
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.models import Role
from ilara_admin.templatetags.ilara import json_pretty
from ilara_admin.web.access import get_or_404, staff_view
from ilara_admin.web.filters import render_list
from ilara_admin.web.htmx import HtmxHttpRequest, wants_partial
from players.cache import churn_part
from players.labels import RISKS, STAGES
from players.models import Player
from players.notes import notes_of, with_right
from players.record import (
    lifecycle_of,
    mask_device,
    mask_email,
    risk_of,
    row_of,
    thresholds_of,
)
from segments.cache import segments_part
from segments.language.compiler import Subject
from segments.subject import stored_subject, subject_of

SHOWN_NOTES = 5


@staff_view(Role.VIEWER)
def player_detail(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """The page, or for htmx only the timeline. Flags and segments are as /v1 evaluates them now."""
    player = get_or_404(request, Player, pk=player_id)
    form = TimelineFilterForm(request)
    before = request.GET.get("before", "")
    page = timeline(player.pk, kind=form.wanted, event_name=form.value("event"), before=before)
    context: dict[str, Any] = {
        "player": player,
        "form": form,
        "page": page,
        "before": before,
        "may_edit": request.user.may(Role.SUPPORT),
    }
    if not wants_partial(request):
        context |= _details(request, player)
    return render_list(request, "players/detail.html", context, partial="timeline")


def _details(request: HtmxHttpRequest, player: Player) -> dict[str, Any]:
    now, row = timezone.now(), row_of(player)
    known = environment_cache.at_version(request.environment)
    flags, segments = flags_part.of(known), segments_part.of(known).values()
    needed = flags.event_counts.union(*(segment.event_counts for segment in segments))
    found = stored_subject(known, player.pk, needed)
    subject = found[1] if found else subject_of(row, known, now)
    risk = risk_of(row, player.activity, churn_part.of(known), now)
    life = lifecycle_of(row, thresholds_of(known), now)
    may_edit = request.user.may(Role.SUPPORT)
    notes = list(notes_of(player)[: SHOWN_NOTES + 1])
    return {
        "aliases": player.aliases.order_by("created_at", "external_id"),
        "notes": with_right(request.user, notes[:SHOWN_NOTES]),
        "more_notes": len(notes) > SHOWN_NOTES,
        "email": player.email if may_edit else mask_email(player.email),
        "device_id": player.device_id if may_edit else mask_device(player.device_id),
        "life": life,
        "stage": STAGES[life.stage],
        "next_stage": STAGES[life.next_stage] if life.next_stage else None,
        "risk": risk,
        "risk_badge": RISKS[risk.level],
        "attributes": [_attribute(*each) for each in sorted(player.attributes.items())],
        "decisions": _decisions(known, player, subject, now),
        "segments": [each for each in segments if each.matches(subject)],
    }


class ShownDecision(NamedTuple):
    """A flag as this player gets it. `decision` is None if the flag cannot be read."""

    key: str
    value: str
    decision: Decision | None
    explanation: str
    override: FlagOverride | None


def _decisions(
    known: Snapshot, player: Player, subject: Subject, now: datetime
) -> list[ShownDecision]:
    """Every flag in use, and others with an override for this player."""
    flags = flags_part.of(known)
    found = FlagOverride.objects.in_force(player.pk, now).select_related("flag")
    overrides = {each.flag_id: each for each in found}
    variants = {flag_id: override.variant for flag_id, override in overrides.items()}
    context = EvaluationContext(str(player.pk), subject, variants, now)
    memo: dict[str, Decision] = {}
    shown = []
    for flag in flags.by_key.values():
        override = overrides.pop(flag.id, None)
        if flag.archived and override is None:
            continue
        decision = decide(flag, context, memo)
        value = sentences.value_text(decision.variant.value)
        explanation = _explanation(known, flag, context, decision, override)
        shown.append(ShownDecision(flag.key, value, decision, explanation, override))
    for override in overrides.values():
        text = f"{_set_by(override)}, but the flag cannot be read."
        shown.append(ShownDecision(override.flag.key, "", None, text, override))
    return sorted(shown, key=lambda each: each.key)


def _explanation(
    known: Snapshot,
    flag: CompiledFlag,
    context: EvaluationContext,
    decision: Decision,
    override: FlagOverride | None,
) -> str:
    if override and decision.reason is Reason.OVERRIDE:
        return f"Set for this player by {override.author_name}."
    text = sentences.why(flag, decision, context.subject, context.at)
    if decision.reason is Reason.DEFAULT:
        miss = nearest_miss(flag, context, decision, segments_part.of(known))
        text = f"{text} {miss}" if miss else text
    if override:
        waits = sentences.why_override_waits(flag, decision, override.variant)
        text = f"{text} {_set_by(override)}, but {waits}."
    return text


def _set_by(override: FlagOverride) -> str:
    return f"Set to {override.variant} for this player by {override.author_name}"


def _attribute(name: str, value: Any) -> tuple[str, str, bool]:
    """Name, value as JSON, and whether it has several lines."""
    nested = isinstance(value, dict | list) and bool(value)
    return name, json_pretty(value) if nested else sentences.value_text(value), nested
