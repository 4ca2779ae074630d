"""What the flag pages share: finding a flag, and going back to its page after a change."""

from django.http import HttpResponse

from flags.models import Flag
from ilara_admin.web.access import environment_url, get_or_404
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast


def get_flag_or_404(request: HtmxHttpRequest, key: str) -> Flag:
    return get_or_404(request, Flag.objects.with_author().with_last_evaluated(), key=key)


def done(request: HtmxHttpRequest, flag: Flag, text: str, *, changed: bool) -> HttpResponse:
    """Back to the flag's page, with a toast whose Undo restores the revision before, no matter how
    many others saved while this request waited its turn."""
    undo_url = ""
    if changed:
        restore = environment_url(request, "flag_restore", flag.key, flag.revision - 1)
        undo_url = f"{restore}?from={flag.revision}"
    response = redirect_to(request, environment_url(request, "flag_detail", flag.key))
    return with_toast(request, response, text, undo_url=undo_url)
