"""Invites: created and revoked by admins of a project, accepted on the page of their link."""

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from ilara_admin.accounts.known_browsers import mark_browser
from ilara_admin.accounts.mails import address_of_site, is_configured, queue_invite
from ilara_admin.accounts.resets import dead_link, open_page, show_link_once
from ilara_admin.accounts.throttle import Kind, count_try, forgive
from ilara_admin.core.changes import reason_of
from ilara_admin.core.diff import Change
from ilara_admin.core.invites import (
    DAYS,
    InviteGone,
    invite_accept,
    invite_create,
    invite_join,
    invite_of,
    invite_revoke,
    token_of,
)
from ilara_admin.core.passwords import RULES_TEXT
from ilara_admin.models import MEMBER_CHOICES, Invite, Role, User
from ilara_admin.web.access import actor_of, environment_url, staff_view, url_in
from ilara_admin.web.confirm import Confirm, render_confirm
from ilara_admin.web.forms import FormPage, add_errors, render_form, was_sent
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast


class InviteForm(forms.Form):
    name = forms.CharField(
        max_length=150,
        required=False,
        help_text="Who it is for, shown in the list of invites.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    email = forms.EmailField(
        label="E-mail",
        required=False,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    role = forms.ChoiceField(choices=MEMBER_CHOICES, widget=forms.RadioSelect)

    def __init__(self, request: HtmxHttpRequest) -> None:
        super().__init__(request.POST if request.method == "POST" else None)
        self.fields["email"].help_text = (
            "The link is sent there, and shown to you once."
            if is_configured()
            else "Of the new account. The link is shown to you once, to pass on."
        )


class AcceptForm(forms.Form):
    username = forms.CharField(
        max_length=150,
        validators=[User.username_validator],
        help_text="For signing in. Letters, digits and @ . + - _",
        widget=forms.TextInput(
            attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    name = forms.CharField(
        max_length=150,
        required=False,
        help_text="Shown with your changes. Default: the username.",
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    password = forms.CharField(
        strip=False,
        help_text=RULES_TEXT,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, invite: Invite, data: Any = None) -> None:
        self.invite = invite
        super().__init__(data, initial={"name": invite.name})

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if given.get("password"):
            user = User(
                username=given.get("username", ""),
                first_name=given.get("name", ""),
                email=self.invite.email,
            )
            try:
                validate_password(given["password"], user)
            except ValidationError as error:
                self.add_error("password", error)
        return given


# --- For admins -----------------------------------------------------------------------------------


@staff_view(Role.ADMIN, "GET", "POST")
def staff_invite(request: HtmxHttpRequest) -> HttpResponse:
    list_url = environment_url(request, "staff_list")
    if was_sent(request):
        text = "This invite exists, and its link was shown once. If it is lost, revoke the invite."
        return with_toast(request, redirect_to(request, list_url), text, tone="info")
    form = InviteForm(request)
    if form.is_valid():
        given = form.cleaned_data
        try:
            invite = invite_create(
                project=request.project,
                role=Role(given["role"]),
                created_by=request.user,
                actor=actor_of(request),
                name=given["name"],
                email=given["email"],
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            return _created(request, invite)
    page = FormPage(
        title=f"Invite to {request.project.name}",
        button="Create invite",
        form=form,
        cancel_url=list_url,
        text=f"An invite is a link for one person. It works once, within {DAYS} days.",
    )
    return render_form(request, page)


def _created(request: HtmxHttpRequest, invite: Invite) -> HttpResponse:
    sent = bool(invite.email) and is_configured()
    if sent:
        queue_invite(request, invite)
    role = Role(invite.role).label.lower()
    text = f"It adds one person to {invite.project.name} as {role}, within {DAYS} days. "
    text += (
        f"It is also on its way to {invite.email}."
        if sent
        else "Send it in a way that only they read."
    )
    return show_link_once(
        request,
        title=f"Invite for {invite}" if invite.name or invite.email else "New invite",
        text=text,
        url=address_of_site(request) + reverse("invite", args=[token_of(invite)]),
    )


@staff_view(Role.ADMIN, "GET", "POST")
def staff_invite_revoke(request: HtmxHttpRequest, invite_id: int) -> HttpResponse:
    invite = get_object_or_404(Invite, pk=invite_id, project=request.project)
    list_url = environment_url(request, "staff_list")
    if request.method == "POST":
        try:
            invite_revoke(invite, actor=actor_of(request), reason=reason_of(request))
        except InviteGone:
            text = "The invite was used or revoked already, or has expired."
            return with_toast(request, redirect_to(request, list_url), text, tone="info")
        return with_toast(
            request, redirect_to(request, list_url), "The invite is revoked. Its link is void."
        )
    confirm = Confirm(
        title=f"Revoke the invite of {invite}",
        button="Revoke invite",
        cancel_url=list_url,
        tone="danger",
        text="Its link stops working at once.",
        changes=[Change("Role", Role(invite.role).label, "")],
    )
    return render_confirm(request, confirm)


# --- For who has the link -------------------------------------------------------------------------


@never_cache
@open_page
@login_not_required
def invite(request: HtmxHttpRequest, token: str) -> HttpResponse:
    if allowed_at := count_try(Kind.LINK, request):
        return dead_link(request, "invite", allowed_at)
    found = invite_of(token)
    if found is None:
        return dead_link(request, "invite")
    forgive(Kind.LINK, request)
    try:
        return (_join if request.user.is_authenticated else _accept)(request, found)
    except InviteGone:
        return dead_link(request, "invite")


def _accept(request: HtmxHttpRequest, invite: Invite) -> HttpResponse:
    form = AcceptForm(invite, request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            user = invite_accept(invite, **form.cleaned_data)
        except ValidationError as error:
            add_errors(form, error)
        else:
            text = f"Your account {user.username} is ready. Sign in with it."
            response = with_toast(request, redirect("sign_in"), text)
            # The link proves who it is, as a sign-in does.
            mark_browser(request, response, user.pk, user.get_session_auth_hash())
            return response
    context = {"invite": invite, "role": Role(invite.role).label, "form": form}
    status = 422 if form.errors else 200
    return render(request, "accounts/invite.html", context, status=status)


def _join(request: HtmxHttpRequest, invite: Invite) -> HttpResponse:
    role, now = Role(invite.role), request.user.role_in(invite.project)
    has_more = now is not None and now.rank >= role.rank
    if request.method == "POST" and not has_more:
        invite_join(invite, request.user)
        environment = invite.project.environments.order_by("id").first()
        url = url_in(environment, "overview") if environment else reverse("home")
        text = f"You are {role.label.lower()} of {invite.project.name}."
        return with_toast(request, redirect(url), text)
    context = {"invite": invite, "role": role.label, "has_more": has_more}
    return render(request, "accounts/invite.html", context)
