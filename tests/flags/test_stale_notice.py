"""The monthly notification about stale flags."""

from datetime import timedelta

from django.utils import timezone

from flags.models import Flag
from flags.stale_notice import STALE_FLAGS, stale_flags_notify
from ilara_admin.models import Environment, Notification
from tests.factories import make_environment


def test_stale_flags_of_live__are_told_once_a_month(environment: Environment) -> None:
    now = timezone.now()
    told = Notification.objects.filter(kind=STALE_FLAGS)
    stale_flags_notify(now)
    assert not told.exists()
    make_environment(slug="test")
    Flag.objects.filter(key="new_tutorial").update(expected_end=(now - timedelta(days=1)).date())
    for _ in range(2):
        stale_flags_notify(now)
    found = told.get()
    assert found.environment == environment
    assert found.title == "A flag is stale"
    assert found.lines[0].startswith("new_tutorial: It was expected to end on ")
    assert found.path == "flags/+stale/"
    stale_flags_notify(now + timedelta(days=32))
    assert told.count() == 2
