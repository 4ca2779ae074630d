"""Placeholder until the embedded database lands."""

from pathlib import Path
from typing import Any


def secret_key(home: Path) -> str:
    return "x" * 60


def database(home: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "ilara",
        "HOST": "/tmp/devpg",
        "USER": "postgres",
    }
