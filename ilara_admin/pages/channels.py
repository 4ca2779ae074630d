"""Channels of a project, incoming webhooks of Slack and Discord, and the deliveries to channels and
by e-mail."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.core.channels import channel_create, channel_delete, channel_fields, channel_update
from ilara_admin.core.deliveries import send_again, send_test
from ilara_admin.core.notifications import all_kinds, kind_of
from ilara_admin.core.text import isolated
from ilara_admin.core.webhooks import masked
from ilara_admin.models import (
    ChannelKind,
    DeliveryState,
    NotificationChannel,
    NotificationDelivery,
    Role,
)
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import Confirm, changed, form_conflict, is_review, render_confirm
from ilara_admin.web.filters import FilterForm, render_list
from ilara_admin.web.forms import FormPage, SeenForm, add_errors, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast
from ilara_admin.web.pagination import KeysetPage

WHERE_FROM = (
    "In Slack: Apps, Incoming Webhooks, Add to Slack. In Discord: the settings of a channel, "
    "Integrations, Webhooks."
)
TONES = {
    DeliveryState.QUEUED: "info",
    DeliveryState.SENDING: "info",
    DeliveryState.SENT: "ok",
    DeliveryState.FAILED: "danger",
}


def _kinds_field() -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        label="Gets",
        required=False,
        choices=lambda: [(kind.key, kind.label) for kind in all_kinds()],
        widget=forms.CheckboxSelectMultiple,
    )


class ChannelForm(forms.Form):
    kind = forms.ChoiceField(
        choices=ChannelKind, initial=ChannelKind.SLACK, widget=forms.RadioSelect
    )
    name = forms.CharField(
        max_length=100,
        help_text="How it is called there: “#live-ops”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    url = forms.CharField(
        label="Address of the webhook",
        max_length=500,
        help_text=f"{WHERE_FROM} Anyone who knows it can post there, so it is not shown again.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "class": "mono", "spellcheck": "false"}
        ),
    )
    kinds = _kinds_field()


class EditChannelForm(SeenForm):
    name = forms.CharField(max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    kinds = _kinds_field()
    url = forms.CharField(
        label="New address of the webhook",
        max_length=500,
        required=False,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "class": "mono", "spellcheck": "false"}
        ),
    )


@staff_view(Role.ADMIN)
def channel_list(request: HtmxHttpRequest) -> HttpResponse:
    labels = {kind.key: kind.label for kind in all_kinds()}
    channels = NotificationChannel.objects.filter(project=request.project).order_by("name")
    rows = [
        {
            "channel": each,
            "address": masked(each.url),
            "kinds": [labels[key] for key in each.kinds if key in labels],
        }
        for each in channels
    ]
    return render(request, "ilara_admin/channel_list.html", {"rows": rows})


@staff_view(Role.ADMIN, "GET", "POST")
def channel_new(request: HtmxHttpRequest) -> HttpResponse:
    form = ChannelForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        given = form.cleaned_data
        try:
            channel = channel_create(
                project=request.project,
                kind=ChannelKind(given["kind"]),
                name=given["name"],
                url=given["url"],
                kinds=given["kinds"],
                actor=actor_of(request),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            text = f"Added {isolated(channel.name)}. Send it a test message."
            return with_toast(request, _to_list(request), text)
    url = environment_url(request, "channel_list")
    return render_form(request, FormPage("New channel", "Add channel", form, url))


@staff_view(Role.ADMIN, "GET", "POST")
def channel_edit(request: HtmxHttpRequest, channel_id: int) -> HttpResponse:
    channel = _channel(request, channel_id)
    fields = channel_fields(channel)
    now = {"name": fields["name"], "kinds": fields["kinds"]}
    posted = request.POST if request.method == "POST" else None
    form = EditChannelForm(f"channel:{channel.pk}", now, posted)
    form.fields["url"].help_text = f"Leave it empty to keep {fields['address']}."
    url = environment_url(request, "channel_list")
    if form.is_valid() and not is_review(request):
        try:
            entry = channel_update(channel, **form.cleaned_data, actor=actor_of(request))
        except ValidationError as error:
            add_errors(form, error)
        except Conflict as conflict:
            return form_conflict(request, form, conflict, url)
        else:
            return changed(request, url, entry, f"{isolated(channel.name)} is saved.")
    title = f"Edit {isolated(channel.name)}"
    return render_form(request, FormPage(title, "Save", form, url))


@staff_view(Role.ADMIN, "GET", "POST")
def channel_remove(request: HtmxHttpRequest, channel_id: int) -> HttpResponse:
    channel = _channel(request, channel_id)
    name = isolated(channel.name)
    if request.method == "POST":
        channel_delete(channel, actor=actor_of(request), reason=reason_of(request))
        return with_toast(request, _to_list(request), f"Removed {name}.")
    confirm = Confirm(
        title=f"Remove {name}",
        button=f"Remove {name}",
        cancel_url=environment_url(request, "channel_list"),
        text="It gets no further messages. Its address is not kept, so this cannot be undone.",
        tone="danger",
    )
    return render_confirm(request, confirm)


@staff_view(Role.ADMIN, "POST")
def channel_test(request: HtmxHttpRequest, channel_id: int) -> HttpResponse:
    """Send a test message and show what the receiver answered."""
    channel = _channel(request, channel_id)
    delivery = send_test(channel, actor_of(request).name)
    name = isolated(channel.name)
    if delivery.state == DeliveryState.SENT:
        return with_toast(request, _to_list(request), f"{name} accepted the test message.")
    text = f"{name} got no test message. {delivery.error}"
    return with_toast(request, _to_list(request), text, tone="danger")


def _channel(request: HtmxHttpRequest, channel_id: int) -> NotificationChannel:
    channels = NotificationChannel.objects.select_related("project")
    return get_object_or_404(channels, project=request.project, pk=channel_id)


def _to_list(request: HtmxHttpRequest) -> HttpResponse:
    return redirect_to(request, environment_url(request, "channel_list"))


# --- Deliveries -----------------------------------------------------------------------------------


class DeliveryFilterForm(FilterForm):
    state = forms.ChoiceField(required=False, choices=[("", "Any"), *DeliveryState.choices])
    by = forms.ChoiceField(
        label="To",
        required=False,
        choices=[("", "Anyone"), ("email", "People by e-mail"), ("channel", "Channels")],
    )


@staff_view(Role.ADMIN)
def delivery_list(request: HtmxHttpRequest) -> HttpResponse:
    """Newest first."""
    form = DeliveryFilterForm(request)
    deliveries = NotificationDelivery.objects.filter(project=request.project).order_by("-pk")
    if state := form.value("state"):
        deliveries = deliveries.filter(state=state)
    if by := form.value("by"):
        deliveries = deliveries.filter(channel__isnull=by == "email")
    rows = deliveries.select_related("notification__environment", "user", "channel")
    page = KeysetPage.of(rows, request)
    context: dict[str, Any] = {
        "form": form,
        "page": page,
        "rows": [
            (each, kind_of(each.notification.kind), TONES[DeliveryState(each.state)])
            for each in page.rows
        ],
        "now": timezone.now(),
    }
    return render_list(request, "ilara_admin/delivery_list.html", context)


@staff_view(Role.ADMIN, "POST")
def delivery_again(request: HtmxHttpRequest, delivery_id: int) -> HttpResponse:
    deliveries = NotificationDelivery.objects.filter(project=request.project)
    queued = send_again(get_object_or_404(deliveries, pk=delivery_id))
    text = "It is sent within a minute." if queued else "It did not fail."
    response = redirect_to(request, environment_url(request, "delivery_list"))
    return with_toast(request, response, text, tone="ok" if queued else "info")
