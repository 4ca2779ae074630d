"""The flags that depend on a changed one and the experiments that measure it, for dialogs and
reviews."""

from flags.cache import flags_of
from flags.dashboard.impact_figures import Impact, requirement
from flags.engine.dependents import Dependent, dependents_of
from flags.engine.document import FlagDocument, encode_document
from flags.models import Experiment, ExperimentKind, ExperimentState, Flag
from flags.results.measured import has_rule, measures_alike
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


def affected_experiments(
    request: HtmxHttpRequest, flag: Flag, draft: FlagDocument
) -> list[Affected]:
    """The running experiments of a readable flag whose results do not go on with the draft."""
    running = Experiment.objects.filter(
        flag=flag, kind=ExperimentKind.EXPERIMENT, state=ExperimentState.RUNNING
    )
    before, after = encode_document(flag.spec), encode_document(draft)
    found = []
    for experiment in running.defer("evidence").order_by("key"):
        text = "begins a new phase: its results start again, with the players of the new rule."
        if not has_rule(after, experiment.rule_id):
            text = "stops, as its rule is removed. Its results stay."
        elif measures_alike(before, after, experiment.rule_id):
            continue
        url = environment_url(request, "experiment_detail", experiment.key)
        found.append(Affected(experiment.key, url, text))
    return found
