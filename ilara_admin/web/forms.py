"""Shared form tools: the form page, errors raised by services, repeated submissions."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from django import forms
from django.core import signing
from django.core.exceptions import ValidationError
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse

from ilara_admin.web.htmx import render_partial

_SENT_KEY = "sent_forms"
_SENT_KEPT = 20


@dataclass(frozen=True, slots=True)
class FormPage:
    """A page with only a form: a dialog with JavaScript, a page without. It has a Cancel button if
    `cancel_url` is not empty."""

    title: str
    button: str
    form: BaseForm
    cancel_url: str
    text: str = ""


def render_form(request: HttpRequest, page: FormPage) -> HttpResponse:
    if not page.form.errors:
        first = next(iter(page.form.fields.values()))
        first.widget.attrs["autofocus"] = True
    return render_partial(
        request,
        "form.html",
        {"page": page},
        partial="form",
        status=422 if page.form.errors else 200,
    )


class LinesField(forms.CharField):
    """A list of texts, one per line."""

    widget = forms.Textarea(
        attrs={"class": "mono", "rows": 3, "autocapitalize": "none", "spellcheck": "false"}
    )

    def prepare_value(self, value: Any) -> str:
        return value if isinstance(value, str) else "\n".join(value or ())

    def clean(self, value: Any) -> list[str]:
        text: str = super().clean(value)
        return text.replace("\0", "").splitlines()


class SeenForm(forms.Form):
    """A form that posts its initial values, signed, so that the service can write only the changed
    fields and detect conflicts. `key` names the object."""

    seen = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)

    def __init__(
        self, key: str, now: Mapping[str, Any], data: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.salt = f"seen:{key}"
        super().__init__(data, initial={**now, **(initial or {}), "seen": self.sign(now)})
        self.fields["seen"] = self.fields.pop("seen")  # last: the first field gets the focus

    def sign(self, fields: Mapping[str, Any]) -> str:
        return signing.dumps(fields, salt=self.salt, compress=True)

    def clean_seen(self) -> dict[str, Any] | None:
        """None if not posted; then conflicts are not detected."""
        text = self.cleaned_data["seen"]
        try:
            seen: dict[str, Any] | None = signing.loads(text, salt=self.salt) if text else None
        except signing.BadSignature:
            raise forms.ValidationError("This form is too old. Open it again.") from None
        return seen


def add_errors(form: BaseForm, error: ValidationError) -> None:
    """Add a service's error to the form: to the field it names, else to the whole form."""
    found = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
    for name, messages in found.items():
        for message in messages:
            form.add_error(name if name in form.fields else None, message)


# --- Repeated submissions -------------------------------------------------------------------------
# A form whose response shows a secret cannot redirect, so a reload submits it again. Each rendered
# form has a different CSRF token, which identifies the submission.


def was_sent(request: HttpRequest) -> bool:
    return _mark(request) in request.session.get(_SENT_KEY, [])


def remember_sent(request: HttpRequest) -> None:
    if mark := _mark(request):
        sent = request.session.get(_SENT_KEY, [])
        request.session[_SENT_KEY] = [*sent, mark][-_SENT_KEPT:]


def _mark(request: HttpRequest) -> str:
    token = request.POST.get("csrfmiddlewaretoken", "")
    return sha256(token.encode()).hexdigest()[:24] if token else ""
