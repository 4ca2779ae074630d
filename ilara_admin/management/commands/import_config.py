import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ilara_admin.config.document import Config, ConfigError, read
from ilara_admin.config.plan import Plan, PlanAction, PlanStep, make_plan
from ilara_admin.config.store import ConfigConflict, apply_plan, read_config
from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import environment_of
from ilara_admin.models import Environment

SHOWN_FAULTS = 20
PENDING = 2  # the exit code when there is something to do and it was not asked for
SIGNS = {PlanAction.CREATE: "+", PlanAction.CHANGE: "~", PlanAction.REMOVE: "-"}


class Command(IlaraCommand):
    help = (
        "Bring the segments and flags of an environment to what a document of export_config says. "
        "The plan is shown first. On a terminal it is applied when you answer yes; elsewhere "
        f"only with --apply, and without it the command ends with {PENDING} if there is something "
        "to do, with 0 if there is nothing. All is done or nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        parser.add_argument("file", metavar="FILE", help="- reads standard input")
        parser.add_argument("--apply", action="store_true", help="do it without asking")
        parser.add_argument(
            "--prune",
            action="store_true",
            help="remove segments and archive flags that the document leaves out",
        )
        parser.add_argument("--reason", default="", help="kept in the audit log")

    def run(
        self, *, environment: str, file: str, apply: bool, prune: bool, reason: str, **options: Any
    ) -> None:
        target = environment_of(environment)
        wanted = self._read(file)
        try:
            plan = make_plan(read_config(target), wanted, prune=prune)
        except ConfigError as error:
            raise _refusal(error) from None
        self.show(plan)
        if not plan.steps:
            self.stdout.write(f"Nothing to do: {target} is as the document says.")
            return
        if not apply:
            self._ask(target, file)
        try:
            apply_plan(target, plan, actor=self.actor, reason=reason)
        except ConfigConflict:
            raise CommandError(
                f"{target} was changed while this plan was looked at. Nothing was done; run it "
                "again for a new plan."
            ) from None
        except ConfigError as error:
            raise _refusal(error) from None
        self.stdout.write(f"Done. {target} is as the document says, from the next request on.")

    def _read(self, file: str) -> Config:
        try:
            data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        except OSError as error:
            raise CommandError(f"Cannot read {file}: {error.strerror}.") from None
        try:
            return read(data)
        except ConfigError as error:
            raise _refusal(error) from None

    def show(self, plan: Plan) -> None:
        for step in plan.steps:
            self.stdout.write(f"{SIGNS[step.action]} {_title(step)}")
            for line in step.lines:
                self.stdout.write(f"    {line}")
        counted = ", ".join(f"{plan.count(action)} to {action}" for action in PlanAction)
        left = f" {plan.left} not in the document, left alone." if plan.left else ""
        self.stdout.write(f"{counted}, {plan.unchanged} unchanged.{left}")

    def _ask(self, target: Environment, file: str) -> None:
        if file == "-" or not sys.stdin.isatty():
            raise CommandError("Nothing was changed. Run it with --apply.", returncode=PENDING)
        try:
            answer = input(f"Apply this to {target}? Only “yes” does: ")
        except (EOFError, KeyboardInterrupt):
            answer = ""
        if answer.strip() != "yes":
            raise CommandError("Nothing was changed.")


def _title(step: PlanStep) -> str:
    kind = step.kind.removesuffix("s")
    note = " (archived)" if kind == "flag" and step.action is PlanAction.REMOVE else ""
    return f"{kind} {step.key}{note}"


def _refusal(error: ConfigError) -> CommandError:
    lines = [str(fault) for fault in error.faults[:SHOWN_FAULTS]]
    if more := len(error.faults) - len(lines):
        lines.append(f"and {more} more")
    return CommandError("\n".join(["Nothing was changed.", *(f"  {line}" for line in lines)]))
