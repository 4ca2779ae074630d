"""API keys: list, issue, rotate and revoke. A token is shown once, in the response to the form."""

from datetime import datetime, timedelta

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone

from ilara_admin.api.curl import EXAMPLE_REGISTRATION, curl_post
from ilara_admin.core.api_keys import NewKey, api_key_create, api_key_revoke, api_key_rotate
from ilara_admin.core.changes import reason_of
from ilara_admin.models import ApiKey, KeyKind, Role
from ilara_admin.templatetags.ilara import reltime_words
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import Confirm, render_confirm
from ilara_admin.web.forms import FormPage, add_errors, remember_sent, render_form, was_sent
from ilara_admin.web.htmx import (
    HtmxHttpRequest,
    redirect_to,
    render_partial,
    render_whole,
    with_toast,
)
from ilara_admin.web.pagination import KeysetPage

TABS = (("", "All"), ("usable", "In use"), ("ended", "Ended"))
EXPIRY_DAYS = (1, 7, 30, 90, 365)
GRACE = {"0": "At once", "1": "After 1 hour", "24": "After 24 hours", "168": "After 7 days"}
WHO_STOPS = {
    KeyKind.PUBLIC: "every game build with this key stops working until it has another key",
    KeyKind.SECRET: "every server with this key stops working until it has another key",
}


class KeyForm(forms.Form):
    name = forms.CharField(
        max_length=100,
        help_text="What uses it: “iOS client”, “match server”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    kind = forms.ChoiceField(
        choices=[(KeyKind.PUBLIC, "Public"), (KeyKind.SECRET, "Secret")],
        initial=KeyKind.PUBLIC,
        widget=forms.RadioSelect,
        help_text=(
            "Public keys ship inside games, where anyone can read them. Secret keys stay on your "
            "servers and can make every call."
        ),
    )
    expires = forms.TypedChoiceField(
        choices=[
            ("", "Never"),
            *((days, f"In {days} day{'s' if days > 1 else ''}") for days in EXPIRY_DAYS),
        ],
        coerce=int,
        empty_value=None,
        required=False,
        label="Expires",
    )


class RotateForm(forms.Form):
    grace = forms.TypedChoiceField(
        choices=list(GRACE.items()),
        coerce=int,
        initial="24",
        widget=forms.RadioSelect,
        label="Old key expires",
        help_text="Until then both keys work.",
    )


@staff_view(Role.VIEWER)
def key_list(request: HtmxHttpRequest) -> HttpResponse:
    now = timezone.now()
    shown = request.GET.get("show", "")
    keys = request.environment.api_keys.order_by("-id")
    usable = request.environment.api_keys.usable_at(now).values("pk")
    if shown == "usable":
        keys = keys.filter(pk__in=usable)
    elif shown == "ended":
        keys = keys.exclude(pk__in=usable)
    page = KeysetPage.of(keys, request)
    context = {
        "page": page,
        "rows": [(key, key.state_at(now)) for key in page.rows],
        "tabs": TABS,
        "shown": shown,
        "can_edit": request.user.may(Role.ADMIN),
    }
    return render_partial(request, "ilara_admin/key_list.html", context, partial="results")


@staff_view(Role.ADMIN, "GET", "POST")
def key_create(request: HtmxHttpRequest) -> HttpResponse:
    if was_sent(request):
        return _already_sent(request)
    form = KeyForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        days = form.cleaned_data["expires"]
        try:
            new = api_key_create(
                environment=request.environment,
                kind=KeyKind(form.cleaned_data["kind"]),
                name=form.cleaned_data["name"],
                expires_in=timedelta(days=days) if days else None,
                actor=actor_of(request),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            return show_once(request, new)
    slug = request.environment.slug
    return render_form(
        request,
        FormPage(
            f"New API key for {slug}", "Create key", form, environment_url(request, "key_list")
        ),
    )


@staff_view(Role.ADMIN, "GET", "POST")
def key_rotate(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    if was_sent(request):
        return _already_sent(request)
    key = get_object_or_404(request.environment.api_keys, pk=pk)
    if key.state_at(timezone.now()) not in ("active", "expiring"):
        return _already_ended(request, key)
    form = RotateForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        grace = timedelta(hours=form.cleaned_data["grace"])
        try:
            new = api_key_rotate(
                key, grace=grace, actor=actor_of(request), reason=reason_of(request)
            )
        except ValidationError:
            return _already_ended(request, key)  # revoked concurrently
        key.refresh_from_db()
        return show_once(request, new, predecessor=key)
    confirm = Confirm(
        title=f"Rotate {key.name}",
        button="Issue a new key",
        cancel_url=environment_url(request, "key_list"),
        text=(
            f"A new {key.get_kind_display().lower()} key replaces {key.masked}, "
            f"which {_last_used_text(key)}."
        ),
        form=form,
    )
    return render_confirm(request, confirm)


@staff_view(Role.ADMIN, "GET", "POST")
def key_revoke(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    key = get_object_or_404(request.environment.api_keys, pk=pk)
    if key.revoked_at is not None:
        return _already_ended(request, key)
    confirm = Confirm(
        title=f"Revoke {key.name}",
        button=f"Revoke {key.name}",
        cancel_url=environment_url(request, "key_list"),
        tone="danger",
        text=(
            f"The next request with {key.masked} is refused: "
            f"{WHO_STOPS[KeyKind(key.kind)]}. It {_last_used_text(key)}. "
            "Revoking a key cannot be undone."
        ),
        type_to_confirm=key.name,
        error="" if request.method == "GET" else "The name does not match. Nothing was revoked.",
    )
    if request.method != "POST" or not confirm.is_typed(request):
        return render_confirm(request, confirm)
    api_key_revoke(key, actor=actor_of(request), reason=reason_of(request))
    response = redirect_to(request, environment_url(request, "key_list"))
    return with_toast(request, response, f"{key.name} revoked. Requests with it are refused.")


# --- Responses ------------------------------------------------------------------------------------


def show_once(
    request: HtmxHttpRequest, new: NewKey, predecessor: ApiKey | None = None
) -> HttpResponse:
    """The page with the token of a new key, which a reload does not show again."""
    remember_sent(request)
    context = {
        "key": new.key,
        "token": new.token,
        "curl": curl_post(request, "players/players", new.token, EXAMPLE_REGISTRATION),
        "predecessor": predecessor,
        "predecessor_works": predecessor and predecessor.state_at(timezone.now()) == "expiring",
    }
    response = render_whole(request, "ilara_admin/key_issued.html", context)
    response["Cache-Control"] = "no-store"  # not even the Back button may show the token again
    return response


def _already_sent(request: HtmxHttpRequest) -> HttpResponse:
    return with_toast(
        request,
        redirect_to(request, environment_url(request, "key_list")),
        "This form was already sent, and a key is shown only once. If it is lost, rotate it.",
        tone="info",
    )


def _already_ended(request: HtmxHttpRequest, key: ApiKey) -> HttpResponse:
    return with_toast(
        request,
        redirect_to(request, environment_url(request, "key_list")),
        f"{key.name} ({key.masked}) has expired or is revoked. Create a new key instead.",
        tone="info",
    )


def _last_used_text(key: ApiKey) -> str:
    """Part of a sentence, such as "was last used 3 min ago"."""
    if key.last_used_at is None:
        return "has never been used"
    return f"was last used {moment_words(key.last_used_at)}"


def moment_words(moment: datetime) -> str:
    text = reltime_words(timezone.localtime(moment), timezone.localtime(timezone.now()))
    return text if text.startswith(("in ", "just ")) or text.endswith(" ago") else f"on {text}"
