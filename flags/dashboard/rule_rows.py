"""The rows of the rules editor: as typed after a button that saves nothing, and their audiences."""

from typing import Any

from django.forms import BaseFormSet, formset_factory
from django.http import QueryDict

from flags.dashboard.rule_form import CONDITIONS, RuleForm
from ilara_admin.models import Environment
from ilara_admin.web.formsets import MAX_ROWS, moved_order, typed_rows
from segments.editor.audience import SIZE, audience_of
from segments.editor.form_tree import ACT, optional_editor
from segments.language.parser import InSegment
from segments.sizes import Estimate

RULES = "rules"  # the prefix of the rows
SCHEDULE = "schedule-"  # the action of the button that shows the fields of a rule's schedule
Rules = formset_factory(RuleForm, extra=0, max_num=MAX_ROWS)


def saves_nothing(posted: QueryDict) -> bool:
    """Whether a button was pressed that only changes what the editor shows."""
    return any(posted.get(name) for name in ("row", ACT, SIZE))


def typed_rules(posted: QueryDict, options: dict[str, Any]) -> "BaseFormSet[RuleForm]":
    """The rules as typed, after a button that saves nothing. The rule whose audience was asked for
    shows its errors."""
    typed = typed_rows(posted, RULES)
    order = moved_order(posted, len(typed)) or list(range(len(typed)))
    rows = [{} if old is None else typed[old] for old in order]
    asked = posted.get("row", "").removeprefix(SCHEDULE)
    rules = Rules(prefix=RULES, initial=rows, form_kwargs=options)
    for form, old in zip(rules.forms, order, strict=True):
        if old is not None and asked == str(old):
            form.initial["scheduled"] = True
            form.fields["timing"].widget.attrs["autofocus"] = True
        if old is not None:
            was = f"{RULES}-{old}-{CONDITIONS}"
            name = form.add_prefix(CONDITIONS)
            form.conditions = optional_editor(
                name, posted, options["segments"], was=was, checked=str(old) == posted.get(SIZE)
            )
    return rules


def typed_rule(posted: QueryDict, options: dict[str, Any]) -> RuleForm:
    """The rule whose audience was asked for."""
    return RuleForm(posted, prefix=f"{RULES}-{posted[SIZE]}", **options)


def rule_audience(environment: Environment, form: RuleForm) -> Estimate | None:
    """Who the rule is for, before its percentage."""
    segment = () if form.for_all_segments else (InSegment((form["segment"].value(),), False),)
    return audience_of(environment, form.conditions, *segment)
