"""House rules of templates and style sheets that a reader would miss."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.template.loader import get_template

TEMPLATES = sorted((settings.BASE_DIR / "templates").rglob("*.html"))
CSS = "".join(path.read_text() for path in (settings.BASE_DIR / "static" / "css").glob("*.css"))
CLASSES = set(re.findall(r"\.([a-z][a-z0-9-]*)", CSS))
# What a strict content security policy breaks, and links that lead nowhere without a script.
FORBIDDEN = re.compile(r'\sstyle="|\son[a-z]+="|hx-on|hx-vals=.js:|href="#"|<script>|<style')


def name(path: Path) -> str:
    return str(path.relative_to(settings.BASE_DIR / "templates"))


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_template__compiles_and_keeps_the_rules(path: Path) -> None:
    get_template(name(path))
    source = path.read_text()
    assert re.match(r"\{# .+ #\}", source), "the first line says what the template expects"
    assert not FORBIDDEN.search(source)


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_template__uses_only_classes_that_exist(path: Path) -> None:
    for value in re.findall(r'\bclass="([^"]*)"', path.read_text()):
        plain = re.sub(r"\{[{%].*?[}%]\}", " ", value)
        assert set(plain.split()) <= CLASSES


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_template__has_lines_of_120_columns_at_most(path: Path) -> None:
    assert [line for line in path.read_text().splitlines() if len(line) > 120] == []
