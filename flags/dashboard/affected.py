"""The flags that depend on a changed one, for dialogs and reviews."""

from flags.cache import flags_of
from flags.dashboard.impact_figures import Impact, requirement
from flags.engine.dependents import Dependent, dependents_of
from flags.models import Flag
from ilara_admin.api import environment_cache
from ilara_admin.web.access import environment_url
from ilara_admin.web.confirm import Affected
from ilara_admin.web.htmx import HtmxHttpRequest


def dependents_in_use(request: HtmxHttpRequest, flag: Flag) -> list[Dependent]:
    """The flags that depend on `flag`, nearest first, as requests see them now."""
    return dependents_of(flag.key, flags_of(environment_cache.at_version(request.environment)))


def affected_flags(
    request: HtmxHttpRequest, flag: Flag, impact: Impact | None, *, only_changed: bool = False
) -> list[Affected]:
    """The flags that depend on `flag`, with what happens to their players. Without an impact, for a
    flag that cannot be evaluated, only what they require. `only_changed` leaves out flags in which
    nothing changes."""
    if impact is None:
        found = [(each.flag.key, requirement(each)) for each in dependents_in_use(request, flag)]
    else:
        found = [
            (each.dependent.flag.key, each.text(impact))
            for each in impact.dependents
            if each.is_affected or not only_changed
        ]
    return [
        Affected(key, environment_url(request, "flag_detail", key), text) for key, text in found
    ]
