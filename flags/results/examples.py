"""The example of the results of an experiment, for the specification."""

from typing import Any

from ilara_admin.api.endpoint import Example


def _control(players: int, mean: float) -> dict[str, Any]:
    empty = dict.fromkeys(("lift", "low", "high"))
    return {"variant": "disabled", "players": players, "mean": mean, **empty}


ENABLED = {
    "variant": "enabled",
    "players": 11002,
    "mean": 0.446,
    "lift": 0.0825,
    "low": 0.0131,
    "high": 0.1546,
}
RESULTS: dict[str, Any] = {
    "experiment": "bigger-button",
    "name": "Bigger buy button",
    "flag_key": "shop_button",
    "kind": "experiment",
    "state": "running",
    "control": "disabled",
    "phase": 1,
    "phase_at": "2026-05-04T09:00:00Z",
    "ended_at": None,
    "decision": None,
    "decided_variant": "",
    "computed_at": "2026-05-31T12:00:00Z",
    "players": {"disabled": 12411, "enabled": 12502},
    "left_out": {"overridden": 4, "two_variants": 17, "outside_population": 0},
    "sample_ratio": {"p_value": 0.5641, "trusted": True, "places": []},
    "metrics": [
        {
            "metric": "revenue",
            "name": "Revenue per player",
            "role": "primary",
            "kind": "revenue",
            "unit": "USD",
            "direction": "up",
            "tolerance": None,
            "window_days": 7,
            "level": 0.95,
            "variants": [
                {
                    **_control(10920, 0.412),
                    "p_value": None,
                    "adjusted": False,
                    "verdict": None,
                },
                {**ENABLED, "p_value": 0.0112, "adjusted": True, "verdict": "better"},
            ],
        }
    ],
}
DAYS = [
    {
        "day": "2026-05-30",
        "variants": [
            _control(10411, 0.409),
            ENABLED | {"players": 10498, "mean": 0.441, "lift": 0.0782, "low": 0.0066},
        ],
    },
    {"day": "2026-05-31", "variants": [_control(10920, 0.412), ENABLED]},
]
EXAMPLES = (
    Example(RESULTS),
    Example(
        RESULTS | {"metrics": [RESULTS["metrics"][0] | {"days": DAYS}]},
        query={"by_day": "true"},
        name="by day",
    ),
)
