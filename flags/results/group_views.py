"""The pages of experiment groups: the list with who has which players, new, edit, delete; and the
group of an experiment."""

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.http import HttpResponse
from django.shortcuts import render

from flags.dashboard.forms import percent_field
from flags.models import Experiment, ExperimentGroup
from flags.results import groups
from flags.results.group_ranges import gaps, ranges_of
from ilara_admin.core.changes import MAX_REASON, Conflict, reason_of
from ilara_admin.core.percentages import as_percent, thousandths
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, may, staff_view
from ilara_admin.web.confirm import Confirm, changed, form_conflict, is_review, render_confirm
from ilara_admin.web.forms import FormPage, SeenForm, add_errors, render_form
from ilara_admin.web.htmx import HtmxHttpRequest
from segments.keys import KEY, KEY_FORM

COLOURS = 6


class ExperimentGroupForm(SeenForm):
    """`key` is asked for a new group only."""

    key = forms.CharField(
        max_length=128,
        validators=[RegexValidator(rf"^{KEY.pattern}\Z", KEY_FORM)],
        help_text="Such as <code>economy</code>. It cannot be changed.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    name = forms.CharField(max_length=groups.MAX_NAME, required=False)
    share = percent_field(
        "Holdout, %",
        help_text="The share of players who are in no experiment of the group. It can grow only by "
        "players who are free.",
    )
    reason = forms.CharField(
        max_length=MAX_REASON, required=False, help_text="Stored in the audit log."
    )

    def __init__(self, group: ExperimentGroup | None, data: Any = None) -> None:
        now = groups.fields_of(group) if group else {}
        share = as_percent(group.holdout) if group else 10
        super().__init__(group.key if group else "", now, data, {"share": share})
        if group is not None:
            del self.fields["key"]

    def wanted(self) -> dict[str, Any]:
        data = self.cleaned_data
        return {"name": data["name"], "holdout": thousandths(data["share"])}


@staff_view(Role.VIEWER)
def group_list(request: HtmxHttpRequest) -> HttpResponse:
    found = ExperimentGroup.objects.filter(environment=request.environment)
    context = {"rows": list(map(_shown, found)), "may_edit": may(request, Role.LIVE_OPS)}
    return render(request, "flags/results/group_list.html", context)


def _shown(group: ExperimentGroup) -> dict[str, Any]:
    owned = ranges_of(group)
    parts = [
        {
            "experiment": each.experiment,
            "start": each.start,
            "end": each.end,
            "width": each.end - each.start,
            "series": 2 + number % (COLOURS - 1),
        }
        for number, each in enumerate(owned)
    ]
    free = gaps(group.holdout, [(each.start, each.end) for each in owned])
    return {"group": group, "parts": parts, "free": sum(end - start for start, end in free)}


@staff_view(Role.LIVE_OPS, "GET", "POST")
def group_new(request: HtmxHttpRequest) -> HttpResponse:
    form = ExperimentGroupForm(None, request.POST if request.method == "POST" else None)
    url = environment_url(request, "group_list")
    if form.is_bound and form.is_valid():
        key = form.cleaned_data["key"]
        group = ExperimentGroup(environment=request.environment, key=key, **form.wanted())
        group.name = group.name or key
        try:
            entry = groups.group_insert(group, actor=actor_of(request), reason=reason_of(request))
        except ValidationError as error:
            _add_errors(form, error)
        else:
            return changed(request, url, entry, f"Created the group {key}.")
    return render_form(request, FormPage("New group", "Create", form, url))


@staff_view(Role.LIVE_OPS, "GET", "POST")
def group_edit(request: HtmxHttpRequest, group_key: str) -> HttpResponse:
    group = get_or_404(request, ExperimentGroup, key=group_key)
    form = ExperimentGroupForm(group, request.POST if request.method == "POST" else None)
    url = environment_url(request, "group_list")
    if form.is_bound and form.is_valid() and not is_review(request):
        try:
            _, entry = groups.group_update(
                group, form.wanted(), actor=actor_of(request), seen=form.cleaned_data["seen"],
                reason=reason_of(request),
            )  # fmt: skip
        except ValidationError as error:
            _add_errors(form, error)
        except Conflict as conflict:
            return form_conflict(request, form, conflict, url)
        else:
            return changed(request, url, entry, f"Saved {group.key}.")
    return render_form(request, FormPage(f"Edit {group.key}", "Save", form, url))


def _add_errors(form: ExperimentGroupForm, error: ValidationError) -> None:
    """The form has the holdout in percent, under another name than the service."""
    if hasattr(error, "error_dict") and "holdout" in error.error_dict:
        error = ValidationError({"share": error.error_dict["holdout"]})
    add_errors(form, error)


@staff_view(Role.LIVE_OPS, "GET", "POST")
def group_delete(request: HtmxHttpRequest, group_key: str) -> HttpResponse:
    group = get_or_404(request, ExperimentGroup, key=group_key)
    url = environment_url(request, "group_list")
    keys = list(group.experiments.order_by("key").values_list("key", flat=True))
    text = "No experiment was ever in it."
    if keys:
        text = f"It cannot be deleted: the experiments {', '.join(keys)} are in it."
    confirm = Confirm(
        title=f"Delete {group.key}",
        button="" if keys else f"Delete {group.key}",
        cancel_url=url,
        text=text,
        tone="danger",
    )
    if request.method == "POST" and not keys:
        entry = groups.group_delete(group, actor=actor_of(request), reason=reason_of(request))
        return changed(request, url, entry, f"Deleted the group {group_key}.")
    return render_confirm(request, confirm)


# --- One experiment -------------------------------------------------------------------------------


class AssignForm(forms.Form):
    group = forms.ChoiceField(required=False)
    share = percent_field(
        "Players, %",
        required=False,
        help_text="The experiment gets the lowest free players of the group. When it starts, its "
        "rule is limited to them.",
    )
    reason = forms.CharField(
        max_length=MAX_REASON, required=False, help_text="Stored in the audit log."
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def experiment_group(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """Choose the group of a draft, and its share of the group's players."""
    experiment = get_or_404(request, Experiment, key=key)
    found = ExperimentGroup.objects.filter(environment=request.environment)
    by_key = {each.key: each for each in found}
    initial: dict[str, Any] = {"share": 20}
    if experiment.group is not None:
        width = (experiment.end_bucket or 0) - (experiment.first_bucket or 0)
        initial = {"group": experiment.group.key, "share": as_percent(width)}
    form = AssignForm(request.POST if request.method == "POST" else None, initial=initial)
    field = form.fields["group"]
    assert isinstance(field, forms.ChoiceField)
    field.choices = [("", "None"), *((each.key, each.name) for each in found)]
    url = environment_url(request, "experiment_detail", key)
    if form.is_bound and form.is_valid():
        group = by_key.get(form.cleaned_data["group"])
        share = thousandths(form.cleaned_data["share"] or Decimal(0))
        try:
            entry = groups.group_assign(
                experiment, group, share, actor=actor_of(request), reason=reason_of(request)
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            return changed(request, url, entry, f"Saved the group of {key}.")
    return render_form(request, FormPage(f"Group of {key}", "Save", form, url))
