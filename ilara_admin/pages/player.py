"""The page of one player: metadata, timeline, and current flags and segments."""

import uuid
from datetime import datetime
from typing import Any, NamedTuple

from django.http import HttpResponse
from django.utils import timezone

from events.forms import TimelineFilterForm
from events.timeline import timeline
from flags.cache import flags_part
from flags.dashboard.forms import PlayerFlagsForm
from flags.engine import sentences
from flags.engine.evaluation import CompiledFlag, Decision, EvaluationContext, Reason, decide
from flags.engine.receipt import nearest_miss
from flags.models import FlagOverride
from ilara_admin.api import environment_cache
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.models import Role
from ilara_admin.templatetags.ilara import json_pretty
from ilara_admin.web.access import actor_of, get_or_404, sees_personal, staff_view
from ilara_admin.web.filters import render_list
from ilara_admin.web.htmx import HtmxHttpRequest, wants_partial
from players.cache import churn_part
from players.labels import RISKS, STAGES
from players.models import Player, PlayerAlias
from players.notes import newest_notes, with_right
from players.personal import mask_device, mask_email
from players.record import lifecycle_of, risk_of, row_of, thresholds_of
from players.services import personal_data_seen
from segments.cache import segments_part
from segments.language.compiler import Subject
from segments.subject import stored_subject, subject_of

SHOWN_NOTES = 5
SHOWN_FLAGS = 25

ALIASES = "SELECT * FROM player_alias WHERE player_id = %s ORDER BY created_at, external_id"


