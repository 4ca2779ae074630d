"""Progress of long work, for a bar or a job's row. Imports no Django."""

from collections.abc import Callable

# Called with the step, how much of it is done, and how much there is.
type Progress = Callable[[str, int, int], None]


def no_progress(step: str, done: int, total: int) -> None:
    """For callers that show nothing."""
