"""When a message that could not be delivered is sent again. Imports no Django."""

from datetime import timedelta

# After the first failure, the second, and so on; the last one repeats.
PAUSES = tuple(timedelta(minutes=each) for each in (1, 2, 5, 15, 30, 60, 120, 240, 360))
GIVE_UP_AFTER = timedelta(hours=24)


def pause_after(attempts: int, age: timedelta, asked: timedelta = timedelta()) -> timedelta | None:
    """How long to wait after so many attempts to send a message of this age; None if it is given
    up. `asked` is the pause that the receiver asks for."""
    pause = max(PAUSES[min(attempts, len(PAUSES)) - 1], min(asked, PAUSES[-1]))
    return pause if age + pause <= GIVE_UP_AFTER else None
