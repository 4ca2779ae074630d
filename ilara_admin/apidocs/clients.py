"""The clients that games copy, with the usage example from the start of each file."""

from functools import cache
from itertools import dropwhile, takewhile
from typing import NamedTuple

from django.conf import settings

FOLDER = settings.BASE_DIR / "static" / "clients"
EXAMPLE_ADDRESS, EXAMPLE_KEY = "http://127.0.0.1:18000/v1", "pk_live_..."


class GameClient(NamedTuple):
    """`indent` starts each line of the usage example in the file, and no line before it."""

    language: str
    file: str
    needs: str
    indent: str


CLIENTS = (
    GameClient("Python", "ilara.py", "Python 3.10 or newer, and requests.", "    "),
    GameClient("Node and browsers", "ilara.mjs", "Node 18 or newer, or a browser.", " *     "),
    GameClient("Go", "ilara.go", "Go 1.18 or newer.", "//\t"),
)


def usage(client: GameClient, address: str, key: str) -> str:
    """The usage example of the client, with this API URL and key."""
    return _example(client).replace(EXAMPLE_ADDRESS, address).replace(EXAMPLE_KEY, key)


@cache
def _example(client: GameClient) -> str:
    def is_example(line: str) -> bool:
        return line.startswith(client.indent)

    lines = (FOLDER / client.file).read_text().splitlines()
    example = takewhile(is_example, dropwhile(lambda line: not is_example(line), lines))
    return "\n".join(line.removeprefix(client.indent) for line in example)
