"""Who switches, in dialogs and reviews, and the button that asks all players."""

from typing import NamedTuple

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from flags.dashboard.impact_figures import Impact
from flags.dashboard.impact_job import impact_found, impact_start, keep_going
from flags.dashboard.views import impact_of
from flags.engine.document import FlagDocument
from flags.models import Flag, FlagImpact
from ilara_admin.web.htmx import HtmxHttpRequest

EVERYONE = "everyone"  # posted by the button of a dialog
EVERYONE_BUTTON = EVERYONE, "Evaluate all players"


def asks_everyone(request: HtmxHttpRequest) -> bool:
    """Whether the dialog asks who switches among all players, and is not to be carried out."""
    return EVERYONE in request.POST


def impact_with_job(
    request: HtmxHttpRequest,
    flag: Flag,
    draft: FlagDocument,
    *,
    archived: bool | None = None,
    everyone: bool,
) -> tuple[Impact | None, FlagImpact | None]:
    """Who switches, and the job that evaluates all players if `everyone` takes too long here."""
    found = impact_of(request, flag, draft, archived=archived, everyone=everyone)
    if not everyone or found is None or found.exact:
        return found, None
    job = impact_start(flag, draft, request.environment, found.total, archived=archived)
    keep_going(job)
    return (impact_found(job) if job.chunk else None) or found, job


class DialogImpact(NamedTuple):
    """Who switches, None for a draft that cannot be evaluated, and the part of a dialog that shows
    it."""

    impact: Impact | None = None
    html: SafeString = SafeString("")

    @property
    def second_button(self) -> tuple[str, str]:
        """The button that asks all players, after a sample."""
        return ("", "") if self.impact is None or self.impact.exact else EVERYONE_BUTTON


def dialog_impact(
    request: HtmxHttpRequest, flag: Flag, draft: FlagDocument, *, archived: bool | None = None
) -> DialogImpact:
    everyone = asks_everyone(request)
    found, job = impact_with_job(request, flag, draft, archived=archived, everyone=everyone)
    if found is None:
        return DialogImpact()
    context = {"request": request, "flag": flag, "impact": found, "job": job, "compact": True}
    return DialogImpact(found, render_to_string("flags/_impact.html", context))
