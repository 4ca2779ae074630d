"""Pages on which users add and remove their second factors."""

from collections.abc import Sequence

from allauth.account.internal.flows.login import clear_authentication_records
from allauth.mfa.base.internal.flows import post_authentication
from allauth.mfa.models import Authenticator
from django import forms
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

from ilara_admin.accounts.factors import (
    APP,
    PASSKEY,
    app_add,
    factor_name,
    factor_remove,
    factors_of,
    passkey_add,
    recovery_codes_make,
)
from ilara_admin.accounts.identity import identity_confirmed
from ilara_admin.accounts.passkeys import (
    AnswerForm,
    can_have_passkeys,
    check_registration,
    registration_question,
)
from ilara_admin.accounts.second_step import CODE_ATTRS
from ilara_admin.accounts.sessions import other_sessions_end, sessions_of
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, show_last_environment, staff_view
from ilara_admin.web.confirm import Confirm, render_confirm
from ilara_admin.web.forms import add_errors, remember_sent, was_sent
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, render_whole, with_toast
from ilara_admin.web.second_factor import lacks_second_factor, needs_second_factor


class AppForm(forms.Form):
    code = forms.CharField(
        label="The code that the app shows",
        max_length=40,
        widget=forms.TextInput(CODE_ATTRS),
    )


class NewPasskeyForm(AnswerForm):
    name = forms.CharField(
        max_length=60,
        help_text="To tell your passkeys apart, like “Work laptop”.",
        widget=forms.TextInput({"autocomplete": "off", "autofocus": True}),
    )
    field_order = ("name", "credential")


@staff_view(Role.VIEWER)
def account_security(request: HtmxHttpRequest) -> HttpResponse:
    show_last_environment(request)
    context = {
        "factors": factors_of(request.user),
        "is_needed": needs_second_factor(request.user),
        "with_passkeys": can_have_passkeys(request),
        "sessions": sessions_of(request.user, request.session.session_key),
    }
    return render(request, "accounts/security.html", context)


@staff_view(Role.VIEWER, before_second_factor=True)
def second_factor_needed(request: HtmxHttpRequest) -> HttpResponse:
    """Where staff are led who need a second factor and have shown none in this session."""
    if not lacks_second_factor(request):
        return redirect("home")
    if factors_of(request.user).count:
        return redirect(f"{reverse('account_identity')}?next={reverse('home')}")
    show_last_environment(request)
    return render(
        request, "accounts/needed.html", {"with_passkeys": can_have_passkeys(request)}
    )  # fmt: skip


# --- Adding ---------------------------------------------------------------------------------------


