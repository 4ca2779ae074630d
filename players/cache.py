"""The churn model's parameters, a part of the environment cache."""

from ilara_admin.api.environment_cache import Parts, register_part
from players.churn_model.risk import PRIOR, Parameters

NEWEST_FIT = """
    SELECT jsonb_build_array(jsonb_build_object(
        'r', f.r, 'alpha', f.alpha, 'a', f.a, 'b', f.b, 'c0', f.c0, 'c1', f.c1, 'c2', f.c2,
        'log_likelihood', f.log_likelihood, 'source', f.until))
    FROM churn_fit f WHERE f.environment_id = e.id ORDER BY f.id DESC LIMIT 1"""


def _newest(fits: list[Parameters], parts: Parts) -> Parameters:
    return fits[0] if fits else PRIOR


churn_part = register_part(NEWEST_FIT, Parameters, _newest)
