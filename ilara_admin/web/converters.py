"""Path converters of the dashboard."""

from django.urls import register_converter
from django.urls.converters import UUIDConverter


class AnyCaseUUIDConverter(UUIDConverter):
    """A UUID in any case, as /v1 accepts it; Django's takes lower case only."""

    regex = UUIDConverter.regex.replace("a-f", "a-fA-F")


def register() -> None:
    register_converter(AnyCaseUUIDConverter, "any_uuid")
