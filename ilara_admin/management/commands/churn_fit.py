from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ilara_admin.management.bar import ProgressBar
from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import environment_of
from players.churn_training import TooFewError, churn_refit


class Command(IlaraCommand):
    help = (
        "Fit the churn model to the players of an environment, as the worker does each night, and "
        "show how well it predicts. In force on the next request."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")

    def run(self, *, environment: str, **options: Any) -> None:
        found = environment_of(environment)
        try:
            fit = churn_refit(found, datetime.now(UTC).date(), ProgressBar())
        except TooFewError as error:
            raise CommandError(f"Not fitted: {error}") from None
        self.table(
            ("RISK FROM", "PLAYERS", "MEAN RISK", f"NOT SEEN IN {fit.days} DAYS"),
            [
                (f"{each['start']:.1f}", each["players"], f"{each['score']:.3f}",
                 f"{each['silent']:.3f}")
                for each in fit.bins
                if each["players"]
            ],
        )  # fmt: skip
        guessing = fit.base_rate * (1 - fit.base_rate)
        self.note(
            f"{fit.players:,} players fitted up to {fit.until}: r {fit.r:.4g}, "
            f"alpha {fit.alpha:.4g}, a {fit.a:.4g}, b {fit.b:.4g}. Brier score {fit.brier:.4f} "
            f"over {fit.tested:,} players; the base rate alone scores {guessing:.4f}."
        )
