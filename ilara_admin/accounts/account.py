"""The signed-in user's account: name, time zone, password."""

import zoneinfo
from datetime import datetime
from functools import lru_cache

from django import forms
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from ilara_admin.accounts.throttle import Kind, count_try, forgive, refused, wait_text
from ilara_admin.core.passwords import RULES_TEXT
from ilara_admin.core.staff import staff_set_password, staff_update
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, show_last_environment, staff_view
from ilara_admin.web.confirm import changed
from ilara_admin.web.forms import FormPage, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast

# Prefixes of place names in the tz database; the other names are aliases and offsets.
CONTINENTS = ("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia",
              "Europe", "Indian", "Pacific")  # fmt: skip


@lru_cache(maxsize=1)  # reads hundreds of files
def time_zones() -> tuple[str, ...]:
    names = zoneinfo.available_timezones()
    return ("UTC", *sorted(name for name in names if name.partition("/")[0] in CONTINENTS))


class AccountForm(forms.Form):
    name = forms.CharField(
        max_length=150,
        required=False,
        help_text="Shown with your changes and in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    time_zone = forms.ChoiceField(
        choices=lambda: [(name, name.replace("_", " ")) for name in time_zones()],
        help_text="Times are shown in this zone; their tooltips add UTC.",
    )


class ChangePasswordForm(PasswordChangeForm):
    """Django's form. Wrong old passwords are limited: a session may be another person's."""

    allowed_at: datetime | None = None

    def __init__(self, request: HtmxHttpRequest) -> None:
        self.request = request
        super().__init__(request.user, request.POST if request.method == "POST" else None)
        self.fields["new_password1"].help_text = RULES_TEXT
        self.fields["new_password2"].help_text = ""
        self.fields["new_password2"].label = "New password again"

    def clean_old_password(self) -> str:
        username = self.request.user.username
        self.allowed_at = count_try(Kind.REAUTHENTICATION, self.request, username)
        if self.allowed_at:
            raise ValidationError(wait_text(self.allowed_at), code="throttled")
        password = super().clean_old_password()
        forgive(Kind.REAUTHENTICATION, self.request, username)
        return password


@staff_view(Role.VIEWER, "GET", "POST")
def account(request: HtmxHttpRequest) -> HttpResponse:
    show_last_environment(request)
    user = request.user
    initial = {"name": user.get_full_name(), "time_zone": user.time_zone}
    form = AccountForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_valid():
        given = form.cleaned_data
        entry = staff_update(
            user, name=given["name"], time_zone=given["time_zone"], actor=actor_of(request)
        )
        return changed(request, reverse("account"), entry, "Account saved.")
    status = 422 if form.errors else 200
    return render(request, "accounts/account.html", {"form": form}, status=status)


@staff_view(Role.VIEWER, "GET", "POST")
def account_password(request: HtmxHttpRequest) -> HttpResponse:
    show_last_environment(request)
    form = ChangePasswordForm(request)
    if form.is_valid():
        password = form.cleaned_data["new_password1"]
        user = staff_set_password(request.user, password=password, actor=actor_of(request))
        update_session_auth_hash(request, user)  # stay signed in
        response = redirect_to(request, reverse("account"))
        return with_toast(request, response, "Password changed.")
    page = FormPage(
        title="Change your password",
        button="Change password",
        form=form,
        cancel_url=reverse("account"),
        text="Your other sessions are signed out.",
    )
    response = render_form(request, page)
    return refused(request, response, form.allowed_at) if form.allowed_at else response
