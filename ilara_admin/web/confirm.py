"""The confirmation before a change, the conflict page, and the toast with Undo after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse

from ilara_admin.core.changes import Conflict, may_undo
from ilara_admin.core.diff import Change
from ilara_admin.models import AuditEntry
from ilara_admin.web.access import environment_url
from ilara_admin.web.forms import SeenForm
from ilara_admin.web.htmx import (
    HtmxHttpRequest,
    redirect_to,
    render_partial,
    wants_partial,
    with_toast,
)

ASKED = "asked"  # posted by the dialog, not by the Undo of a toast
PREVIEW = "confirm-preview"  # the id of the element that previews the effect of the form's values
REVIEW = "review"  # posted by Review on the conflict page


@dataclass(frozen=True, slots=True)
class Affected:
    """Another object that a change affects, and what happens there, as sentences."""

    name: str
    url: str
    text: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """Title and button name the object: "Delete checkout_v2". Cancelling leads to `cancel_url`.
    Without a button the change is not possible, and `text` explains why."""

    title: str
    button: str
    cancel_url: str
    text: str = ""
    tone: Literal["primary", "danger"] = "primary"
    changes: Sequence[Change] = ()
    dependents: Sequence[tuple[str, int]] = ()  # ("players with an override", 12)
    affected: Sequence[Affected] = ()
    affected_title: str = "Flags that depend on it"
    second_button: tuple[str, str] = ("", "")  # the name it posts and its text
    figures: str = ""  # the numbers behind the text, as HTML
    reason: Literal["hidden", "optional", "required"] = "optional"  # posted as "reason"
    type_to_confirm: str = ""  # posted as "typed"
    form: BaseForm | None = None
    more_fields: str = ""  # below those of the form, as HTML
    error: str = ""
    preview: str | None = None  # the effect of the form's values, or HTML; None: no preview

    def is_typed(self, request: HttpRequest) -> bool:
        """Whether the name was typed correctly. The browser's check cannot be relied on."""
        return request.POST.get("typed", "").strip() == self.type_to_confirm


def render_confirm(request: HttpRequest, confirm: Confirm) -> HttpResponse:
    """The confirmation as a page, or as the content of a dialog for htmx."""
    if confirm.form is not None and not confirm.form.errors:
        # Focus the first field, not the reason below it.
        first = next(iter(confirm.form.fields.values()))
        first.widget.attrs["autofocus"] = True
    refused = confirm.error or (confirm.form is not None and confirm.form.errors)
    return render_partial(
        request,
        "confirm.html",
        {"confirm": confirm},
        partial="confirm",
        status=422 if refused else 200,
    )


def render_conflict(
    request: HtmxHttpRequest,
    conflict: Conflict,
    *,
    cancel_url: str,
    fields: Mapping[str, Sequence[str]] | None = None,
    save_url: str = "",
    review_url: str = "",
    refused: str = "Nothing was undone.",
    next_step: str = "Undo the newer change first.",
) -> HttpResponse:
    """The changes of the other account and of this request. Status 409, or 422 for htmx.

    Overwrite posts `fields` to `save_url`, Review posts them to `review_url`; both default to the
    URL of this request. Without `fields` neither is offered: the page says what was `refused`, and
    the `next_step`.
    """
    target = f"{conflict.object_type}:{conflict.object_id}"
    context = {
        "conflict": conflict,
        "latest": AuditEntry.objects.visible_to(request.user, request.environment)
        .filter(object_type=conflict.object_type, object_id=conflict.object_id)
        .first(),
        "log_url": f"{environment_url(request, 'audit_list')}?{urlencode({'object': target})}",
        "fields": fields,
        "save_url": save_url or request.get_full_path(),
        "review_url": review_url or request.get_full_path(),
        "cancel_url": cancel_url,
        "refused": refused,
        "next_step": next_step,
    }
    status = 422 if wants_partial(request) else 409
    return render_partial(request, "conflict.html", context, partial="conflict", status=status)


def form_conflict(
    request: HtmxHttpRequest, form: SeenForm, conflict: Conflict, cancel_url: str
) -> HttpResponse:
    """The conflict page of a SeenForm."""
    fields = posted_again(request, seen=form.sign(conflict.current))
    return render_conflict(request, conflict, cancel_url=cancel_url, fields=fields)


def posted_again(request: HttpRequest, **replaced: str) -> dict[str, Sequence[str]]:
    """The posted fields, for the conflict page, with some replaced."""
    dropped = ("csrfmiddlewaretoken", REVIEW)
    posted = {name: each for name, each in request.POST.lists() if name not in dropped}
    return {**posted, **{name: [value] for name, value in replaced.items()}}


def is_review(request: HttpRequest) -> bool:
    """Whether the conflict page posted the form for further editing, not for saving."""
    return REVIEW in request.POST


def undo_url_of(request: HtmxHttpRequest, entry: AuditEntry | None) -> str:
    """The URL that undoes the change; "" if this user cannot undo it."""
    in_environment = hasattr(request, "environment")
    if entry is None or not in_environment or not may_undo(entry, request.user):
        return ""
    return environment_url(request, "audit_undo", entry.pk)


def undo_together_url_of(request: HtmxHttpRequest, entries: Sequence[AuditEntry]) -> str:
    """The URL that undoes several changes of one request; "" if this user cannot undo them all."""
    if len(entries) < 2:
        return undo_url_of(request, entries[0] if entries else None)
    if not all(may_undo(entry, request.user) for entry in entries):
        return ""
    return environment_url(request, "audit_undo_together", entries[0].pk)


def changed(
    request: HtmxHttpRequest, url: str, entry: AuditEntry | None, text: str
) -> HttpResponse:
    """Redirect after a change, with a toast that offers Undo."""
    response = redirect_to(request, url)
    if entry is None:
        return with_toast(request, response, "Nothing was changed.", tone="info")
    return with_toast(request, response, text, undo_url=undo_url_of(request, entry))


def changed_together(
    request: HtmxHttpRequest, url: str, entries: Sequence[AuditEntry], text: str
) -> HttpResponse:
    """Redirect after several changes in this request, with a toast whose Undo takes all back."""
    response = redirect_to(request, url)
    if not entries:
        return with_toast(request, response, "Nothing was changed.", tone="info")
    return with_toast(request, response, text, undo_url=undo_together_url_of(request, entries))
