"""The flags of one player: their values with reasons, as /v1 evaluates them now."""

from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from django.utils import timezone

from flags.cache import flags_part
from flags.dashboard.forms import PlayerFlagsForm
from flags.engine import sentences
from flags.engine.evaluation import CompiledFlag, Decision, EvaluationContext, Reason, decide
from flags.engine.receipt import nearest_miss
from flags.models import FlagOverride
from ilara_admin.api import environment_cache
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.models import Environment, Role
from ilara_admin.web.access import may
from ilara_admin.web.htmx import HtmxHttpRequest
from players.models import Player
from players.personal import personal_fields
from players.record import row_of
from segments.cache import segments_part
from segments.language.compiler import Subject
from segments.subject import stored_subject, subject_of

SHOWN_FLAGS = 25


class Evaluated(NamedTuple):
    """A player as rules see it at a time, with the configuration in force."""

    known: Snapshot
    subject: Subject
    now: datetime

    def masked(self, environment: Environment) -> "Evaluated":
        """The same for texts without personal data."""
        hidden = personal_fields(environment.personal_attributes)
        return self._replace(subject=replace(self.subject, hidden=hidden))


def evaluated(environment: Environment, player: Player) -> Evaluated:
    now = timezone.now()
    known = environment_cache.at_version(environment)
    segments = segments_part.of(known).values()
    needed = flags_part.of(known).event_counts.union(*(each.event_counts for each in segments))
    found = stored_subject(known, player.pk, needed)
    return Evaluated(known, found[1] if found else subject_of(row_of(player), known, now), now)


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
        if self.differs:
            return 1, self.key
        return 3 if self.decision.reason is Reason.DISABLED else 2, self.key

    @property
    def differs(self) -> bool:
        """Whether this player gets another variant than the default and the one of an off flag."""
        if not self.flag or not self.decision:
            return False
        document = self.flag.document
        return self.decision.variant.key not in (document.default, document.off)


def flags_panel(request: HtmxHttpRequest, player: Player, evaluated: Evaluated) -> dict[str, Any]:
    """One page of the flags in use, and of others with an override for this player. Only what is
    shown is explained: that takes most of the time."""
    form = PlayerFlagsForm(request)
    rows, context = _decided(player, evaluated)
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
        rows=[_shown(evaluated.known, row, context) for row in shown],
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
        "may_edit": may(request, Role.SUPPORT),
    }


def flags_that_differ(
    player: Player, evaluated: Evaluated, most: int
) -> tuple[list[ShownDecision], int]:
    """The first flags that give this player another value than their default or have an override
    for it, and the number of all of them."""
    rows, context = _decided(player, evaluated)
    differing = sorted(
        (row for row in rows if row.differs or row.override), key=lambda row: row.order
    )
    return [_shown(evaluated.known, row, context) for row in differing[:most]], len(differing)


def _decided(player: Player, evaluated: Evaluated) -> tuple[list[_Row], EvaluationContext]:
    known, subject, now = evaluated
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
    return rows, context


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
    text = sentences.why(flag, decision, context)
    if decision.reason is Reason.DEFAULT:
        miss = nearest_miss(flag, context, decision, segments_part.of(known))
        text = f"{text} {miss}" if miss else text
    if override:
        waits = sentences.why_override_waits(flag, decision, override.variant)
        text = f"{text} {_set_by(override)}, but {waits}."
    return text


def _set_by(override: FlagOverride) -> str:
    return f"Set to {override.variant} for this player by {override.author_name}"
