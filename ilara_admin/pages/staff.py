"""Staff: the members of a project with their roles, and the accounts of the installation.

Admins of a project add members to it, change their roles and remove them. Only owners change
accounts themselves.
"""

import secrets
from typing import Any, NamedTuple

from django import forms
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse

from ilara_admin.accounts.factors import factors_of, factors_reset
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.core.diff import Change
from ilara_admin.core.invites import open_invites
from ilara_admin.core.passwords import RULES_TEXT
from ilara_admin.core.staff import (
    membership_fields,
    membership_set,
    staff_create,
    staff_fields,
    staff_update,
)
from ilara_admin.models import MEMBER_CHOICES, Membership, Role, User
from ilara_admin.web.access import (
    actor_of,
    environment_url,
    environments_of,
    may,
    staff_view,
)
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
    ("Review and apply change requests", Role.LIVE_OPS),
    ("Create, edit, rotate and revoke API keys", Role.ADMIN),
    ("Guard environments, plan freezes, break glass", Role.ADMIN),
    ("Export and erase players", Role.ADMIN),
    ("Change settings, add environments", Role.ADMIN),
    ("Add members to the project, change their roles, remove them", Role.ADMIN),
    ("See all projects, add projects and owners", Role.OWNER),
    ("Change and deactivate accounts, reset passwords", Role.OWNER),
)
USERNAME = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
NEW_PASSWORD = forms.PasswordInput(attrs={"autocomplete": "new-password"})


def role_field() -> forms.ChoiceField:
    return forms.ChoiceField(
        label="Role in this project",
        choices=MEMBER_CHOICES,
        initial=Role.VIEWER,
        widget=forms.RadioSelect,
    )


class MemberForm(SeenForm):
    """The role of an account in a project."""

    role = role_field()


class AddMemberForm(forms.Form):
    username = forms.CharField(
        max_length=150,
        help_text="Of an existing account.",
        widget=forms.TextInput(attrs=USERNAME),
    )
    role = role_field()


class PersonForm(forms.Form):
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


class StaffAccountForm(PersonForm, SeenForm):
    """An account, for owners."""

    is_owner = forms.BooleanField(
        label="Owner",
        required=False,
        help_text="Has every role in every project, and may change accounts and add projects.",
        widget=forms.CheckboxInput(attrs={"class": "switch", "role": "switch"}),
    )


class NewStaffForm(PersonForm):
    username = forms.CharField(
        max_length=150,
        validators=[User.username_validator],
        help_text="For signing in. Letters, digits and @ . + - _",
        widget=forms.TextInput(attrs=USERNAME),
    )
    role = role_field()
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


class StaffRow(NamedTuple):
    user: User
    role: Role | None  # in the project


@staff_view(Role.ADMIN)
def staff_list(request: HtmxHttpRequest) -> HttpResponse:
    """The members of the project and the owners; for owners with `?show=all` all accounts."""
    people = _people(request)
    everyone = may(request, Role.OWNER) and request.GET.get("show") == "all"
    if not everyone:
        people = people.filter(Q(is_owner=True) | Q(member_role__isnull=False))
    page = KeysetPage.of(people.order_by("username"), request)
    context = {
        "page": page,
        "rows": [StaffRow(user, _role_of(user)) for user in page.rows],
        "everyone": everyone,
        "is_owner": may(request, Role.OWNER),
        "invites": open_invites(request.project),
        "roles": list(Role),
        "powers": [(text, [role.rank >= least.rank for role in Role]) for text, least in POWERS],
    }
    return render_partial(request, "ilara_admin/staff_list.html", context, partial="results")


def _people(request: HtmxHttpRequest) -> QuerySet[User]:
    """All accounts, with the role of each in this project as `member_role`."""
    memberships = Membership.objects.filter(user=OuterRef("pk"), project=request.project)
    return User.objects.annotate(member_role=Subquery(memberships.values("role")))


def _role_of(user: Any) -> Role | None:
    """The role in the project of one of `_people`."""
    if user.is_owner:
        return Role.OWNER
    return Role(user.member_role) if user.member_role else None


def _found(request: HtmxHttpRequest, pk: int) -> User:
    """An account that the list shows to this user: for admins no members of other projects."""
    people = _people(request)
    if not may(request, Role.OWNER):
        people = people.filter(Q(is_owner=True) | Q(member_role__isnull=False))
    return get_object_or_404(people, pk=pk)


# --- Members of the project ---------------------------------------------------------------------


