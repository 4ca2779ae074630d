"""Settings of the environment and of its project, and new ones of both."""

from typing import Any, NamedTuple

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from ilara_admin.core.changes import Conflict
from ilara_admin.core.projects import environment_fields, environment_update, project_update
from ilara_admin.models import Environment, Role, Tier
from ilara_admin.starter import environment_open, project_open
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import changed, form_conflict, is_review
from ilara_admin.web.forms import FormPage, SeenForm, add_errors, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast

SLUG = forms.TextInput(
    attrs={"class": "mono", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
)


def _reason() -> forms.CharField:
    return forms.CharField(
        required=False,
        max_length=500,
        help_text="Kept in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


def _days(label: str, help_text: str) -> forms.IntegerField:
    return forms.IntegerField(label=label, min_value=1, max_value=3650, help_text=help_text)


class EnvironmentForm(SeenForm):
    new_days = _days(
        "New for, in days", "So long after the first visit, or after a return, a player is new."
    )
    at_risk_days = _days(
        "At risk after, in days", "A player who was not seen for so long is at risk."
    )
    churned_days = _days(
        "Churned after, in days",
        "A player who was not seen for so long has churned. More than the days above.",
    )
    currency = forms.CharField(
        min_length=3,
        max_length=3,
        help_text=(
            "Three letters, like USD. Purchases in another currency are kept but not counted; "
            "totals so far are not converted."
        ),
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off"}),
    )
    retention_days = _days("Keep events for, in days", "Older events are deleted for good.")
    public_keys_read_email = forms.BooleanField(
        label="Public keys read e-mails",
        required=False,
        help_text=(
            "Off, they see p***@example.com. On, whoever takes the key out of a game can read the "
            "e-mail of a player whose id they know."
        ),
        widget=forms.CheckboxInput(attrs={"class": "switch", "role": "switch"}),
    )
    public_keys_restricted = forms.BooleanField(
        label="Restrict public keys",
        required=False,
        help_text=(
            "On, they register players, track events and evaluate flags and segments, nothing "
            "else. Games that read players or record purchases themselves stop doing so at once."
        ),
        widget=forms.CheckboxInput(attrs={"class": "switch", "role": "switch"}),
    )
    reason = _reason()

    def clean_currency(self) -> str:
        return str(self.cleaned_data["currency"]).upper()


class ProjectForm(SeenForm):
    name = forms.CharField(max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    tier = forms.ChoiceField(
        choices=Tier.choices,
        help_text=(
            "The rate limits of each of its environments, in force on the next request: Free 100 "
            "requests a minute and 10 events a second, Growth 1,000 and 100, Pro 10,000 and 1,000."
        ),
    )
    reason = _reason()


class NewProjectForm(forms.Form):
    name = forms.CharField(
        max_length=100,
        help_text="The name of the game.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    slug = forms.CharField(
        max_length=40,
        label="Address",
        help_text=(
            "Its part in the addresses of the dashboard: lower-case letters, digits and hyphens. "
            "It cannot be changed later."
        ),
        widget=SLUG,
    )
    tier = forms.ChoiceField(choices=Tier.choices, initial=Tier.ENTERPRISE)


class NewEnvironmentForm(forms.Form):
    slug = forms.CharField(
        max_length=20,
        label="Name",
        help_text=(
            "Like “staging”: lower-case letters, digits and hyphens. It becomes a part of its keys "
            "and addresses and cannot be changed later."
        ),
        widget=SLUG,
    )


class SettingRow(NamedTuple):
    label: str
    value: str
    text: str = ""


def environment_rows(environment: Environment) -> list[SettingRow]:
    """The settings as staff read them."""
    new, at_risk, churned = (
        _day_words(environment.new_days),
        _day_words(environment.at_risk_days),
        _day_words(environment.churned_days),
    )
    masked, full = "Masked", "In full"
    return [
        SettingRow("New", f"for {new}", "after the first visit or a return"),
        SettingRow("At risk", f"after {at_risk}", "without being seen"),
        SettingRow("Churned", f"after {churned}", "without being seen"),
        SettingRow("Currency", environment.currency, "purchases in others are not counted"),
        SettingRow("Events", f"kept for {_day_words(environment.retention_days)}"),
        SettingRow(
            "E-mails read by public keys", full if environment.public_keys_read_email else masked
        ),
        SettingRow(
            "Public keys may",
            "register, track and evaluate" if environment.public_keys_restricted
            else "do all but list players and stream events",
        ),
    ]  # fmt: skip


def _day_words(days: int) -> str:
    return f"{days} day{'' if days == 1 else 's'}"


# --- Views ----------------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def environment_settings(request: HtmxHttpRequest) -> HttpResponse:
    context = {
        "facts": environment_rows(request.environment),
        "can_edit": request.user.may(Role.ADMIN),
    }
    return render(request, "ilara_admin/settings.html", context)


@staff_view(Role.ADMIN, "GET", "POST")
def environment_edit(request: HtmxHttpRequest) -> HttpResponse:
    environment = request.environment
    url = environment_url(request, "environment_settings")
    posted = request.POST if request.method == "POST" else None
    form = EnvironmentForm(f"environment:{environment.pk}", environment_fields(environment), posted)
    if form.is_valid() and not is_review(request):
        given: dict[str, Any] = dict(form.cleaned_data)
        reason, seen = given.pop("reason"), given.pop("seen")
        try:
            entry = environment_update(
                environment, given, seen=seen, actor=actor_of(request), reason=reason
            )
        except ValidationError as error:
            add_errors(form, error)
        except Conflict as conflict:
            return form_conflict(request, form, conflict, url)
        else:
            text = f"The settings of {environment.slug} are in force from the next request on."
            return changed(request, url, entry, text)
    return render_form(request, FormPage(f"Settings of {environment.slug}", "Save", form, url))


@staff_view(Role.ADMIN, "GET", "POST")
def project_edit(request: HtmxHttpRequest) -> HttpResponse:
    project = request.project
    url = environment_url(request, "environment_settings")
    posted = request.POST if request.method == "POST" else None
    now = {"name": project.name, "tier": project.tier}
    form = ProjectForm(f"project:{project.pk}", now, posted)
    if form.is_valid() and not is_review(request):
        try:
            entry = project_update(project, **form.cleaned_data, actor=actor_of(request))
        except ValidationError as error:
            add_errors(form, error)
        except Conflict as conflict:
            return form_conflict(request, form, conflict, url)
        else:
            return changed(request, url, entry, f"{form.cleaned_data['name']} is saved.")
    return render_form(request, FormPage(f"Project {project.name}", "Save", form, url))


@staff_view(Role.ADMIN, "GET", "POST")
def project_new(request: HtmxHttpRequest) -> HttpResponse:
    form = NewProjectForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        given = form.cleaned_data
        try:
            project = project_open(
                name=given["name"],
                slug=given["slug"],
                tier=Tier(given["tier"]),
                actor=actor_of(request),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            first = project.environments.order_by("id")[0]
            return _to_keys(request, first, f"{project.name} is there. Create its first key here.")
    page = FormPage(
        title="New project",
        button="Create project",
        form=form,
        cancel_url=environment_url(request, "environment_settings"),
        text=(
            "A game of its own, with the environments live and test. Each starts with an example "
            "segment and two example flags."
        ),
    )
    return render_form(request, page)


@staff_view(Role.ADMIN, "GET", "POST")
def environment_new(request: HtmxHttpRequest) -> HttpResponse:
    project = request.project
    form = NewEnvironmentForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            made = environment_open(
                project=project, slug=form.cleaned_data["slug"], actor=actor_of(request)
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            return _to_keys(request, made, f"{made.slug} is there. Create its first key here.")
    page = FormPage(
        title=f"New environment of {project.name}",
        button="Create environment",
        form=form,
        cancel_url=environment_url(request, "environment_settings"),
        text="Keys, players, flags and events of its own, and an example segment and two flags.",
    )
    return render_form(request, page)


def _to_keys(request: HtmxHttpRequest, environment: Environment, text: str) -> HttpResponse:
    """To the next thing that a new environment needs."""
    url = reverse("key_list", args=[environment.project.slug, environment.slug])
    return with_toast(request, redirect_to(request, url), text)
