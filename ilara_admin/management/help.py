"""`manage.py help`: every command of Ilara with a line of purpose."""

import re
import textwrap

from django.core.management import ManagementUtility, get_commands, load_command_class
from django.core.management.base import BaseCommand

APP = "ilara_admin"
OF_DJANGO = ("check", "migrate")  # those that operating Ilara needs
WIDTH = 100


class IlaraManagement(ManagementUtility):
    def main_help_text(self, commands_only: bool = False) -> str:
        commands = get_commands()
        ours = sorted(name for name, app in commands.items() if app == APP or name in OF_DJANGO)
        if commands_only or not set(ours) - set(OF_DJANGO):  # without valid settings, none is ours
            return super().main_help_text(commands_only)
        others = sorted(commands.keys() - set(ours))
        column = max(map(len, ours)) + 4
        lines = [
            f"Usage: {self.prog_name} COMMAND [options]",
            f"“{self.prog_name} help COMMAND” lists its options.",
            "",
        ]
        for name in ours:
            lines += textwrap.wrap(
                purpose(commands[name], name),
                WIDTH,
                initial_indent=f"  {name}".ljust(column),
                subsequent_indent=" " * column,
            )
        listing = f"Further commands of Django and its packages: {', '.join(others)}"
        return "\n".join([*lines, "", *textwrap.wrap(listing, WIDTH, break_on_hyphens=False)])


def purpose(app: str | BaseCommand, name: str) -> str:
    """The first sentence of the command's help."""
    command = app if isinstance(app, BaseCommand) else load_command_class(app, name)
    return re.split(r"(?<=\.)\s", command.help, maxsplit=1)[0]
