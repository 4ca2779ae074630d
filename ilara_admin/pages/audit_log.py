"""The audit log: who changed what, when and why."""

from django import forms
from django.http import HttpResponse

from ilara_admin.models import AuditEntry, Role
from ilara_admin.pages.audit_text import audit_lines
from ilara_admin.web.access import staff_view
from ilara_admin.web.filters import FilterForm, render_list
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.pagination import KeysetPage

KINDS = {
    "flag": "Flags",
    "segment": "Segments",
    "player": "Players",
    "event_name": "Events",
    "api_key": "API keys",
    "environment": "Environments",
    "project": "Projects",
    "staff": "Staff",
}
SEARCH = {"type": "search", "autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class AuditFilterForm(FilterForm):
    object = forms.CharField(
        required=False,
        max_length=300,
        widget=forms.TextInput(
            attrs={**SEARCH, "class": "mono", "placeholder": "flag:new_tutorial"}
        ),
    )
    kind = forms.ChoiceField(
        label="Type", required=False, choices=[("", "Everything"), *KINDS.items()]
    )
    actor = forms.CharField(
        label="Who",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={**SEARCH, "placeholder": "Name"}),
    )


@staff_view(Role.VIEWER)
def audit_list(request: HtmxHttpRequest) -> HttpResponse:
    """Newest first. Only admins see entries about staff."""
    form = AuditFilterForm(request)
    entries = AuditEntry.objects.of(request.environment)
    if request.user.may(Role.ADMIN):
        entries = AuditEntry.objects.with_staff(request.environment)
    if kind := form.value("kind"):
        entries = entries.filter(object_type=kind)
    if actor := form.value("actor"):
        entries = entries.filter(actor_name__icontains=actor)
    if wanted := form.value("object"):
        entries = entries.about(wanted)
    page = KeysetPage.of(entries.order_by("-id"), request)
    context = {"form": form, "page": page, "lines": audit_lines(request, page.rows)}
    return render_list(request, "ilara_admin/audit_list.html", context)
