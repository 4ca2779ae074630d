"""Labels of stages and risk levels. A tone is a colour of the design system."""

from dataclasses import dataclass

from players.churn_model.risk import RiskLevel
from players.lifecycle import Stage


@dataclass(frozen=True, slots=True)
class Badge:
    label: str
    tone: str


STAGES = {
    Stage.NEW: Badge("New", "info"),
    Stage.ACTIVE: Badge("Active", "ok"),
    Stage.AT_RISK: Badge("At risk", "warn"),
    Stage.CHURNED: Badge("Churned", "danger"),
    Stage.REACTIVATED: Badge("Reactivated", "ok"),
}
RISKS = {
    RiskLevel.LOW: Badge("Low", "ok"),
    RiskLevel.MEDIUM: Badge("Medium", "warn"),
    RiskLevel.HIGH: Badge("High", "danger"),
}
