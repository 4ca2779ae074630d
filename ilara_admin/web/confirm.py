"""What a confirmation shows before staff do something that players would notice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse

from ilara_admin.web.htmx import render_partial

PREVIEW = "confirm-preview"  # the id of the line that says what the form's values would do


@dataclass(frozen=True, slots=True)
class Change:
    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """Title and button name the object: "Delete checkout_v2". Cancelling leads to `cancel_url`.
    Without a button there is nothing to confirm: `text` says what stands in the way."""

    title: str
    button: str
    cancel_url: str
    text: str = ""
    tone: Literal["primary", "danger"] = "primary"
    changes: Sequence[Change] = ()
    dependents: Sequence[tuple[str, int]] = ()  # ("players with an override", 12)
    reason: Literal["hidden", "optional", "required"] = "optional"  # posted as "reason"
    type_to_confirm: str = ""  # posted as "typed"
    form: BaseForm | None = None
    error: str = ""
    preview: str | None = None  # what the form's values would do, on the way; None offers no look

    def is_typed(self, request: HttpRequest) -> bool:
        """Whether the name was typed as asked. The browser's own check is a courtesy only."""
        return request.POST.get("typed", "").strip() == self.type_to_confirm


def render_confirm(request: HttpRequest, confirm: Confirm) -> HttpResponse:
    """The confirmation as a page, or as the dialog's content when htmx asked."""
    if confirm.form is not None and not confirm.form.errors:
        # What is asked for comes first, not the reason below it.
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
