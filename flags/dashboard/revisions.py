"""A revision of a flag, and the comparison of two."""

from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from flags import services
from flags.dashboard.shortcuts import get_flag_or_404
from flags.dashboard.views import document_context
from flags.engine.document import DocumentError, read_document
from flags.models import Flag, FlagRevision
from ilara_admin.models import Role
from ilara_admin.web.access import may, staff_view
from ilara_admin.web.htmx import HtmxHttpRequest


class CompareForm(forms.Form):
    """The numbers of two revisions."""

    a = forms.IntegerField(label="Revision", min_value=1)
    b = forms.IntegerField(label="With revision", min_value=1)

    def __init__(self, flag: Flag, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.flag = flag
        for field in self.fields.values():
            field.widget.attrs["max"] = flag.revision

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for name in self.fields:
            number = data.get(name)
            if number is None:
                continue
            data[name] = self.flag.revisions.filter(number=number).first()
            if data[name] is None:
                self.add_error(name, f"There are revisions 1 to {self.flag.revision}.")
        return data


@staff_view(Role.VIEWER)
def flag_compare(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """The differences between the revisions `?a=` and `?b=`, by default the last two."""
    flag = get_flag_or_404(request, key)
    newest = {"a": max(flag.revision - 1, 1), "b": flag.revision}
    form = CompareForm(flag, {**newest, **request.GET.dict()})
    context: dict[str, Any] = {"flag": flag, "form": form}
    if form.is_valid():
        a, b = form.cleaned_data["a"], form.cleaned_data["b"]
        context |= {"revisions": [a, b], "changes": services.differences(a, b, b.created_at)}
        context |= _may_restore(request, flag)
    return render(request, "flags/compare.html", context)


@staff_view(Role.VIEWER)
def flag_revision(request: HtmxHttpRequest, key: str, number: int) -> HttpResponse:
    """A revision: its differences from the one before, and the document as it was."""
    flag = get_flag_or_404(request, key)
    revision = get_object_or_404(flag.revisions, number=number)
    before = flag.revisions.filter(number=number - 1).first()
    context: dict[str, Any] = {
        "flag": flag,
        "revision": revision,
        "changes": services.differences(before, revision, revision.created_at) if before else [],
        **_may_restore(request, flag),
        **_document(revision),
    }
    return render(request, "flags/revision.html", context)


def _may_restore(request: HtmxHttpRequest, flag: Flag) -> dict[str, bool]:
    return {"may_restore": may(request, Role.LIVE_OPS) and not flag.archived_at}


def _document(revision: FlagRevision) -> dict[str, Any]:
    try:
        document = read_document(revision.document)
    except DocumentError as error:
        return {"problem": str(error)}
    return document_context(document, revision.created_at)
