"""Staff accounts: list, add, edit, deactivate."""

import secrets
from typing import Any

from django import forms
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from ilara_admin.accounts.factors import factors_of, factors_reset
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.core.diff import Change
from ilara_admin.core.invites import open_invites
from ilara_admin.core.passwords import RULES_TEXT
from ilara_admin.core.staff import staff_create, staff_update
from ilara_admin.models import Role, User
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import Confirm, changed, form_conflict, is_review, render_confirm
from ilara_admin.web.forms import (
    FormPage,
    SeenForm,
    add_errors,
    remember_sent,
    render_form,
    was_sent,
)
from ilara_admin.web.htmx import (
    HtmxHttpRequest,
    redirect_to,
    render_partial,
    render_whole,
    with_toast,
)
from ilara_admin.web.pagination import KeysetPage

# Permissions, each with the lowest role that has it.
POWERS: tuple[tuple[str, Role], ...] = (
    ("See every page; players' e-mails and device ids are masked", Role.VIEWER),
    ("See players' e-mails and device ids in full", Role.SUPPORT),
    ("Edit players and set a flag for a single player", Role.SUPPORT),
    ("Create, edit, switch and archive flags and segments", Role.LIVE_OPS),
    ("Create, rotate and revoke API keys", Role.ADMIN),
    ("Change settings, add projects and environments", Role.ADMIN),
    ("Add staff, change roles, reset passwords", Role.ADMIN),
)
NEW_PASSWORD = forms.PasswordInput(attrs={"autocomplete": "new-password"})


