import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ilara_admin.config.document import Config, ConfigError, read
from ilara_admin.config.plan import Plan, PlanAction, PlanStep, make_plan
from ilara_admin.config.store import apply_plan, read_config
from ilara_admin.core.changes import Conflict
from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import environment_of
from ilara_admin.models import Environment

SHOWN_FAULTS = 20
PENDING = 2  # exit code: there are changes and --apply was not given
SIGNS = {PlanAction.CREATE: "+", PlanAction.CHANGE: "~", PlanAction.REMOVE: "-"}


class Command(IlaraCommand):
    help = (
        "Apply a document from export_config to the segments and flags of an environment. Shows "
        "the plan first. On a terminal, it prompts before applying; elsewhere, it applies only "
        f"with --apply, and without it exits with {PENDING} if there are changes, else 0. Changes "
        "are applied all or none."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        parser.add_argument("file", metavar="FILE", help="- for stdin")
        parser.add_argument("--apply", action="store_true", help="apply without a prompt")
        parser.add_argument(
            "--prune",
            action="store_true",
            help="delete segments and archive flags that are not in the document",
        )
        parser.add_argument("--reason", default="", help="for the audit log")

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
            self.stdout.write(f"No changes: {target} matches the document.")
            return
        if not apply:
            self._confirm(target, file)
        try:
            apply_plan(target, plan, actor=self.actor, reason=reason)
        except Conflict:
            raise CommandError(
                f"{target} was changed after this plan was made. Nothing was applied; run the "
                "command again for a new plan."
            ) from None
        except ConfigError as error:
            raise _refusal(error) from None
        self.stdout.write(f"Applied. {target} matches the document from the next request on.")

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
        left = f" {plan.left} not in the document, not changed." if plan.left else ""
        self.stdout.write(f"{counted}, {plan.unchanged} unchanged.{left}")

    def _confirm(self, target: Environment, file: str) -> None:
        if file == "-" or not sys.stdin.isatty():
            raise CommandError("Nothing was changed. Run with --apply.", returncode=PENDING)
        try:
            answer = input(f"Apply to {target}? Type “yes”: ")
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
