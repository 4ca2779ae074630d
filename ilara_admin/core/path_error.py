"""An error at a place inside a document. Imports no Django."""

from typing import Self


class PathError(ValueError):
    """`path` is like `conditions[1].value`, "" for the whole document; `message` says what is wrong
    and how to correct it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message

    def below(self, path: str) -> Self:
        """The same error in a document that holds this one at `path`."""
        dot = "." if self.path and self.path[0] != "[" else ""
        return type(self)(f"{path}{dot}{self.path}", self.message)
