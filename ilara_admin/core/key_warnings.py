"""Notifications about API keys: those about to expire, and those that nothing uses."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models.functions import Coalesce

from ilara_admin.core.notifications import notify, register_kind, was_notified
from ilara_admin.models import ApiKey, Environment, Role

EXPIRY_DAYS = (1, 7)  # before the expiry, the shorter first
UNUSED_DAYS = 90

KEY_EXPIRING, KEY_UNUSED = "key_expiring", "key_unused"
register_kind(
    KEY_EXPIRING,
    "API keys about to expire",
    "A key expires within 7 days, and again within a day.",
    role=Role.ADMIN,
)
register_kind(
    KEY_UNUSED,
    "Unused API keys",
    f"Keys that no call has used for {UNUSED_DAYS} days, once a month.",
    role=Role.ADMIN,
)


def expiry_days(expires_at: datetime | None, now: datetime) -> int | None:
    """The warning that is due for a key: 1 or 7, or None."""
    if expires_at is None or expires_at <= now:
        return None
    return next((days for days in EXPIRY_DAYS if expires_at - now <= timedelta(days=days)), None)


def month_of(now: datetime) -> str:
    return f"{now:%Y-%m}"


def keys_warn(now: datetime) -> None:
    """Notify of keys that expire soon, and once a month of unused keys."""
    for environment in Environment.objects.select_related("project"):
        _warn_of_expiry(environment, now)
        _warn_of_unused(environment, now)


def _warn_of_expiry(environment: Environment, now: datetime) -> None:
    soon = now + timedelta(days=max(EXPIRY_DAYS))
    for key in environment.api_keys.usable_at(now).filter(expires_at__lte=soon):
        days = expiry_days(key.expires_at, now)
        assert key.expires_at
        within = "within a day" if days == 1 else f"within {days} days"
        used = f"last used {_moment(key.last_used_at)}" if key.last_used_at else "never used"
        notify(
            KEY_EXPIRING,
            environment,
            f"The {key.kind} key {key.name} ({key.masked}) expires {within}",
            [f"It expires {_moment(key.expires_at)}. It was {used}."],
            page="key_list",
            dedupe_key=f"{KEY_EXPIRING}:{key.pk}:{key.expires_at:%Y-%m-%d}:{days}",
        )


def _warn_of_unused(environment: Environment, now: datetime) -> None:
    dedupe_key = f"{KEY_UNUSED}:{environment.pk}:{month_of(now)}"
    if was_notified(dedupe_key):
        return
    keys = environment.api_keys.usable_at(now).order_by("pk")
    unused = keys.annotate(used=Coalesce("last_used_at", "created_at")).filter(
        used__lt=now - timedelta(days=UNUSED_DAYS)
    )
    if lines := list(_unused_lines(unused)):
        count = f"{len(lines)} keys are" if len(lines) > 1 else "A key is"
        notify(
            KEY_UNUSED,
            environment,
            f"{count} unused for {UNUSED_DAYS} days",
            [*lines, "Revoke those that are no longer needed."],
            page="key_list",
            dedupe_key=dedupe_key,
        )


def _unused_lines(keys: Iterable[ApiKey]) -> Iterable[str]:
    for key in keys:
        used = f"last used {_moment(key.last_used_at)}" if key.last_used_at else "never used"
        yield f"{key.name} ({key.masked}): {used}"


def _moment(moment: datetime) -> str:
    return f"on {moment.day} {moment:%b %Y at %H:%M} UTC"
