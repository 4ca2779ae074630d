"""Progress reports of long operations. Imports no Django."""

from collections.abc import Callable

# Called with the name of the step, the amount done and the total.
type Progress = Callable[[str, int, int], None]


def no_progress(step: str, done: int, total: int) -> None:
    """Ignores the progress."""
