"""The receipt on a flag's page: its evaluation for a player or made-up attributes, at any time."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from flags.cache import flags_of
from flags.engine import sentences
from flags.engine.evaluation import EvaluationContext, evaluate, event_counts_needed
from flags.engine.receipt import Receipt, receipt_of
from flags.history import flags_at
from flags.models import Flag, FlagOverride
from ilara_admin.api import environment_cache
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.core.structs import decoder
from ilara_admin.core.text import trim
from ilara_admin.web.access import sees_personal
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.moment_field import MomentField
from players.aliases import player_id_named
from players.personal import personal_fields
from players.record import PlayerRow
from segments.cache import segments_part
from segments.language.compiler import Subject
from segments.subject import stored_subject, subject_of

MAX_TYPED = 4_000
MADE_UP = "made-up player"
UNKNOWN = "No player has this external id. Give attributes to make one up."


class ReceiptForm(forms.Form):
    player = forms.CharField(
        label="External id of a player",
        required=False,
        max_length=255,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
        ),
    )
    at = MomentField(label="At", required=False, help_text="Past or future; now if empty.")
    attributes = forms.CharField(
        required=False,
        max_length=MAX_TYPED,
        widget=forms.Textarea(attrs={"rows": 2, "class": "mono", "spellcheck": "false"}),
        help_text="Lines like <code>level: 40</code>, or JSON. Replace the player's own, or make "
        "one up.",
    )

    def clean_player(self) -> str:
        return trim(self.cleaned_data["player"])

    def clean_attributes(self) -> dict[str, Any]:
        return typed_attributes(self.cleaned_data["attributes"])


BLANK = ReceiptForm()  # one for all requests, so that it is rendered once


def typed_attributes(text: str) -> dict[str, Any]:
    """The attributes in a JSON object, or in lines like `level: 40`, whose values are JSON or else
    text. Raises ValidationError."""
    text = text.strip()
    if text.startswith("{"):
        try:
            given: dict[str, Any] = decoder(dict[str, Any]).decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValidationError(f"This is not a JSON object: {error}.") from None
        return given
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, colon, value = map(str.strip, line.partition(":"))
        if name and colon and value:
            found[name] = _value(value)
        elif line.strip():
            raise ValidationError(f"Line {number}: write a name and a value, level: 40.")
    return found


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


@dataclass(frozen=True, slots=True)
class Tried:
    """`player_id` is None without a player, for attributes alone; `at` is None for now. Without a
    receipt, `problem` says why."""

    name: str
    player_id: uuid.UUID | None = None
    problem: str = ""
    value: str = ""
    variant: str = ""
    receipt: Receipt | None = None
    at: datetime | None = None


def receipt_context(request: HtmxHttpRequest, flag: Flag) -> dict[str, Any]:
    """The form, and the receipt if a player or attributes were given."""
    asked = any(request.GET.get(name) for name in ReceiptForm.base_fields)
    form = ReceiptForm(request.GET) if asked else BLANK
    tried = None
    if asked and form.is_valid() and not flag.problem:
        given = form.cleaned_data
        if given["player"] or given["attributes"]:
            tried = _tried(request, flag, given["player"], given["attributes"], given["at"])
    return {"receipt_form": form, "tried": tried}


def _tried(
    request: HtmxHttpRequest, flag: Flag, name: str, attributes: dict[str, Any], at: datetime | None
) -> Tried:
    known = environment_cache.at_version(request.environment)
    ready = (flags_at(known, at).by_key if at else flags_of(known)).get(flag.key)
    if ready is None:
        return Tried(name, problem="The flag did not exist then, or could not be read.")
    player_id = player_id_named(request.environment, name or MADE_UP)
    found = stored_subject(known, player_id, event_counts_needed([ready])) if name else None
    variants: dict[int, str] = {}
    if found:
        player, subject, _ = found
        subject = replace(
            subject,
            attributes={**subject.attributes, **attributes},
            hidden=_hidden(request, attributes),
        )
        overrides = FlagOverride.objects.in_force(player.id, subject.now)
        variants = {each.flag_id: each.variant for each in overrides}
    elif attributes:
        subject = _made_up(known, player_id, name or MADE_UP, attributes)
    else:
        return Tried(
            name, problem="No player has this external id. Give attributes to make one up."
        )
    context = EvaluationContext(str(player_id), subject, variants, at or subject.now)
    decision = evaluate(ready, context)
    return Tried(
        name or MADE_UP,
        player_id if found else None,
        value=sentences.value_text(decision.variant.value),
        variant=decision.variant.key,
        receipt=receipt_of(ready, context, decision, segments_part.of(known)),
        at=at,
    )


def _hidden(request: HtmxHttpRequest, typed: Collection[str]) -> set[str]:
    """The personal fields and attributes that this role may not see. Typed ones are known."""
    if sees_personal(request):
        return set()
    return personal_fields(request.environment.personal_attributes) - set(typed)


def _made_up(
    known: Snapshot, player_id: uuid.UUID, external_id: str, attributes: dict[str, Any]
) -> Subject:
    """A player seen for the first time now. The id decides the buckets."""
    now = timezone.now()
    player = PlayerRow(
        id=player_id, external_id=external_id, device_id=None, email=None, attributes=attributes,
        session_count=0, active_days=1, purchase_count=0, total_revenue=Decimal(0),
        first_seen_at=now, last_seen_at=now, last_active_on=now.date(), active_since=now,
        returned_at=None, gap_before_return=None,
    )  # fmt: skip
    return subject_of(player, known, now)
