"""Asks again who is there, before what could take an account over: changes of second factors."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.base.internal.flows import post_authentication
from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from ilara_admin.accounts.factors import Factors, factors_of
from ilara_admin.accounts.second_step import FactorForm, factor_page
from ilara_admin.accounts.throttle import Kind, count_try, forgive, wait_text
from ilara_admin.models import Role
from ilara_admin.web.access import show_last_environment, staff_view
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to
from ilara_admin.web.second_factor import lacks_second_factor

RECENT_SECONDS = 15 * 60

type AccountView = Callable[..., HttpResponse]


def identity_confirmed(view: AccountView) -> AccountView:
    """Lead to the page below unless the user signed in, or came from it, in the last minutes."""

    @wraps(view)
    def guarded(request: HtmxHttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        records = get_authentication_records(request, request.user)
        if records and time.time() - records[-1]["at"] < RECENT_SECONDS:
            return view(request, *args, **kwargs)
        query = urlencode({"next": request.path})
        return redirect_to(request, f"{reverse('account_identity')}?{query}")

    return guarded


class IdentityForm(FactorForm):
    """The password, or a second factor. A valid form has the `factor` or `knows_password`."""

    knows_password = False
    password = forms.CharField(
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput({"autocomplete": "current-password", "autofocus": True}),
    )

    def __init__(self, request: HtmxHttpRequest, factors: Factors) -> None:
        super().__init__(request, request.user, factors, Kind.REAUTHENTICATION)
        by_password = request.user.has_usable_password() and not lacks_second_factor(request)
        del self.fields["code" if by_password else "password"]
        if by_password:
            self.fields["password"].required = not self.by_passkey

    def clean(self) -> dict[str, Any]:
        if self.errors or self.by_passkey or "password" not in self.fields:
            return super().clean()
        username = self.user.username
        self.allowed_at = count_try(self.kind, self.request, username)
        if self.allowed_at is not None:
            raise ValidationError(wait_text(self.allowed_at), code="throttled")
        if not self.user.check_password(self.cleaned_data["password"]):
            raise ValidationError({"password": "This is not your password."})
        forgive(self.kind, self.request, username)
        self.knows_password = True
        return self.cleaned_data


@staff_view(Role.VIEWER, "GET", "POST", before_second_factor=True)
def account_identity(request: HtmxHttpRequest) -> HttpResponse:
    show_last_environment(request)
    factors = factors_of(request.user)
    form = IdentityForm(request, factors)
    url = request.GET.get("next", "")
    if not url_has_allowed_host_and_scheme(url, allowed_hosts=None):
        url = reverse("account_security")
    if form.is_valid():
        if form.factor:
            post_authentication(request, form.factor)
        elif form.knows_password:
            record_authentication(request, request.user, "password")
        return redirect_to(request, url)
    return factor_page(request, "accounts/identity.html", form, factors, {})
