"""Settings of an environment and its project, and forms to create both."""

from typing import Any, NamedTuple

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from ilara_admin.core.changes import Conflict
from ilara_admin.core.projects import environment_fields, environment_update, project_update
from ilara_admin.models import Environment, Role, Tier
from ilara_admin.pages.freezes import freezes_of
from ilara_admin.pages.guard_settings import NEEDS, guard_fields, guard_rows
from ilara_admin.starter import environment_open, project_open
from ilara_admin.web.access import actor_of, environment_url, may, project_environments, staff_view
from ilara_admin.web.confirm import changed, form_conflict, is_review
from ilara_admin.web.forms import FormPage, LinesField, SeenForm, add_errors, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast
from players.values import ATTRIBUTE, fill_shares

SLUG = forms.TextInput(
    attrs={"class": "mono", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
)


def _reason() -> forms.CharField:
    return forms.CharField(
        required=False,
        max_length=500,
        help_text="Shown in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


def _days(label: str, help_text: str) -> forms.IntegerField:
    return forms.IntegerField(label=label, min_value=1, max_value=3650, help_text=help_text)


class NamesField(LinesField):
    """Names, one per line; the value is the sorted list."""

    def clean(self, value: Any) -> list[str]:
        return sorted({line.strip() for line in super().clean(value)} - {""})


class EnvironmentForm(SeenForm):
    new_days = _days(
        "New for, in days", "Days a player counts as new after the first visit or a return."
    )
    at_risk_days = _days(
        "At risk after, in days", "Days without a visit until a player is at risk."
    )
    churned_days = _days(
        "Churned after, in days",
        "Days without a visit until a player has churned. More than for “at risk”.",
    )
    currency = forms.CharField(
        min_length=3,
        max_length=3,
        help_text=(
            "A three-letter code, like USD. Purchases in other currencies are stored but not "
            "counted; existing totals are not converted."
        ),
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off"}),
    )
    retention_days = _days("Keep events for, in days", "Older events are deleted permanently.")
    public_keys_read_email = forms.BooleanField(
        label="Public keys read e-mails",
        required=False,
        help_text=(
            "Off: they read p***@example.com. On: anyone with a public key can read the e-mail of "
            "a player whose id they know."
        ),
        widget=forms.CheckboxInput(attrs={"class": "switch", "role": "switch"}),
    )
    public_keys_restricted = forms.BooleanField(
        label="Restrict public keys",
        required=False,
        help_text=(
            "On: they can only register players, track events and evaluate flags and segments. "
            "Games that read players or record purchases with a public key fail at once."
        ),
        widget=forms.CheckboxInput(attrs={"class": "switch", "role": "switch"}),
    )
    searchable_attributes = NamesField(
        required=False,
        help_text="Staff find players by their values, such as user_name. One name per line.",
    )
    personal_attributes = NamesField(
        required=False,
        help_text="Masked below the role support, as e-mails, device ids and linked ids are.",
    )
    personal_properties = NamesField(
        label="Personal event properties",
        required=False,
        help_text="Masked below the role support, in events of any name.",
    )
    reason = _reason()

    def clean_currency(self) -> str:
        return str(self.cleaned_data["currency"]).upper()


class ProjectForm(SeenForm):
    name = forms.CharField(max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    tier = forms.ChoiceField(
        choices=Tier.choices,
        help_text=(
            "Rate limits of each environment, in force on the next request: Free 100 requests per "
            "minute and 10 events per second, Growth 1,000 and 100, Pro 10,000 and 1,000."
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
        label="Slug",
        help_text=(
            "Part of the dashboard's URLs: lowercase letters, digits and hyphens. "
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
            "Like “staging”: lowercase letters, digits and hyphens. It is part of keys and "
            "URLs and cannot be changed later."
        ),
        widget=SLUG,
    )


class SettingRow(NamedTuple):
    label: str
    value: str
    text: str = ""


def environment_rows(environment: Environment) -> list[SettingRow]:
    """The settings as text."""
    new, at_risk, churned = (
        _days_text(environment.new_days),
        _days_text(environment.at_risk_days),
        _days_text(environment.churned_days),
    )
    masked, full = "Masked", "In full"
    return [
        SettingRow("New", f"for {new}", "after the first visit or a return"),
        SettingRow("At risk", f"after {at_risk}", "without a visit"),
        SettingRow("Churned", f"after {churned}", "without a visit"),
        SettingRow("Currency", environment.currency, "other currencies are not counted"),
        SettingRow("Events", f"kept for {_days_text(environment.retention_days)}"),
        SettingRow(
            "E-mails read by public keys", full if environment.public_keys_read_email else masked
        ),
        SettingRow(
            "Public keys can",
            "register, track and evaluate" if environment.public_keys_restricted
            else "make all calls except listing players and streaming events",
        ),
        SettingRow(
            "Searchable attributes",
            _names(environment.searchable_attributes, "none"),
            ", ".join(
                f"{field.removeprefix(ATTRIBUTE)}: values of {share:.0%} of the players collected"
                for field, share in fill_shares(environment).items()
            ),
        ),
        SettingRow(
            "Personal attributes",
            _names(environment.personal_attributes, "none"),
            "masked below the role support",
        ),
        SettingRow(
            "Personal event properties",
            _names(environment.personal_properties, "none"),
            "masked below the role support",
        ),
    ]  # fmt: skip


def _names(names: list[str], none: str) -> str:
    return ", ".join(names) or none


def _days_text(days: int) -> str:
    return f"{days} day{'' if days == 1 else 's'}"


# --- Views ----------------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def environment_settings(request: HtmxHttpRequest) -> HttpResponse:
    guarded = guard_fields(request.environment)
    context = {
        "facts": environment_rows(request.environment),
        "rows": guard_rows(guarded),
        "needs": NEEDS.values(),
        "is_guarded": any(guarded.values()),
        "freezes": freezes_of(request),
        "now": timezone.now(),
        "zone": timezone.get_current_timezone_name(),
        "siblings": [each for each in project_environments(request) if each != request.environment],
        "can_edit": may(request, Role.ADMIN),
        "can_open": may(request, Role.OWNER),
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
            text = f"Settings of {environment.slug} saved, in force on the next request."
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
            return changed(request, url, entry, f"{form.cleaned_data['name']} saved.")
    return render_form(request, FormPage(f"Project {project.name}", "Save", form, url))


@staff_view(Role.OWNER, "GET", "POST")
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
            return to_keys(request, first, f"{project.name} created. Create its first key here.")
    page = FormPage(
        title="New project",
        button="Create project",
        form=form,
        cancel_url=environment_url(request, "environment_settings"),
        text=(
            "A separate game with the environments live and test. Each starts with an example "
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
            created = environment_open(
                project=project, slug=form.cleaned_data["slug"], actor=actor_of(request)
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            text = f"{created.slug} created. Create its first key here."
            return to_keys(request, created, text)
    page = FormPage(
        title=f"New environment of {project.name}",
        button="Create environment",
        form=form,
        cancel_url=environment_url(request, "environment_settings"),
        text="It has separate keys, players, flags and events, and starts with an example segment "
        "and two example flags.",
    )
    return render_form(request, page)


def to_keys(request: HtmxHttpRequest, environment: Environment, text: str) -> HttpResponse:
    """Redirect to the keys, the next step for a new environment."""
    url = reverse("key_list", args=[environment.project.slug, environment.slug])
    return with_toast(request, redirect_to(request, url), text)
