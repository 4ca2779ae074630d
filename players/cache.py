"""The parameters of the churn model, as a part of an environment's snapshot."""

from collections.abc import Mapping
from typing import Any

from ilara_admin.api import environment_cache
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.models import Environment
from players.churn_model.risk import PRIOR, Parameters

PART = "churn"
SQL = """
    SELECT jsonb_build_object('r', f.r, 'alpha', f.alpha, 'a', f.a, 'b', f.b,
                              'log_likelihood', f.log_likelihood, 'source', f.until)
    FROM churn_fit f WHERE f.environment_id = e.id ORDER BY f.id DESC LIMIT 1"""


def compile_parameters(row: Any, parts: Mapping[str, Any]) -> Parameters:
    return Parameters(**row) if row else PRIOR


def parameters_of(source: Snapshot | Environment) -> Parameters:
    """Those by which /v1 tells churn risks right now."""
    known = source if isinstance(source, Snapshot) else environment_cache.at_version(source)
    parameters: Parameters = known.parts[PART]
    return parameters
