"""The client drivers."""

from collections.abc import Iterator

import pytest

from tests.clients.drivers import commands


@pytest.fixture(scope="session")
def command() -> Iterator[dict[str, list[str]]]:
    """The driver's command line, per language."""
    with commands() as found:
        yield found