@staff_view(Role.ADMIN, "GET", "POST")
def staff_member(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """An account and the form for its role in this project."""
    user = _found(request, pk)
    now = membership_fields(user, request.project)
    posted = request.POST if request.method == "POST" else None
    form = MemberForm(f"member:{request.project.pk}:{user.pk}", now, posted)
    if form.is_valid() and not is_review(request):
        role = Role(form.cleaned_data["role"])
        try:
            entry = membership_set(
                user,
                request.project,
                role,
                actor=actor_of(request),
                seen=form.cleaned_data["seen"],
                reason=reason_of(request),
            )
        except Conflict as conflict:
            url = environment_url(request, "staff_member", pk)
            return form_conflict(request, form, conflict, url)
        text = f"{user.username} is {role.label.lower()} of {request.project}."
        return changed(request, _back_url(request, user), entry, text)
    context = {
        "member": user,
        "role": _role_of(user),
        "factors": factors_of(user),
        "form": form,
        "is_owner": may(request, Role.OWNER),
    }
    status = 422 if form.errors else 200
    return render(request, "ilara_admin/staff_member.html", context, status=status)


@staff_view(Role.ADMIN, "GET", "POST")
def staff_add(request: HtmxHttpRequest) -> HttpResponse:
    """Add an existing account to the project."""
    form = AddMemberForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        username, role = form.cleaned_data["username"], Role(form.cleaned_data["role"])
        user = _people(request).filter(username=username).first()
        if user is None:
            form.add_error("username", f"No staff account “{username}”. Names are case-sensitive.")
        elif known := _role_of(user):
            form.add_error("username", f"{username} is {known.label.lower()} already.")
        else:
            entry = membership_set(user, request.project, role, actor=actor_of(request))
            text = f"{username} is {role.label.lower()} of {request.project}."
            return changed(request, environment_url(request, "staff_list"), entry, text)
    page = FormPage(
        title=f"Add a member to {request.project}",
        button="Add",
        form=form,
        cancel_url=environment_url(request, "staff_list"),
        text="The account keeps its roles in other projects.",
    )
    return render_form(request, page)


@staff_view(Role.ADMIN, "GET", "POST")
def staff_remove(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    user = _found(request, pk)
    now = membership_fields(user, request.project)
    if request.method == "POST":
        entry = membership_set(
            user, request.project, None, actor=actor_of(request), reason=reason_of(request)
        )
        text = f"{user.username} is no longer a member of {request.project}."
        return changed(request, _back_url(request, user), entry, text)
    if now["role"] is None:
        return _back(request, f"{user.username} is not a member of {request.project}.")
    confirm = Confirm(
        title=f"Remove {user.username} from {request.project}",
        button=f"Remove {user.username}",
        cancel_url=environment_url(request, "staff_member", user.pk),
        tone="danger",
        text="They no longer see this project, from their next request on. The account and its "
        "roles in other projects stay.",
        changes=[Change("Role", Role(now["role"]).label, "")],
    )
    return render_confirm(request, confirm)


@staff_view(Role.ADMIN, "GET", "POST")
def staff_new(request: HtmxHttpRequest) -> HttpResponse:
    """Create an account that is a member of the project."""
    if was_sent(request):
        return _already_sent(request)
    form = NewStaffForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        given = form.cleaned_data
        password = given["password"] or new_password()
        try:
            user = _create(request, given, password)
        except ValidationError as error:
            add_errors(form, error)
        else:
            if given["password"]:
                return _back(request, f"{user.username} can sign in.")
            return _show_once(request, user, password)
    page = FormPage("New staff account", "Add", form, environment_url(request, "staff_list"))
    return render_form(request, page)


@transaction.atomic
def _create(request: HtmxHttpRequest, given: dict[str, Any], password: str) -> User:
    user = staff_create(
        username=given["username"],
        name=given["name"],
        email=given["email"],
        password=password,
        actor=actor_of(request),
    )
    membership_set(user, request.project, Role(given["role"]), actor=actor_of(request))
    return user


# --- Accounts, for owners -----------------------------------------------------------------------


@staff_view(Role.OWNER, "GET", "POST")
def staff_edit(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(User, pk=pk)
    fields = staff_fields(user)
    now = {name: fields[name] for name in ("name", "email", "is_owner")}
    posted = request.POST if request.method == "POST" else None
    form = StaffAccountForm(f"staff:{user.pk}", now, posted)
    url = environment_url(request, "staff_member", pk)
    if form.is_valid() and not is_review(request):
        try:
            entry = staff_update(user, **form.cleaned_data, actor=actor_of(request))
        except ValidationError as error:
            add_errors(form, error)
        except Conflict as conflict:
            return form_conflict(request, form, conflict, url)
        else:
            return changed(request, _back_url(request, user), entry, f"{user.username} is saved.")
    return render_form(request, FormPage(f"Account {user.username}", "Save", form, url))


@staff_view(Role.OWNER, "GET", "POST")
def staff_deactivate(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    return _set_active(request, pk, active=False)


@staff_view(Role.OWNER, "GET", "POST")
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
        "They can sign in again with their old password and roles."
        if active
        else "They are signed out at once and cannot sign in. The audit log keeps their changes."
    )
    confirm = Confirm(
        title=f"{verb} {user.username}",
        button=f"{verb} {user.username}",
        cancel_url=environment_url(request, "staff_member", user.pk),
        tone="primary" if active else "danger",
        text=text,
        changes=[Change("State", before, after)],
        error=error,
    )
    return render_confirm(request, confirm)


@staff_view(Role.OWNER, "GET", "POST")
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
        cancel_url=environment_url(request, "staff_member", user.pk),
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
    url = request.build_absolute_uri("/")
    context = {"member": user, "password": password, "url": url}
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
    """The list, or a page that is left to an admin who has just given up the role."""
    if about is not None and about.pk == request.user.pk:
        request.user.refresh_from_db()
        environments_of(request.user)  # reads the roles
    if may(request, Role.ADMIN):
        return environment_url(request, "staff_list")
    return environment_url(request, "key_list") if may(request, Role.VIEWER) else reverse("home")