@staff_view(Role.VIEWER, "GET", "POST", before_second_factor=True)
@identity_confirmed
def account_app_add(request: HtmxHttpRequest) -> HttpResponse:
    from allauth.mfa.adapter import get_adapter
    from allauth.mfa.totp.internal.auth import clear_totp_secret, get_totp_secret

    if was_sent(request):
        return _already_sent(request)
    factors = factors_of(request.user)
    if lacks_second_factor(request) and factors.count:
        return redirect("second_factor_needed")
    if factors.app:
        return redirect("account_security")
    secret = get_totp_secret()
    form = AppForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            codes = app_add(
                request.user,
                secret=secret,
                code=form.cleaned_data["code"],
                actor=actor_of(request),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            clear_totp_secret(request)
            return _added(request, Authenticator.objects.get(user=request.user, type=APP), codes)
    show_last_environment(request)
    context = {
        "form": form,
        "secret": secret,
        "spaced": " ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        "qr": qr_svg(get_adapter().build_totp_url(request.user, secret)),
    }
    status = 422 if form.errors else 200
    return render(request, "accounts/app_add.html", context, status=status)


def qr_svg(text: str) -> SafeString:
    import qrcode
    from qrcode.image.svg import SvgPathImage

    svg: str = qrcode.make(text, image_factory=SvgPathImage, border=2).to_string(encoding="unicode")
    return mark_safe(svg)  # noqa: S308  # the library's SVG: squares, no text


@staff_view(Role.VIEWER, "GET", "POST", before_second_factor=True)
@identity_confirmed
def account_passkey_add(request: HtmxHttpRequest) -> HttpResponse:
    if was_sent(request):
        return _already_sent(request)
    if lacks_second_factor(request) and factors_of(request.user).count:
        return redirect("second_factor_needed")
    form = NewPasskeyForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        given = form.cleaned_data
        try:
            check_registration(given["credential"])
        except ValidationError as error:
            add_errors(form, error)
        else:
            codes = passkey_add(request.user, **given, actor=actor_of(request))
            added = Authenticator.objects.filter(user=request.user, type=PASSKEY).latest("pk")
            return _added(request, added, codes)
    show_last_environment(request)
    context = {"form": form, "with_passkeys": can_have_passkeys(request)}
    if context["with_passkeys"]:
        context["question"] = registration_question(request.user)
    status = 422 if form.errors else 200
    return render(request, "accounts/passkey_add.html", context, status=status)


def _added(request: HtmxHttpRequest, factor: Authenticator, codes: Sequence[str]) -> HttpResponse:
    """The recovery codes of a first factor, or the page from which another one was added."""
    was_lacking = lacks_second_factor(request)
    factor.user = request.user
    post_authentication(request, factor)  # this session has shown it
    if codes:
        return _show_codes(request, codes, reverse("home" if was_lacking else "account_security"))
    text = f"{capfirst(factor_name(factor))} added."
    return with_toast(request, redirect_to(request, reverse("account_security")), text)


# --- Recovery codes -------------------------------------------------------------------------------


@staff_view(Role.VIEWER, "GET", "POST")
@identity_confirmed
def account_recovery_codes(request: HtmxHttpRequest) -> HttpResponse:
    if was_sent(request):
        return _already_sent(request)
    if not factors_of(request.user).count:
        raise Http404("There is no second factor.")
    if request.method == "POST":
        codes = recovery_codes_make(request.user, actor=actor_of(request))
        return _show_codes(request, codes, reverse("account_security"))
    show_last_environment(request)
    confirm = Confirm(
        title="Make new recovery codes",
        button="Make new codes",
        cancel_url=reverse("account_security"),
        text="The old ones stop working. The new ones are shown once.",
        reason="hidden",
    )
    return render_confirm(request, confirm)


def _show_codes(request: HtmxHttpRequest, codes: Sequence[str], url: str) -> HttpResponse:
    remember_sent(request)
    show_last_environment(request)
    context = {
        "codes": "\n".join(f"{code[:4]}-{code[4:]}" for code in codes),
        "count": len(codes),
        "url": url,
    }
    response = render_whole(request, "accounts/recovery_codes.html", context)
    response["Cache-Control"] = "no-store"  # not even the Back button may show them again
    return response


def _already_sent(request: HtmxHttpRequest) -> HttpResponse:
    text = "This form was already sent. Recovery codes are shown only once; make new ones."
    response = redirect_to(request, reverse("account_security"))
    return with_toast(request, response, text, tone="info")


# --- Removing -------------------------------------------------------------------------------------


@staff_view(Role.VIEWER, "GET", "POST")
@identity_confirmed
def account_factor_remove(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    factors = factors_of(request.user)
    factor = next(
        (each for each in (factors.app, *factors.passkeys) if each and each.pk == pk), None
    )
    if factor is None:
        raise Http404("No such second factor.")
    name, error = factor_name(factor), ""
    if request.method == "POST":
        needed = needs_second_factor(request.user)
        try:
            left = factor_remove(request.user, pk, needed=needed, actor=actor_of(request))
        except ValidationError as refusal:
            error = " ".join(refusal.messages)
        else:
            if not left.count:
                # No session may count as one that has shown a second factor.
                other_sessions_end(
                    request.user, request.session.session_key, actor=actor_of(request)
                )
                clear_authentication_records(request)
            response = redirect_to(request, reverse("account_security"))
            return with_toast(request, response, f"{capfirst(name)} removed.")
    show_last_environment(request)
    last = factors.count == 1
    confirm = Confirm(
        title=f"Remove {name}",
        button=f"Remove {name}",
        cancel_url=reverse("account_security"),
        text=(
            "It is your only second factor: the recovery codes go with it, and your other sessions "
            "end. From then on your password alone signs you in."
            if last
            else "It stops working for signing in. Your other second factors stay."
        ),
        tone="danger",
        reason="hidden",
        error=error,
    )
    return render_confirm(request, confirm)
