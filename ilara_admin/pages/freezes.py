"""Freeze windows of an environment: planning, editing and deleting them. The settings list them."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.utils import timezone

from ilara_admin.core import freezes
from ilara_admin.core.changes import reason_of
from ilara_admin.models import FreezeWindow, Role
from ilara_admin.templatetags.ilara import both_zones
from ilara_admin.web.access import actor_of, environment_url, get_or_404, staff_view
from ilara_admin.web.confirm import Confirm, changed, render_confirm
from ilara_admin.web.forms import FormPage, add_errors, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast
from ilara_admin.web.moment_field import MomentField

SHOWN = 20


def freezes_of(request: HtmxHttpRequest) -> list[FreezeWindow]:
    """The windows that end last."""
    windows = FreezeWindow.objects.filter(environment=request.environment)
    return list(windows.order_by("-ends_at", "-id")[:SHOWN])


class FreezeForm(forms.Form):
    starts_at = MomentField(label="From")
    ends_at = MomentField(label="Until")
    # The page of the guard asks for the reason of the change in a field of the name `reason`.
    shown = forms.CharField(
        label="Reason",
        max_length=500,
        help_text="Shown on every page of the environment, like “Christmas sale”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        zone = timezone.get_current_timezone_name()
        self.fields["starts_at"].help_text = f"Times are in {zone}, your time zone."


@staff_view(Role.ADMIN, "GET", "POST")
def freeze_new(request: HtmxHttpRequest) -> HttpResponse:
    return _edit(request, None)


@staff_view(Role.ADMIN, "GET", "POST")
def freeze_edit(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    return _edit(request, get_or_404(request, FreezeWindow, id=pk))


def _edit(request: HtmxHttpRequest, window: FreezeWindow | None) -> HttpResponse:
    url, slug = environment_url(request, "environment_settings"), request.environment.slug
    initial = {}
    if window:
        initial = {
            "starts_at": window.starts_at, "ends_at": window.ends_at, "shown": window.reason,
        }  # fmt: skip
    form = FreezeForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_valid():
        given = {**form.cleaned_data, "actor": actor_of(request)}
        given["reason"] = given.pop("shown")
        try:
            if window:
                entry = freezes.freeze_update(window, **given, why=reason_of(request))
                return changed(request, url, entry, f"Freeze of {slug} saved.")
            freezes.freeze_create(request.environment, **given)
        except ValidationError as error:
            add_errors(form, error)
        else:
            return with_toast(request, redirect_to(request, url), f"Freeze of {slug} planned.")
    return render_form(
        request,
        FormPage(
            title=f"Freeze of {slug}" if window else f"Plan a freeze of {slug}",
            button="Save" if window else "Plan",
            form=form,
            cancel_url=url,
            text="In this time nothing that players notice can be changed, except by an admin who "
            "breaks glass. Turning a flag off always works.",
        ),
    )


@staff_view(Role.ADMIN, "GET", "POST")
def freeze_delete(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    window = get_or_404(request, FreezeWindow, id=pk)
    url = environment_url(request, "environment_settings")
    if request.method == "POST":
        entry = freezes.freeze_delete(window, actor=actor_of(request), why=reason_of(request))
        return changed(request, url, entry, "Freeze deleted.")
    times = f"{both_zones(window.starts_at)} until {both_zones(window.ends_at)}"
    confirm = Confirm(
        title=f"Delete the freeze “{window.reason}”",
        button="Delete",
        cancel_url=url,
        text=f"From {times}. Changes are possible in this time again.",
        tone="danger",
    )
    return render_confirm(request, confirm)