class StaffForm(forms.Form):
    name = forms.CharField(
        max_length=150,
        required=False,
        help_text="Shown with their changes. Default: the username.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    email = forms.EmailField(
        label="E-mail",
        required=False,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    role = forms.ChoiceField(choices=Role.choices, widget=forms.RadioSelect)


class EditStaffForm(StaffForm, SeenForm):
    """The fields of a member of staff."""


class NewStaffForm(StaffForm):
    username = forms.CharField(
        max_length=150,
        validators=[User.username_validator],
        help_text="For signing in. Letters, digits and @ . + - _",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    password = forms.CharField(
        required=False,
        strip=False,
        help_text=f"{RULES_TEXT} Leave empty to generate one, which is shown once.",
        widget=NEW_PASSWORD,
    )
    field_order = ("username", "name", "email", "role", "password")

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("password"):
            user = User(
                username=self.cleaned_data.get("username", ""),
                first_name=self.cleaned_data.get("name", ""),
                email=self.cleaned_data.get("email", ""),
            )
            check_password(self, self.cleaned_data["password"], user)
        return self.cleaned_data


def check_password(form: forms.Form, password: str, user: User) -> None:
    try:
        password_validation.validate_password(password, user)
    except ValidationError as error:
        form.add_error("password", error)


# --- Views ----------------------------------------------------------------------------------------


@staff_view(Role.ADMIN)
def staff_list(request: HtmxHttpRequest) -> HttpResponse:
    page = KeysetPage.of(User.objects.order_by("username"), request)
    context = {
        "page": page,
        "invites": open_invites(request.project),
        "roles": list(Role),
        "powers": [(text, [role.rank >= least.rank for role in Role]) for text, least in POWERS],
    }
    return render_partial(request, "ilara_admin/staff_list.html", context, partial="results")


@staff_view(Role.ADMIN, "GET", "POST")
def staff_new(request: HtmxHttpRequest) -> HttpResponse:
    if was_sent(request):
        return _already_sent(request)
    form = NewStaffForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        given = form.cleaned_data
        password = given["password"] or new_password()
        try:
            user = staff_create(
                username=given["username"],
                role=Role(given["role"]),
                name=given["name"],
                email=given["email"],
                password=password,
                actor=actor_of(request),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            if given["password"]:
                return _back(request, f"{user.username} can sign in.")
            return _show_once(request, user, password)
    page = FormPage("New staff account", "Add", form, environment_url(request, "staff_list"))
    return render_form(request, page)


@staff_view(Role.ADMIN, "GET", "POST")
def staff_edit(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(User, pk=pk)
    now = {"name": user.get_full_name(), "email": user.email, "role": user.role}
    posted = request.POST if request.method == "POST" else None
    form = EditStaffForm(f"staff:{user.pk}", now, posted)
    if form.is_valid() and not is_review(request):
        try:
            entry = staff_update(user, **form.cleaned_data, actor=actor_of(request))
        except ValidationError as error:
            add_errors(form, error)
        except Conflict as conflict:
            return form_conflict(
                request, form, conflict, environment_url(request, "staff_edit", pk)
            )
        else:
            return changed(request, _back_url(request, user), entry, f"{user.username} is saved.")
    context = {"member": user, "form": form, "factors": factors_of(user)}
    status = 422 if form.errors else 200
    return render(request, "ilara_admin/staff_edit.html", context, status=status)


@staff_view(Role.ADMIN, "GET", "POST")
def staff_deactivate(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    return _set_active(request, pk, active=False)


@staff_view(Role.ADMIN, "GET", "POST")
def staff_reactivate(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    return _set_active(request, pk, active=True)


def _set_active(request: HtmxHttpRequest, pk: int, *, active: bool) -> HttpResponse:
    user = get_object_or_404(User, pk=pk)
    error = ""
    if request.method == "POST":
        try:
            entry = staff_update(
                user, is_active=active, actor=actor_of(request), reason=reason_of(request)
            )
        except ValidationError as refusal:
            error = " ".join(refusal.messages)
        else:
            text = "may sign in again" if active else "is signed out and may not sign in"
            return changed(request, _back_url(request, user), entry, f"{user.username} {text}.")
    elif user.is_active == active:
        state = "active" if active else "deactivated"
        return _back(request, f"{user.username} is already {state}.")
    verb = "Reactivate" if active else "Deactivate"
    before, after = ("Deactivated", "Active") if active else ("Active", "Deactivated")
    text = (
        "They can sign in again with their old password and role."
        if active
        else "They are signed out at once and cannot sign in. The audit log keeps their changes."
    )
    confirm = Confirm(
        title=f"{verb} {user.username}",
        button=f"{verb} {user.username}",
        cancel_url=environment_url(request, "staff_edit", user.pk),
        tone="primary" if active else "danger",
        text=text,
        changes=[Change("State", before, after)],
        error=error,
    )
    return render_confirm(request, confirm)


@staff_view(Role.ADMIN, "GET", "POST")
def staff_factors_reset(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """For a member of staff who lost the phone and the recovery codes."""
    user = get_object_or_404(User, pk=pk)
    names = factors_of(user).names
    if not names:
        return _back(request, f"{user.username} has no second factor.", about=user)
    reason = reason_of(request).strip()
    if reason:
        factors_reset(user, actor=actor_of(request), reason=reason)
        return _back(request, f"{user.username} has no second factor now.", about=user)
    confirm = Confirm(
        title=f"Reset second factors of {user.username}",
        button="Reset second factors",
        cancel_url=environment_url(request, "staff_edit", user.pk),
        tone="danger",
        text=(
            "Do this only once you are sure who asks, by phone or in person. Their recovery codes "
            "go, too, and all their sessions end. From then on their password alone signs them in."
        ),
        changes=[Change("Second factors", ", ".join(names), "None")],
        reason="required",
        error="Give a reason." if request.method == "POST" else "",
    )
    return render_confirm(request, confirm)


def new_password() -> str:
    return secrets.token_urlsafe(12)


def _show_once(request: HtmxHttpRequest, user: User, password: str) -> HttpResponse:
    remember_sent(request)
    context = {"member": user, "password": password, "url": request.build_absolute_uri("/")}
    response = render_whole(request, "ilara_admin/staff_password.html", context)
    response["Cache-Control"] = "no-store"  # not even the Back button may show the password again
    return response


def _already_sent(request: HtmxHttpRequest) -> HttpResponse:
    text = "This form was already sent, and a password is shown only once. If it is lost, reset it."
    return with_toast(
        request, redirect_to(request, environment_url(request, "staff_list")), text, tone="info"
    )


def _back(request: HtmxHttpRequest, text: str, about: User | None = None) -> HttpResponse:
    return with_toast(request, redirect_to(request, _back_url(request, about)), text)


def _back_url(request: HtmxHttpRequest, about: User | None = None) -> str:
    """The list; an admin who has just given up the role may not see it."""
    if about is not None and about.pk == request.user.pk:
        request.user.refresh_from_db()
    return environment_url(request, "staff_list" if request.user.may(Role.ADMIN) else "key_list")
