"""The built-in fields of the rule language as SQL expressions over a row `p` of `player`.

Each expression returns exactly the value that record.BuiltinFields computes in Python. A property
test compares the two.
"""

from players.churn_model.risk import LARGEST, RISK_DAYS, SMALLEST, STEEPEST, Parameters
from players.lifecycle import Stage, Thresholds


def builtin_fields_sql(now: str, thresholds: Thresholds, parameters: Parameters) -> dict[str, str]:
    """SQL expressions by field name, evaluated at the SQL time `now`."""
    return {
        "external_id": "p.external_id",
        "device_id": "p.device_id",
        "email": "p.email",
        "email_domain": EMAIL_DOMAIN,
        "lifecycle_stage": stage_sql(now, thresholds),
        "is_payer": "(p.purchase_count > 0)",
        "session_count": "p.session_count",
        "active_days": "p.active_days",
        "purchase_count": "p.purchase_count",
        "total_revenue": "p.total_revenue",
        "risk_score": risk_sql(now, parameters),
        "first_seen_at": "p.first_seen_at",
        "last_seen_at": "p.last_seen_at",
        "days_since_last_seen": (
            f"greatest(floor(extract(epoch FROM {now} - p.last_seen_at) / 86400), 0)"
        ),
    }


# The part after the last @ in lower case. Only ASCII letters change: PostgreSQL and Python differ
# on the others.
EMAIL_DOMAIN = """(CASE WHEN strpos(p.email, '@') > 0 THEN translate(
    reverse(split_part(reverse(p.email), '@', 1)),
    'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz') END)"""


def stage_sql(now: str, thresholds: Thresholds) -> str:
    """lifecycle.stage_at in SQL."""

    def ago(days: int) -> str:
        return f"{now} - interval '{24 * days:d} hours'"

    fresh = ago(thresholds.new_days)
    return f"""(CASE WHEN p.last_seen_at <= {ago(thresholds.churned_days)} THEN '{Stage.CHURNED}'
        WHEN p.last_seen_at <= {ago(thresholds.at_risk_days)} THEN '{Stage.AT_RISK}'
        WHEN p.returned_at > {fresh} THEN '{Stage.REACTIVATED}'
        WHEN p.first_seen_at > {fresh} THEN '{Stage.NEW}' ELSE '{Stage.ACTIVE}' END)"""


def risk_sql(now: str, parameters: Parameters) -> str:
    """churn_model.risk.score_at in SQL."""
    today, first = (f"({at} AT TIME ZONE 'UTC')::date" for at in (now, "p.first_seen_at"))
    frequency = "greatest(p.active_days - 1, 0)"
    recency = f"(p.last_active_on - {first})"
    age = f"greatest({today} - {first}, {recency})"
    alpha, r, a, b, c0, c1, c2 = (
        f"({value!r})::float8"
        for value in (
            parameters.alpha, parameters.r, parameters.a, parameters.b,
            parameters.c0, parameters.c1, parameters.c2,
        )
    )  # fmt: skip
    gone = (
        f"ln({a} / ({b} + {frequency})) + ({r} + {frequency}) "
        f"* ln(({alpha} + {age}) / ({alpha} + {recency}))"
    )
    pause = (
        f"exp(greatest(({r} + {frequency}) "
        f"* ln(({alpha} + {age}) / ({alpha} + {age} + {RISK_DAYS})), -700))"
    )
    inverse = (
        f"least(greatest((1 + exp(least({gone}, {STEEPEST}))) / (1 - {pause}), "
        f"{SMALLEST!r}::float8), {LARGEST!r}::float8)"
    )
    logit = f"{c0} + {c1} * ln(1 - 1 / {inverse}) + {c2} * ln({inverse})"
    return f"round((1 / (1 + exp(-({logit}))))::text::numeric, 4)"
