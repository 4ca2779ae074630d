"""The dialog that edits the details of a flag."""

from django.core.exceptions import ValidationError
from django.http import HttpResponse

from flags import services
from flags.dashboard.forms import DetailsForm
from flags.dashboard.shortcuts import done, get_flag_or_404
from flags.models import Flag
from ilara_admin.core.changes import Conflict, clean_reason
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import form_conflict, is_review
from ilara_admin.web.forms import FormPage, add_errors, render_form
from ilara_admin.web.htmx import HtmxHttpRequest


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_details(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """Edit the details, even if the document cannot be read."""
    flag = get_flag_or_404(request, key)
    url = environment_url(request, "flag_detail", key)
    form = DetailsForm(flag, request.POST if request.method == "POST" else None)
    form.suggest_tags(Flag.objects.of(request.environment).tags())
    if request.method == "POST" and form.is_valid() and not is_review(request):
        try:
            saved, entry = services.flag_set_details(
                flag,
                form.details,
                seen=form.cleaned_data["seen"],
                actor=actor_of(request),
                reason=clean_reason(form.cleaned_data["reason"]),
            )
        except Conflict as conflict:
            return form_conflict(request, form, conflict, url)
        except ValidationError as problem:
            add_errors(form, problem)
        else:
            return done(request, saved, entry, f"Saved the details of {key}.")
    return render_form(request, FormPage(f"Details of {key}", "Save", form, url))