@staff_view(Role.VIEWER)
def player_detail(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """The page, or for htmx only the timeline or the flags. Flags and segments are as /v1 evaluates
    them now."""
    player = get_or_404(request, Player, id=player_id)
    if wants_partial(request) and request.htmx.target == "flags":
        flags = _flags(request, player, *_evaluated(request, player))
        return render_list(request, "players/_panel_flags.html", flags, partial="flags")
    form = TimelineFilterForm(request)
    before = request.GET.get("before", "")
    page = timeline(player.pk, kind=form.wanted, event_name=form.value("event"), before=before)
    context: dict[str, Any] = {
        "player": player,
        "form": form,
        "page": page,
        "before": before,
        "event_url": _event_url(request),
        "may_edit": request.user.may(Role.SUPPORT),
    }
    if not wants_partial(request):
        context |= _details(request, player)
    return render_list(request, "players/detail.html", context, partial="timeline")


def _event_url(request: HtmxHttpRequest) -> str:
    """The URL of the timeline of one event, up to the event's name."""
    query = request.GET.copy()
    for name in ("event", "before", "kind"):
        query.pop(name, None)
    query["event"] = ""
    return f"{request.path}?{query.urlencode()}"


def _evaluated(request: HtmxHttpRequest, player: Player) -> tuple[Snapshot, Subject, datetime]:
    now = timezone.now()
    known = environment_cache.at_version(request.environment)
    segments = segments_part.of(known).values()
    needed = flags_part.of(known).event_counts.union(*(each.event_counts for each in segments))
    found = stored_subject(known, player.pk, needed)
    return known, found[1] if found else subject_of(row_of(player), known, now), now


def _details(request: HtmxHttpRequest, player: Player) -> dict[str, Any]:
    known, subject, now = _evaluated(request, player)
    row = row_of(player)
    risk = risk_of(row, player.activity, churn_part.of(known), now)
    life = lifecycle_of(row, thresholds_of(known), now)
    if personal := sees_personal(request):
        personal_data_seen(player, actor=actor_of(request))
    notes = newest_notes(player, SHOWN_NOTES + 1)
    return {
        "aliases": list(PlayerAlias.objects.raw(ALIASES, [player.pk])),
        "notes": with_right(request.user, notes[:SHOWN_NOTES]),
        "more_notes": len(notes) > SHOWN_NOTES,
        "email": player.email if personal else mask_email(player.email),
        "device_id": player.device_id if personal else mask_device(player.device_id),
        "life": life,
        "stage": STAGES[life.stage],
        "next_stage": STAGES[life.next_stage] if life.next_stage else None,
        "risk": risk,
        "risk_badge": RISKS[risk.level],
        "attributes": [_attribute(*each) for each in sorted(player.attributes.items())],
        "segments": [each for each in segments_part.of(known).values() if each.matches(subject)],
        **_flags(request, player, known, subject, now),
    }


class ShownDecision(NamedTuple):
    """A flag as this player gets it. `decision` is None if the flag cannot be read."""

    key: str
    value: str
    decision: Decision | None
    explanation: str
    override: FlagOverride | None


class FlagsPage(NamedTuple):
    """One page of the `matching` flags among `total`. `next` and `previous` are query strings, or
    "" at the ends."""

    rows: list[ShownDecision]
    start: int
    matching: int
    total: int
    previous: str
    next: str

    @property
    def first(self) -> int:
        return self.start + 1

    @property
    def last(self) -> int:
        return self.start + len(self.rows)

    @property
    def is_only(self) -> bool:
        return not self.next and not self.previous

    @property
    def are_many(self) -> bool:
        return self.total > SHOWN_FLAGS


class _Row(NamedTuple):
    """A flag of a player. `flag` and `decision` are None if the flag cannot be read."""

    key: str
    flag: CompiledFlag | None
    decision: Decision | None
    override: FlagOverride | None

    @property
    def order(self) -> tuple[int, str]:
        """Overrides first, then what the rules give this player, defaults, and flags that are
        off."""
        if self.override or not self.flag or not self.decision:
            return 0, self.key
        document = self.flag.document
        if self.decision.variant.key not in (document.default, document.off):
            return 1, self.key
        return 3 if self.decision.reason is Reason.DISABLED else 2, self.key


def _flags(
    request: HtmxHttpRequest, player: Player, known: Snapshot, subject: Subject, now: datetime
) -> dict[str, Any]:
    """One page of the flags in use, and of others with an override for this player. Only what is
    shown is explained: that takes most of the time."""
    form = PlayerFlagsForm(request)
    found = FlagOverride.objects.in_force(player.pk, now)
    overrides = {each.flag_id: each for each in found}
    variants = {flag_id: override.variant for flag_id, override in overrides.items()}
    context = EvaluationContext(str(player.pk), subject, variants, now)
    memo: dict[str, Decision] = {}
    rows = []
    for flag in flags_part.of(known).by_key.values():
        override = overrides.pop(flag.id, None)
        if override or not flag.archived:
            rows.append(_Row(flag.key, flag, decide(flag, context, memo), override))
    rows += [_Row(override.flag.key, None, None, override) for override in overrides.values()]
    wanted = form.value("flag").casefold()
    matching = [row for row in rows if wanted in row.key.casefold()]
    start = form.cleaned_data.get("start") or 0
    shown = sorted(matching, key=lambda row: row.order)[start : start + SHOWN_FLAGS]

    def at(place: int) -> str:
        query = request.GET.copy()
        query["start"] = str(place)
        return f"?{query.urlencode()}"

    is_last = start + SHOWN_FLAGS >= len(matching)
    page = FlagsPage(
        rows=[_shown(known, row, context) for row in shown],
        start=start,
        matching=len(matching),
        total=len(rows),
        previous=at(max(start - SHOWN_FLAGS, 0)) if start else "",
        next="" if is_last else at(start + SHOWN_FLAGS),
    )
    return {
        "player": player,
        "flags": page,
        "flags_form": form,
        "may_edit": request.user.may(Role.SUPPORT),
    }


def _shown(known: Snapshot, row: _Row, context: EvaluationContext) -> ShownDecision:
    if row.flag is None or row.decision is None:
        assert row.override
        text = f"{_set_by(row.override)}, but the flag cannot be read."
        return ShownDecision(row.key, "", None, text, row.override)
    value = sentences.value_text(row.decision.variant.value)
    explanation = _explanation(known, row.flag, context, row.decision, row.override)
    return ShownDecision(row.key, value, row.decision, explanation, row.override)


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
