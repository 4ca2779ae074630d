"""What ordinary runtimes write, as data: the input, who writes it, and what Ilara makes of it."""

from pathlib import Path
from typing import Any

import msgspec


def inputs(name: str) -> list[dict[str, Any]]:
    """The entries of a file of this folder, such as `numbers`."""
    text = (Path(__file__).parent / f"{name}.json").read_bytes()
    return msgspec.json.decode(text, type=list[dict[str, Any]])
