"""The confirmation page or dialog before a change that affects players."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse

from ilara_admin.web.htmx import render_partial

PREVIEW = "confirm-preview"  # the id of the element that previews the effect of the form's values


@dataclass(frozen=True, slots=True)
class Change:
    label: str
    before: str
    after: str


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
    reason: Literal["hidden", "optional", "required"] = "optional"  # posted as "reason"
    type_to_confirm: str = ""  # posted as "typed"
    form: BaseForm | None = None
    error: str = ""
    preview: str | None = None  # the effect of the form's values; None: no preview

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
