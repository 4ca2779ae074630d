"""When a message is sent again."""

from datetime import timedelta

from ilara_admin.core.retry_times import GIVE_UP_AFTER, PAUSES, pause_after

MINUTE = timedelta(minutes=1)


def test_pauses__grow_from_a_minute_to_six_hours_within_a_day() -> None:
    age, pauses = timedelta(), []
    for attempts in range(1, 50):
        pause = pause_after(attempts, age)
        if pause is None:
            break
        pauses.append(pause)
        age += pause
    assert pauses[0] == MINUTE
    assert pauses == sorted(pauses)
    assert pauses[-1] == PAUSES[-1] == timedelta(hours=6)
    assert GIVE_UP_AFTER - PAUSES[-1] < age <= GIVE_UP_AFTER


def test_receiver__may_ask_for_a_longer_pause_but_not_for_any() -> None:
    assert pause_after(1, timedelta(), 5 * MINUTE) == 5 * MINUTE
    assert pause_after(3, timedelta(), MINUTE) == 5 * MINUTE
    assert pause_after(1, timedelta(), timedelta(days=30)) == PAUSES[-1]
