"""Personal data, and how it is masked for staff who may not see it. Imports no Django.

Personal data are a player's e-mail address, device id and linked ids, and the attributes and event
properties that staff named in the settings of the environment. Staff see it from the role support
up; other staff see enough of it to compare it with what a player tells them.
"""

from collections.abc import Collection, Mapping
from typing import Any

MASK = "***"
PERSONAL_FIELDS = ("email", "device_id")  # of every player


def mask_email(email: str | None) -> str | None:
    """`p***@example.com`."""
    if email is None:
        return None
    name, at, domain = email.rpartition("@")
    return f"{name[:1]}{MASK}@{domain}" if at else f"{email[:1]}{MASK}"


def mask_device(device_id: str | None) -> str | None:
    """The first four characters, followed by `***`."""
    return None if device_id is None else f"{device_id[:4]}{MASK}"


def mask_text(text: str) -> str:
    """The first character, followed by `***`: for linked ids and personal texts."""
    return f"{text[:1]}{MASK}"


def mask_value(value: Any) -> Any:
    """Any JSON value. Only of a text, something remains."""
    return mask_text(value) if isinstance(value, str) else value if value is None else MASK


def personal_fields(personal_attributes: Collection[str]) -> set[str]:
    """The fields of rules with personal values: built-in ones, and attributes with these names."""
    return {"email", "device_id", *personal_attributes}


def masked(values: Mapping[str, Any], personal: Collection[str]) -> dict[str, Any]:
    """Attributes or properties, with the values of the `personal` names masked."""
    return {
        name: mask_value(value) if name in personal else value for name, value in values.items()
    }
