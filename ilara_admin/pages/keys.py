"""API keys: list, issue, edit, rotate and revoke. A token is shown once, in the response to the
form."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.html import format_html

from ilara_admin.api.curl import EXAMPLE_REGISTRATION, curl_post
from ilara_admin.core.api_keys import (
    NewKey,
    api_key_create,
    api_key_revoke,
    api_key_rotate,
    api_key_update,
    key_fields,
)
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.models import ApiKey, Environment, KeyKind, KeyScope, Role, default_scopes
from ilara_admin.templatetags.ilara import reltime_words
from ilara_admin.web.access import actor_of, environment_url, may, staff_view
from ilara_admin.web.confirm import Confirm, changed, form_conflict, is_review, render_confirm
from ilara_admin.web.forms import (
    FormPage,
    LinesField,
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

TABS = (("", "All"), ("usable", "In use"), ("ended", "Ended"))
EXPIRY_DAYS = (1, 7, 30, 90, 365)
GRACE = {"0": "At once", "1": "After 1 hour", "24": "After 24 hours", "168": "After 7 days"}
WHO_STOPS = {
    KeyKind.PUBLIC: "every game build with this key stops working until it has another key",
    KeyKind.SECRET: "every server with this key stops working until it has another key",
}


def public_key_text(environment: Environment) -> str:
    """What public keys may do in this environment as it is now, as sentences."""
    if environment.public_keys_restricted:
        more = "This environment allows nothing else."
    else:
        email = "in full" if environment.public_keys_read_email else "masked"
        more = (
            f"It also reads single players, with the e-mail {email}, changes them, and records "
            "sessions and purchases, which count as not verified. It cannot list players or "
            "stream events."
        )
    return f"It registers players, tracks events and evaluates flags and segments. {more}"


def _name() -> forms.CharField:
    return forms.CharField(
        max_length=100,
        help_text="What uses it: “iOS client”, “match server”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


def _scopes() -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        choices=[
            (value, format_html("<code>{}</code> {}", value, label))
            for value, label in KeyScope.choices
        ],
        required=False,  # the service asks for one, if the key is secret
        initial=default_scopes(),
        widget=forms.CheckboxSelectMultiple,
        label="Scopes",
    )


def _networks() -> LinesField:
    return LinesField(
        required=False,
        label="Allowed networks",
        help_text=(
            "Requests from other addresses are refused. One per line, like 203.0.113.7, 10.0.0.0/8 "
            "or 2001:db8::/32. Empty: from anywhere."
        ),
    )


class KeyForm(forms.Form):
    name = _name()
    kind = forms.ChoiceField(
        choices=[(KeyKind.PUBLIC, "Public"), (KeyKind.SECRET, "Secret")],
        initial=KeyKind.PUBLIC,
        widget=forms.RadioSelect,
    )
    scopes = _scopes()
    networks = _networks()
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


class KeyEditForm(SeenForm):
    name = _name()
    scopes = _scopes()
    networks = _networks()
    reason = forms.CharField(
        required=False,
        max_length=500,
        help_text="Shown in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, key: ApiKey, data: Any = None) -> None:
        super().__init__(f"api_key:{key.pk}", key_fields(key), data)
        if key.kind == KeyKind.PUBLIC:
            del self.fields["scopes"]


class RotateForm(forms.Form):
    grace = forms.TypedChoiceField(
        choices=list(GRACE.items()),
        coerce=int,
        initial="24",
        widget=forms.RadioSelect,
        label="Old key expires",
        help_text="Until then both keys work.",
    )


class KeyRow(NamedTuple):
    """`rotated_at` is None unless a successor was issued and the key still works; `in_use` tells
    whether it was used since."""

    key: ApiKey
    state: str
    scopes: str
    rotated_at: datetime | None
    in_use: bool


def _row(key: ApiKey, now: datetime) -> KeyRow:
    state, rotated_at = key.state_at(now), None
    if key.successor and state in ("active", "expiring"):
        rotated_at = key.successor.created_at
    used = bool(rotated_at and key.last_used_at and key.last_used_at > rotated_at)
    return KeyRow(key, state, scopes_text(key), rotated_at, used)


def scopes_text(key: ApiKey) -> str:
    """The scopes of a secret key in the order of the form; "" for a public key."""
    if key.kind == KeyKind.PUBLIC:
        return ""
    if sorted(key.scopes) == default_scopes():
        return f"all but {KeyScope.MANAGE}"
    return ", ".join(value for value in KeyScope.values if value in key.scopes)


@staff_view(Role.VIEWER)
def key_list(request: HtmxHttpRequest) -> HttpResponse:
    now = timezone.now()
    shown = request.GET.get("show", "")
    keys = request.environment.api_keys.select_related("successor").order_by("-id")
    usable = request.environment.api_keys.usable_at(now).values("pk")
    if shown == "usable":
        keys = keys.filter(pk__in=usable)
    elif shown == "ended":
        keys = keys.exclude(pk__in=usable)
    page = KeysetPage.of(keys, request)
    context = {
        "page": page,
        "rows": [_row(key, now) for key in page.rows],
        "public_text": public_key_text(request.environment),
        "tabs": TABS,
        "shown": shown,
        "can_edit": may(request, Role.ADMIN),
    }
    return render_partial(request, "ilara_admin/key_list.html", context, partial="results")


@staff_view(Role.ADMIN, "GET", "POST")
def key_create(request: HtmxHttpRequest) -> HttpResponse:
    if was_sent(request):
        return _already_sent(request)
    form = KeyForm(request.POST if request.method == "POST" else None)
    form.fields["kind"].help_text = format_html(
        '<span data-kind="public">Ships inside the game, where anyone can read it. {} '
        '<a href="{}">Settings of public keys</a></span> <span data-kind="secret">Stays on your '
        "servers, and may do what its scopes allow.</span>",
        public_key_text(request.environment),
        environment_url(request, "environment_edit"),
    )
    if form.is_valid():
        days, kind = form.cleaned_data["expires"], KeyKind(form.cleaned_data["kind"])
        try:
            new = api_key_create(
                environment=request.environment,
                kind=kind,
                name=form.cleaned_data["name"],
                expires_in=timedelta(days=days) if days else None,
                scopes=form.cleaned_data["scopes"] if kind == KeyKind.SECRET else (),
                networks=form.cleaned_data["networks"],
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
def key_edit(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    key = get_object_or_404(request.environment.api_keys, pk=pk)
    if key.state_at(timezone.now()) not in ("active", "expiring"):
        return _already_ended(request, key)
    url = environment_url(request, "key_list")
    form = KeyEditForm(key, request.POST if request.method == "POST" else None)
    if form.is_valid() and not is_review(request):
        given: dict[str, Any] = dict(form.cleaned_data)
        reason, seen = given.pop("reason"), given.pop("seen")
        try:
            entry = api_key_update(key, given, seen=seen, actor=actor_of(request), reason=reason)
        except ValidationError as error:
            add_errors(form, error)
        except Conflict as conflict:
            return form_conflict(request, form, conflict, url)
        else:
            text = f"{given['name']} saved, in force on the next request."
            return changed(request, url, entry, text)
    return render_form(request, FormPage(f"Edit {key.name}", "Save", form, url))


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
            f"which {_last_used_text(key)}. It may do the same, from the same networks."
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
        "scopes": scopes_text(new.key),
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
    """Part of a sentence, such as "was last used 3 min ago by unity/2.1"."""
    if key.last_used_at is None:
        return "has never been used"
    by = f" by {key.last_client}" if key.last_client else ""
    place = f" from {key.last_address}" if key.last_address else ""
    return f"was last used {moment_words(key.last_used_at)}{by}{place}"


def moment_words(moment: datetime) -> str:
    text = reltime_words(timezone.localtime(moment), timezone.localtime(timezone.now()))
    return text if text.startswith(("in ", "just ")) or text.endswith(" ago") else f"on {text}"
