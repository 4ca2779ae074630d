"""The form of one rule and its conversion to and from a flag document."""

import re
import secrets
from decimal import Decimal
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils import timezone

from flags.dashboard.forms import percent_field
from flags.engine.bucketing import reweight, weights_of
from flags.engine.document import EVERYBODY, MAX_STEPS, FlagDocument, Ramp, Rule, ScheduleStep
from flags.engine.sentences import group_range
from ilara_admin.core.local_times import (
    NotOneTime,
    Typed,
    line_text,
    line_with_offset,
    resolve,
)
from ilara_admin.core.percentages import as_percent, thousandths
from ilara_admin.web.moment_field import MomentField, with_instants
from ilara_admin.web.suggestions import SuggestedChoiceField, Suggestions
from segments.editor.form_tree import Editor, optional_editor
from segments.sizes import Estimate

# Not valid keys: keys begin with a letter or a digit.
SPLIT = "*split*"
EVERYONE_CHOICE = "*everyone*"
FIXED, STEPS, RAMP = TIMINGS = ("fixed", "steps", "ramp")
RAMP_FIELDS = ("ramp_from", "ramp_to", "ramp_start", "ramp_end")
STEP = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)"
    r"(?: ?(Z|[+-]\d\d:\d\d(?::\d\d)?))?\s+(\d{1,3}(?:\.\d{1,3})?) ?%?"
)


def parse_steps(text: str) -> tuple[ScheduleStep, ...]:
    """One step per line, `2026-12-01 09:00 25`, in the user's time zone or with an offset:
    `2026-12-01 09:00 +01:00 25`."""
    lines = list(filter(None, map(str.strip, text.splitlines())))
    if not 1 <= len(lines) <= MAX_STEPS:
        raise ValidationError(f"Give 1 to {MAX_STEPS} steps, one on each line.")
    found, faults = [], []
    for line in lines:
        try:
            found.append(_step(line))
        except ValidationError as fault:
            faults.append(fault)
    if faults:
        raise ValidationError(faults)
    return tuple(found)


def _step(line: str) -> ScheduleStep:
    found = STEP.fullmatch(line)
    try:
        if found is None:
            raise ValueError(line)
        day, time, offset, percent = found.groups()
        typed = Typed(f"{day} {time}{offset or ''}")
        at = resolve(typed, timezone.get_current_timezone())
        assert at is not None
    except NotOneTime as problem:
        first, second = (f"{line_with_offset(each)} {percent}" for each in problem.choices)
        raise ValidationError(f"“{line[:60]}”: {problem} Write {first} or {second}.") from None
    except ValueError:
        raise ValidationError(f"“{line[:60]}”: write it like 2026-12-01 09:00 25.") from None
    return ScheduleStep(at, thousandths(Decimal(percent)))


def steps_as_typed(steps: tuple[ScheduleStep, ...]) -> str:
    zone = timezone.get_current_timezone()
    return "\n".join(f"{line_text(step.at, zone)} {as_percent(step.rollout)}" for step in steps)


CONDITIONS = "conditions"  # the name of the editor of a rule's conditions, after the form's prefix


