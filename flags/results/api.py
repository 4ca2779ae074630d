"""The Experiments API."""

from django.http import HttpResponse
from django.urls import path

from flags.models import Experiment
from flags.results import schemas
from flags.results.examples import EXAMPLES
from flags.results.latest import latest_results, outcomes_by_day, results_json
from ilara_admin.api.dispatch import ApiRequest, respond, route
from ilara_admin.api.endpoint import Docs, endpoint
from ilara_admin.api.errors import invalid, not_found
from ilara_admin.api.hints import did_you_mean
from ilara_admin.models import KeyScope
from segments.keys import KEY, KEY_FORM

INVALID_KEY = f"key must be the key of an experiment. {KEY_FORM}"
EXPERIMENT_NOT_FOUND = "Experiment not found in {slug}, the environment of this key."


@endpoint(
    "GET",
    scope=KeyScope.READ,
    secret=True,
    docs=Docs(
        reply=schemas.ExperimentResults,
        path={"key": schemas.ExperimentKey},
        query=schemas.ResultsQuery,
        invalid=INVALID_KEY,
        missing=(EXPERIMENT_NOT_FOUND.format(slug="live"),),
        examples=EXAMPLES,
    ),
)
def experiment_results(request: ApiRequest, key: str) -> HttpResponse:
    """Get the results of an experiment or a guarded rollout. They are refreshed each minute, and
    those of the current phase count. Intervals and p-values are always valid: look at them as
    often as you like. Below 100 players per variant there is no verdict."""
    if not KEY.fullmatch(key):
        raise invalid(INVALID_KEY, "key")
    by_day = request.GET.get("by_day") or "false"
    if by_day not in ("true", "false"):
        raise invalid("by_day must be true or false", "by_day")
    known = Experiment.objects.filter(environment_id=request.snapshot.environment_id)
    experiment = known.filter(key=key).select_related("flag", "environment").first()
    if experiment is None:
        message = EXPERIMENT_NOT_FOUND.format(slug=request.snapshot.slug)
        raise not_found(message + did_you_mean(key, known.values_list("key", flat=True)))
    latest = latest_results(experiment)
    days = outcomes_by_day(latest) if by_day == "true" else None
    return respond(results_json(latest, days))


urlpatterns = [path("experiments/experiments/<str:key>/results", route(experiment_results))]
