"""The notification of a breached guard metric, and why its audit entry cannot be undone."""

from ilara_admin.core.changes import register_permanent
from ilara_admin.core.notifications import register_kind
from ilara_admin.models import AuditAction, Role

GUARD_BREACH = "guard_breach"


def register() -> None:
    register_kind(
        GUARD_BREACH,
        "Guards breached",
        "A guard metric of a rollout or experiment got worse than tolerable: what was seen, and "
        "what was done about it.",
        role=Role.LIVE_OPS,
    )
    register_permanent(
        {
            AuditAction.EXPERIMENT_BREACHED: "What a guard saw stays on record. Undo the change of "
            "the flag instead."
        }
    )
