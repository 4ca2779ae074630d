"""A forgotten password: a link by e-mail, or one that an owner passes on; and the page it opens."""

from datetime import datetime

from django import forms
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import SetPasswordForm
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from ilara_admin.accounts.known_browsers import mark_browser
from ilara_admin.accounts.mails import address_of_site, is_configured, queue_resets
from ilara_admin.accounts.reset_links import reset_path, user_of
from ilara_admin.accounts.throttle import Kind, count_try, forgive, refused, wait_text
from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.core.changes import reason_of
from ilara_admin.core.passwords import RULES_TEXT
from ilara_admin.core.staff import staff_set_password
from ilara_admin.models import AuditAction, Role, User
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import Confirm, render_confirm
from ilara_admin.web.forms import remember_sent, was_sent
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, render_whole, with_toast

open_page = require_http_methods(["GET", "HEAD", "POST"])


class ForgottenForm(forms.Form):
    username = forms.CharField(
        label="Username or e-mail",
        max_length=254,
        widget=forms.TextInput(
            attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )


def new_password_form(request: HttpRequest, user: User) -> "SetPasswordForm[User]":
    form = SetPasswordForm(user, request.POST if request.method == "POST" else None)
    form.fields["new_password1"].help_text = RULES_TEXT
    form.fields["new_password2"].help_text = ""
    form.fields["new_password2"].label = "New password again"
    return form


# --- By e-mail ------------------------------------------------------------------------------------


@never_cache
@open_page
@login_not_required
def reset_request(request: HttpRequest) -> HttpResponse:
    """The answer is the same whether there is such an account, and takes as long."""
    if not is_configured():
        raise Http404("This installation sends no e-mails. Ask an owner for a link.")
    form = ForgottenForm(request.POST if request.method == "POST" else None)
    allowed_at: datetime | None = None
    if form.is_valid():
        typed = form.cleaned_data["username"]
        allowed_at = count_try(Kind.RESET_REQUEST, request, typed)
        if allowed_at is None:
            queue_resets(request, accounts_of(typed))
            text = (
                "If there is an account of this name with an e-mail address, a link is on its way. "
                "It works for an hour."
            )
            return with_toast(request, redirect("sign_in"), text, tone="info")
        form.add_error(None, wait_text(allowed_at, "requests"))
    status = 422 if form.errors else 200
    response = render(request, "accounts/forgotten.html", {"form": form}, status=status)
    return refused(request, response, allowed_at) if allowed_at else response


def accounts_of(typed: str) -> list[User]:
    """The accounts with this username or e-mail that sign in with a password."""
    found = User.objects.filter(Q(username=typed) | Q(email__iexact=typed), is_active=True)
    return [user for user in found if user.has_usable_password()]


# --- By an owner ----------------------------------------------------------------------------------


@staff_view(Role.OWNER, "GET", "POST")
def staff_reset_link(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(User, pk=pk)
    list_url = environment_url(request, "staff_list")
    if user.pk == request.user.pk:
        return redirect_to(request, reverse("account_password"))
    if was_sent(request):
        text = "This link was shown once. If it is lost, create a new one."
        return with_toast(request, redirect_to(request, list_url), text, tone="info")
    if not user.is_active:
        text = f"{user.username} is deactivated. Reactivate the account first."
        return with_toast(request, redirect_to(request, list_url), text, tone="warn")
    if request.method == "POST":
        audit_record(
            AuditAction.STAFF_RESET_LINK_CREATED,
            actor_of(request),
            object_id=user.pk,
            object_name=user.username,
            reason=reason_of(request),
        )
        return show_link_once(
            request,
            title=f"Link for {user.username}",
            text=f"It sets a new password of {user.username}, once, within an hour. "
            "Send it in a way that only they read.",
            url=address_of_site(request) + reset_path(user),
        )
    confirm = Confirm(
        title=f"Reset the password of {user.username}",
        button="Create link",
        cancel_url=environment_url(request, "staff_member", user.pk),
        tone="primary",
        text="You get a link to pass on, with which they set a new password. Until then the old "
        "one works. A new password ends all their sessions; second factors stay.",
    )
    return render_confirm(request, confirm)


def show_link_once(request: HtmxHttpRequest, *, title: str, text: str, url: str) -> HttpResponse:
    remember_sent(request)
    context = {"title": title, "text": text, "url": url}
    response = render_whole(request, "accounts/link_once.html", context)
    response["Cache-Control"] = "no-store"  # not even the Back button may show the link again
    return response


# --- The page of the link -------------------------------------------------------------------------


@never_cache
@open_page
@login_not_required
def reset(request: HttpRequest, token: str) -> HttpResponse:
    if allowed_at := count_try(Kind.LINK, request):
        return dead_link(request, "reset", allowed_at)
    user = user_of(token)
    if user is None:
        return dead_link(request, "reset")
    forgive(Kind.LINK, request)
    form = new_password_form(request, user)
    if form.is_valid():
        user = staff_set_password(
            user,
            password=form.cleaned_data["new_password1"],
            actor=Actor.of_user(user),
            reason="By a one-time link",
        )
        text = f"The password of {user.username} is changed. Sign in with it."
        response = with_toast(request, redirect("sign_in"), text)
        # The link proves who it is, as a sign-in does.
        mark_browser(request, response, user.pk, user.get_session_auth_hash())
        return response
    status = 422 if form.errors else 200
    return render(request, "accounts/reset.html", {"form": form, "member": user}, status=status)


def dead_link(request: HttpRequest, kind: str, allowed_at: datetime | None = None) -> HttpResponse:
    """One page for every link that does not work, whatever the reason."""
    context = {
        "kind": kind,
        "wait": wait_text(allowed_at, "links that do not work") if allowed_at else "",
        "by_mail": is_configured(),
    }
    response = render(request, "accounts/dead_link.html", context, status=404)
    return refused(request, response, allowed_at) if allowed_at else response
