"""A progress bar for commands."""

import sys
from typing import TextIO


class ProgressBar:
    """Progress on a terminal, redrawn in place; elsewhere one plain line per finished step."""

    WIDTH = 30

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.redraws = self.stream.isatty()
        self.shown = ""

    def __call__(self, step: str, done: int, total: int) -> None:
        filled = self.WIDTH * done // total if total else self.WIDTH
        percent = 100 * done // total if total else 100
        finished = done >= total
        if self.redraws:
            line = f"\r  {step:<20} {'█' * filled:░<{self.WIDTH}} {percent:3} %"
            if line != self.shown:
                self.stream.write(line + ("\n" if finished else ""))
                self.shown = "" if finished else line
        elif finished:
            self.stream.write(f"  {step}: done\n")
        self.stream.flush()
