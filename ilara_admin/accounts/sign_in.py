"""The sign-in page. Attempts are limited, see throttle.py."""

from datetime import datetime
from typing import Any, cast

from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpResponse

from ilara_admin.accounts.mails import is_configured
from ilara_admin.accounts.passkeys import can_have_passkeys
from ilara_admin.accounts.throttle import Kind, count_try, forgive, refused, wait_text


class SignInForm(AuthenticationForm):
    allowed_at: datetime | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].widget.attrs["spellcheck"] = "false"

    def clean(self) -> dict[str, Any]:
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if not username or not password:
            return self.cleaned_data
        assert self.request is not None
        self.allowed_at = count_try(Kind.SIGN_IN, self.request, username)
        if self.allowed_at is not None:
            raise ValidationError(wait_text(self.allowed_at), code="throttled")
        cleaned = super().clean()
        forgive(Kind.SIGN_IN, self.request, username)
        return cleaned

    def get_invalid_login_error(self) -> ValidationError:
        return ValidationError(
            "Wrong username or password. Both are case-sensitive.", code="invalid_login"
        )


class SignInView(LoginView):
    """Django's view, which checks `next`. allauth continues once the password is right."""

    template_name = "accounts/sign_in.html"
    authentication_form = SignInForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        more = {"with_passkeys": can_have_passkeys(self.request), "by_mail": is_configured()}
        return super().get_context_data(**kwargs) | more

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        login = Login(user=user, redirect_url=self.get_success_url())
        credentials = {"username": user.username}
        response: HttpResponse = perform_password_login(self.request, credentials, login)
        return response

    def form_invalid(self, form: forms.BaseForm) -> HttpResponse:
        allowed_at = cast(SignInForm, form).allowed_at
        response = self.render_to_response(self.get_context_data(form=form), status=422)
        return refused(self.request, response, allowed_at) if allowed_at else response
