"""The second factor of a sign-in, and the sign-in with a passkey alone."""

import json
from datetime import datetime
from typing import Any

from allauth.account.internal.flows.login import perform_login
from allauth.account.models import Login
from allauth.account.stages import LoginStageController
from allauth.core.internal import ratelimit
from allauth.mfa.base.internal.flows import post_authentication
from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from ilara_admin.accounts.adapters import SecondFactorStage
from ilara_admin.accounts.factors import Factors, factor_of_code, factors_of
from ilara_admin.accounts.passkeys import (
    AnswerForm,
    can_have_passkeys,
    passkey_of_answer,
    sign_in_question,
)
from ilara_admin.accounts.throttle import Kind, count_try, forgive, refused, wait_text
from ilara_admin.models import User

CODE_ATTRS = {
    "autocomplete": "one-time-code",
    "inputmode": "numeric",
    "spellcheck": "false",
    "autofocus": True,
}


class FactorForm(forms.Form):
    """A code of an account's app, one of its recovery codes, or an answer of one of its passkeys.
    A valid form has the `factor` that was used."""

    code = forms.CharField(max_length=40, widget=forms.TextInput(CODE_ATTRS))
    credential = forms.JSONField(required=False, widget=forms.HiddenInput)

    def __init__(self, request: HttpRequest, user: User, factors: Factors, kind: Kind) -> None:
        self.request, self.user, self.kind = request, user, kind
        self.allowed_at: datetime | None = None
        self.factor: Authenticator | None = None
        super().__init__(request.POST if request.method == "POST" else None)
        self.by_passkey = bool(self.data.get("credential"))
        code = self.fields["code"]
        code.required = not self.by_passkey
        code.label = "Code" if factors.app else "Recovery code"
        code.help_text = (
            "From your authenticator app, or one of your recovery codes."
            if factors.app
            else "One of those that you saved."
        )

    def clean(self) -> dict[str, Any]:
        if self.errors:
            return self.cleaned_data
        if self.by_passkey:  # a signature cannot be guessed
            self.factor = passkey_of_answer(self.cleaned_data["credential"], self.user)
            self.factor.user = self.user
            return self.cleaned_data
        self.allowed_at = count_try(self.kind, self.request, self.user.username)
        if self.allowed_at is not None:
            raise ValidationError(wait_text(self.allowed_at, "wrong codes"), code="throttled")
        self.factor = factor_of_code(self.user, self.cleaned_data.get("code", ""))
        if self.factor is None:
            raise ValidationError({"code": "This code is wrong, too old, or already used."})
        forgive(self.kind, self.request, self.user.username)
        return self.cleaned_data


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def second_factor(request: HttpRequest) -> HttpResponse:
    """The step between the password and the first page."""
    stage: SecondFactorStage | None = LoginStageController.enter(request, SecondFactorStage.key)
    if request.user.is_authenticated:
        return redirect("home")
    if stage is None or not stage.is_current():
        if request.method == "POST":
            messages.warning(request, "This took too long. Start again.")
        return redirect("sign_in")
    user = stage.login.user
    factors = factors_of(user)
    form = FactorForm(request, user, factors, Kind.SECOND_FACTOR)
    if form.is_valid():
        assert form.factor is not None
        post_authentication(request, form.factor)
        response: HttpResponse = stage.exit()
        return response
    return factor_page(request, "accounts/second_factor.html", form, factors, {})


def factor_page(
    request: HttpRequest, template: str, form: FactorForm, factors: Factors, context: dict[str, Any]
) -> HttpResponse:
    """A page that asks for a second factor. Context: form, factors, question (of the passkeys)."""
    context |= {"form": form, "factors": factors}
    if factors.passkeys and can_have_passkeys(request):
        context["question"] = json.dumps(sign_in_question(form.user))
    response = render(request, template, context, status=422 if form.errors else 200)
    return refused(request, response, form.allowed_at) if form.allowed_at else response


@login_not_required
@never_cache
@require_POST
def passkey_sign_in(request: HttpRequest) -> HttpResponse:
    """Without a credential the question for the browser, as JSON; with one the sign-in."""
    if request.user.is_authenticated:
        return redirect("home")
    if not ratelimit.consume(request, app="allauth.mfa", action="webauthn_login"):
        return HttpResponse("Too many sign-ins. Wait a minute.", status=429)
    if not request.POST.get("credential"):
        return JsonResponse(sign_in_question())
    form = AnswerForm(request.POST)
    try:
        if not form.is_valid():
            raise ValidationError("Not valid")
        factor = passkey_of_answer(form.cleaned_data["credential"])
    except ValidationError:
        messages.error(request, "This passkey was not accepted. Use your password.")
        return redirect("sign_in")
    post_authentication(request, factor, passwordless=True)
    login = Login(user=factor.user, redirect_url=_next(request))
    response: HttpResponse = perform_login(request, login)
    return response


def _next(request: HttpRequest) -> str | None:
    url = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(
        url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return url if safe else None
