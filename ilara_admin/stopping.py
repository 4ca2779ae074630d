"""Placeholder"""


def install() -> None: ...