class RuleForm(forms.Form):
    """One rule. The weights apply only to a split. `conditions` is None without any."""

    conditions: Editor | None
    audience: Estimate | None = None

    id = forms.CharField(required=False, widget=forms.HiddenInput)
    segment = SuggestedChoiceField(label="Who")
    serve = forms.ChoiceField(label="Gets")
    rollout = percent_field("Percentage", initial=100)
    scheduled = forms.BooleanField(required=False, widget=forms.HiddenInput)
    timing = forms.ChoiceField(
        label="The percentage",
        required=False,
        choices=[(FIXED, "Stays"), (STEPS, "Changes in steps"), (RAMP, "Moves evenly")],
        initial=FIXED,
    )
    steps = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false"}),
        help_text="One per line: date, time, percent, such as "
        "<code>2026-12-01 09:00 25</code>. The percentage above applies until the first. "
        "An offset, such as <code>09:00 +01:00</code>, stands after the time.",
    )
    ramp_from = percent_field("From, %")
    ramp_to = percent_field("To, %")
    ramp_start = MomentField(label="Between")
    ramp_end = MomentField(label="And")
    start = MomentField(
        label="Starts", required=False, help_text="Before, the rule matches no players."
    )
    end = MomentField(
        label="Ends", required=False, help_text="From then on, it matches no players."
    )

    def __init__(
        self,
        *args: Any,
        segments: Suggestions,
        document: FlagDocument,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.initial = with_instants(self.fields, self.initial)
        self.document = document
        posted = cast("QueryDict", self.data) if self.is_bound else None
        rule = self.initial.get(CONDITIONS)
        name = self.add_prefix(CONDITIONS)
        self.conditions = optional_editor(name, posted, segments, rule, checked=True)
        self.keys = [variant.key for variant in document.variants]
        segment, serve = self.fields["segment"], self.fields["serve"]
        assert isinstance(segment, SuggestedChoiceField)
        assert isinstance(serve, forms.ChoiceField)
        segment.suggest(segments, empty=(EVERYONE_CHOICE, "Everyone"))
        serve.choices = [(key, key) for key in self.keys]
        if len(self.keys) > 1:
            serve.choices = [*serve.choices, (SPLIT, "A split")]
        for index, key in enumerate(self.keys):
            self.fields[f"weight_{index}"] = percent_field(f"{key}, %")

    @property
    def for_all_segments(self) -> bool:
        return self["segment"].value() in (None, "", EVERYONE_CHOICE)

    @property
    def for_everyone(self) -> bool:
        return self.for_all_segments and self.conditions is None

    @property
    def weight_fields(self) -> list[forms.BoundField]:
        return [self[f"weight_{index}"] for index in range(len(self.keys))]

    @property
    def old(self) -> Rule | None:
        rule_id = self.data.get(self.add_prefix("id")) or self.initial.get("id")
        return next((rule for rule in self.document.rules if rule.id == rule_id), None)

    @property
    def group_words(self) -> str:
        """The buckets that the rule is limited to; "" if it is not."""
        return group_range(self.old.group) if self.old and self.old.group else ""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        data[CONDITIONS] = self.conditions and self.conditions.read()
        if self.conditions and data[CONDITIONS] is None:
            self.add_error(None, "Correct the conditions.")
        for index in range(len(self.keys)):
            # An empty weight is 0, and weights do not matter without a split.
            if data.get("serve") != SPLIT or self.has_error(f"weight_{index}", "required"):
                self.errors.pop(f"weight_{index}", None)
        self._clean_timing(data)
        if data.get("serve") == SPLIT and not self.errors:
            weights = self._weights(data)
            if sum(weights.values()) != EVERYBODY:
                total = Decimal(sum(weights.values())) / 1000
                self.add_error("serve", f"The weights must add up to 100 %, not {total} %.")
        return data

    def _clean_timing(self, data: dict[str, Any]) -> None:
        if data.get("timing") == "":
            data["timing"] = FIXED
        used_by = {"rollout": (FIXED, STEPS), "steps": (STEPS,)} | dict.fromkeys(
            RAMP_FIELDS, (RAMP,)
        )
        for name, timings in used_by.items():
            if data.get("timing") not in timings:
                self.errors.pop(name, None)
        if data.get("timing") == STEPS and "steps" in data:
            try:
                data["steps"] = parse_steps(data["steps"])
            except ValidationError as error:
                self.add_error("steps", error)
        for start, end in (("start", "end"), ("ramp_start", "ramp_end")):
            first, last = data.get(start), data.get(end)
            if first and last and last <= first and data.get("timing") in used_by.get(end, TIMINGS):
                self.add_error(end, "This must come after the start.")

    def _weights(self, data: dict[str, Any]) -> dict[str, int]:
        return {
            key: thousandths(data.get(f"weight_{index}") or Decimal(0))
            for index, key in enumerate(self.keys)
        }

    def rule(self) -> Rule:
        data, old = self.cleaned_data, self.old
        split = None
        if data["serve"] == SPLIT:
            slices = old.split if old and old.split else ()
            split = reweight(slices, self._weights(data))
        return Rule(
            id=old.id if old else secrets.token_hex(4),
            name=old.name if old else "",
            segment=None if data["segment"] == EVERYONE_CHOICE else data["segment"],
            conditions=data[CONDITIONS],
            variant=None if split else data["serve"],
            split=split,
            start=data["start"],
            end=data["end"],
            group=old.group if old else None,
            **self._timing(),
        )

    def _timing(self) -> dict[str, Any]:
        data = self.cleaned_data
        if data["timing"] == RAMP:
            ramp = Ramp(
                from_=thousandths(data["ramp_from"]),
                to=thousandths(data["ramp_to"]),
                start=data["ramp_start"],
                end=data["ramp_end"],
            )
            return {"ramp": ramp}
        steps = data["steps"] if data["timing"] == STEPS else ()
        return {"rollout": thousandths(data["rollout"]), "steps": steps}

    @property
    def shows_schedule(self) -> bool:
        """Whether to show the fields of the schedule: if it has one, or on request. They are most
        of a rule's fields, and few rules need them."""
        return (
            bool(self["scheduled"].value())
            or self["timing"].value() not in (None, "", FIXED)
            or any(self[name].value() or self[name].errors for name in ("start", "end"))
        )


def rule_initial(rule: Rule, document: FlagDocument) -> dict[str, Any]:
    weights = weights_of(rule.split) if rule.split else {}
    initial: dict[str, Any] = {
        "id": rule.id,
        "segment": rule.segment or EVERYONE_CHOICE,
        CONDITIONS: rule.conditions,
        "serve": SPLIT if rule.split else rule.variant,
        "rollout": as_percent(rule.rollout),
        "timing": RAMP if rule.ramp else STEPS if rule.steps else FIXED,
        "steps": steps_as_typed(rule.steps),
        "start": rule.start,
        "end": rule.end,
    }
    if rule.ramp:
        initial |= {
            "ramp_from": as_percent(rule.ramp.from_),
            "ramp_to": as_percent(rule.ramp.to),
            "ramp_start": rule.ramp.start,
            "ramp_end": rule.ramp.end,
        }
    for index, variant in enumerate(document.variants):
        if weights.get(variant.key):
            initial[f"weight_{index}"] = as_percent(weights[variant.key])
    return initial
