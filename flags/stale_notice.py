"""The monthly notification about stale flags of live."""

from datetime import datetime

from flags.dashboard.stale import hints
from flags.models import STALE_DAYS, Flag
from ilara_admin.core.notifications import LIVE, notify, register_kind, was_notified
from ilara_admin.models import Environment, Role

STALE_FLAGS = "stale_flags"


def register() -> None:
    register_kind(
        STALE_FLAGS,
        "Stale flags",
        "Flags in live that are past their end, that no game evaluates, or that have had one value "
        f"for {STALE_DAYS} days; once a month.",
        role=Role.LIVE_OPS,
    )


def stale_flags_notify(now: datetime) -> None:
    """Notify of the stale flags of each live environment, once a month."""
    for environment in Environment.objects.filter(slug=LIVE).select_related("project"):
        dedupe_key = f"{STALE_FLAGS}:{environment.pk}:{now:%Y-%m}"
        if was_notified(dedupe_key):
            continue
        found = Flag.objects.of(environment).stale(now)
        stale = list(found.with_evidence(now).order_by("key"))
        if stale:
            count = f"{len(stale):,} flags are" if len(stale) > 1 else "A flag is"
            notify(
                STALE_FLAGS,
                environment,
                f"{count} stale",
                [f"{flag.key}: {' '.join(hints(flag, now))}" for flag in stale],
                page="flag_stale_list",
                dedupe_key=dedupe_key,
            )
