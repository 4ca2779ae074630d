"""The drivers of the clients, ready to start."""

from collections.abc import Iterator

import pytest

from tests.clients.drivers import commands


@pytest.fixture(scope="session")
def command() -> Iterator[dict[str, list[str]]]:
    """How to start the driver of each language."""
    with commands() as found:
        yield found
