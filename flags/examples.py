"""Examples of requests and replies of the Feature Flags API and OFREP, for the specification."""

from ilara_admin.api.endpoint import Example
from ilara_admin.api.json_schema import EXAMPLE_ID

PLAYER = {"player_id": EXAMPLE_ID}
TUTORIAL = {
    "flag_key": "new_tutorial",
    "value": True,
    "variant_key": "enabled",
    "reason": "segment_match",
    "segment_id": "beta-testers",
}
FEATURE = {
    "flag_key": "new-feature",
    "value": False,
    "variant_key": "disabled",
    "reason": "disabled",
    "segment_id": None,
}
AT = "2025-01-25T14:30:00Z"
RECEIPT = {
    "flag_revision": 1,
    "at": AT,
    "player_as_of": AT,
    "summary": "Rule 1: in segment beta-testers.",
    "nearest_miss": None,
    "override": None,
    "prerequisites": [],
    "rules": [
        {
            "index": 0,
            "id": "beta",
            "name": "",
            "segment": {
                "key": "beta-testers",
                "passed": True,
                "list": None,
                "rule": {
                    "operator": "OR",
                    "passed": True,
                    "conditions": [
                        {
                            "condition": "level is at least 40",
                            "field": "level",
                            "expected": "is at least 40",
                            "actual": "45",
                            "passed": True,
                        },
                        {
                            "condition": "is_vip is true",
                            "field": "is_vip",
                            "expected": "is true",
                            "actual": "true",
                            "passed": True,
                        },
                    ],
                },
            },
            "conditions": None,
            "matched": True,
            "rollout": {
                "bucket": 34512,
                "threshold": 100000,
                "passed": True,
                "schedule": None,
                "next_change_at": None,
                "next_threshold": None,
            },
            "split_bucket": None,
            "variant_key": "enabled",
            "decides": True,
            "nearest_miss": None,
        }
    ],
}
EVALUATE = (
    Example(TUTORIAL, PLAYER),
    Example(TUTORIAL | {"receipt": RECEIPT}, PLAYER, {"explain": "true"}, name="explained"),
)
EVALUATE_ALL = (
    Example(
        {"player_id": EXAMPLE_ID, "flags": {"new-feature": FEATURE, "new_tutorial": TUTORIAL}},
        PLAYER,
    ),
)

SUBJECT = {"context": {"targetingKey": "player_123", "level": 45}}
OFREP_TUTORIAL = {
    "key": "new_tutorial",
    "reason": "TARGETING_MATCH",
    "variant": "enabled",
    "value": True,
    "metadata": {
        "version": 1,
        "reason": "segment_match",
        "ruleId": "beta",
        "segmentId": "beta-testers",
    },
}
OFREP_FEATURE = {
    "key": "new-feature",
    "reason": "DISABLED",
    "variant": "disabled",
    "value": False,
    "metadata": {"version": 1, "reason": "disabled"},
}
OFREP = (Example(OFREP_TUTORIAL, SUBJECT),)
OFREP_ALL = (Example({"flags": [OFREP_FEATURE, OFREP_TUTORIAL]}, SUBJECT),)
