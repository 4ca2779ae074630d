"""Tests use only public names, so that internals can change."""

import ast
import re
from collections.abc import Iterator

import pytest
from django.conf import settings

TESTS = settings.BASE_DIR / "tests"
UNDERSCORE = re.compile(r"\b_\w")

# Names with an underscore in other packages that are documented or have no public equivalent.
FOREIGN = {
    "_meta", "_replace", "_asdict", "_option_string_actions", "_base_executable",
    "_fixture_teardown",
}  # fmt: skip
OWN = {"self", "cls"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in FOREIGN | {"_"}


def private_names(tree: ast.AST) -> Iterator[str]:
    """The private names that the code reads, imports or patches, except on self and cls."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in OWN:
                continue
            case ast.Attribute(attr=attribute) if is_private(attribute):
                yield attribute
            case ast.ImportFrom(names=names):
                yield from (each.name for each in names if is_private(each.name))
            case ast.Call(func=ast.Attribute(attr="setattr" | "delattr" | "patch" | "object")):
                texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
                paths = [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
                yield from filter(is_private, paths)


def test_test_modules__use_no_private_names() -> None:
    wrong = {}
    for path in TESTS.rglob("*.py"):
        source = path.read_text()
        if UNDERSCORE.search(source) and (names := list(private_names(ast.parse(source)))):
            wrong[str(path.relative_to(TESTS))] = names
    assert not wrong


@pytest.mark.parametrize(
    "code",
    ["db._run()", "from flags.usage import _lock", 'm.setattr(db, "_run", 1)', "p.patch('a.b._c')"],
)
def test_private_name__is_found(code: str) -> None:
    assert len(list(private_names(ast.parse(code)))) == 1


@pytest.mark.parametrize("code", ["self._x", "a.__name__", "Model._meta", "for _ in x: pass"])
def test_other_name__is_allowed(code: str) -> None:
    assert list(private_names(ast.parse(code))) == []
