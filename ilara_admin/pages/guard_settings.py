"""Which changes of an environment need a reason, its name typed, or a second person; see
core/guard.py."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import render

from ilara_admin.core.changes import Conflict
from ilara_admin.core.guard import Act
from ilara_admin.core.projects import environment_update
from ilara_admin.models import Environment, Role
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import changed, form_conflict, is_review
from ilara_admin.web.forms import SeenForm, add_errors
from ilara_admin.web.htmx import HtmxHttpRequest

# What each act is, and what else it includes.
ACTS: Mapping[Act, tuple[str, str]] = {
    Act.TURN_ON: ("Turn a flag on", "Also restoring an archived flag that is on."),
    Act.PERCENTAGE: ("Change a percentage", "Of a rule, its steps and its dates."),
    Act.RULES: (
        "Change rules and variants",
        "Also defaults and prerequisites, of flags that are off, too.",
    ),
    Act.SEGMENT_RULES: ("Change a segment's rule", "Also creating and deleting one."),
    Act.LISTS: ("Change a segment's lists", "Adding, removing, importing and clearing ids."),
    Act.KEYS: ("Issue, rotate or revoke an API key", ""),
    Act.SETTINGS: ("Change settings", "Of the environment, its guard and its freezes."),
}
# The fields of an environment, with the headings of their columns.
NEEDS = {
    "guard_reason": "Reason",
    "guard_name": "Type the name",
    "guard_approval": "Second person",
}
_PLAYERS_NOTICE = (Act.TURN_ON, Act.PERCENTAGE, Act.RULES, Act.SEGMENT_RULES)
RECOMMENDED = {
    "guard_reason": sorted(Act),
    "guard_name": sorted([Act.LISTS, Act.KEYS, Act.SETTINGS]),
    "guard_approval": sorted(_PLAYERS_NOTICE),
}


class GuardBox(NamedTuple):
    """A checkbox of the matrix."""

    name: str
    value: str
    label: str
    checked: bool


class GuardRow(NamedTuple):
    label: str
    text: str
    boxes: Sequence[GuardBox]


def guard_rows(chosen: Mapping[str, Collection[str]]) -> list[GuardRow]:
    """The matrix; `chosen` are the acts of each field of NEEDS."""
    return [
        GuardRow(
            label,
            text,
            [
                GuardBox(name, act, f"{label}: {heading}", act in chosen[name])
                for name, heading in NEEDS.items()
            ],
        )
        for act, (label, text) in ACTS.items()
    ]


def guard_fields(environment: Environment) -> dict[str, list[str]]:
    return {name: getattr(environment, name) for name in NEEDS}


def _acts(label: str) -> forms.MultipleChoiceField:
    choices = [(act.value, text) for act, (text, _) in ACTS.items()]
    return forms.MultipleChoiceField(label=label, required=False, choices=choices)


class GuardForm(SeenForm):
    guard_reason = _acts(NEEDS["guard_reason"])
    guard_name = _acts(NEEDS["guard_name"])
    guard_approval = _acts(NEEDS["guard_approval"])
    reason = forms.CharField(
        required=False,
        max_length=500,
        help_text="Shown in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def clean(self) -> None:
        self.cleaned_data |= {name: sorted(self.cleaned_data.get(name, [])) for name in NEEDS}


@staff_view(Role.ADMIN, "GET", "POST")
def guard_edit(request: HtmxHttpRequest) -> HttpResponse:
    """The matrix as checkboxes; `?recommended=1` fills in a choice for an environment with
    players."""
    environment, url = request.environment, environment_url(request, "environment_settings")
    posted = request.POST if request.method == "POST" else None
    filled: dict[str, Any] = RECOMMENDED if "recommended" in request.GET else {}
    form = GuardForm(f"guard:{environment.pk}", guard_fields(environment), posted, filled)
    if form.is_valid() and not is_review(request):
        try:
            entry = environment_update(
                environment,
                {name: form.cleaned_data[name] for name in NEEDS},
                seen=form.cleaned_data["seen"],
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
            )
        except ValidationError as error:
            add_errors(form, error)
        except Conflict as conflict:
            return form_conflict(request, form, conflict, url)
        else:
            return changed(request, url, entry, f"Guard of {environment.slug} saved.")
    context = {
        "form": form,
        "rows": guard_rows({name: form[name].value() or [] for name in NEEDS}),
        "needs": NEEDS.values(),
        "is_recommended": bool(filled),
        "cancel_url": url,
    }
    status = 422 if form.errors else 200
    return render(request, "ilara_admin/guard_edit.html", context, status=status)
