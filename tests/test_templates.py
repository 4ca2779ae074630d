"""Conventions of templates and style sheets."""

import re
from pathlib import Path

from django.conf import settings
from django.template import TemplateSyntaxError
from django.template.loader import get_template

TEMPLATES = sorted((settings.BASE_DIR / "templates").rglob("*.html"))
CSS = "".join(path.read_text() for path in (settings.BASE_DIR / "static" / "css").glob("*.css"))
CLASSES = set(re.findall(r"\.([a-z][a-z0-9-]*)", CSS))
# What a strict content security policy breaks, and links that do nothing without JavaScript.
FORBIDDEN = re.compile(r'\sstyle="|\son[a-z]+="|hx-on|hx-vals=.js:|href="#"|<script>|<style')


def name(path: Path) -> str:
    return str(path.relative_to(settings.BASE_DIR / "templates"))


def test_templates__compile_and_follow_the_conventions() -> None:
    wrong = []
    for path in TEMPLATES:
        try:
            get_template(name(path))
        except TemplateSyntaxError as error:
            wrong.append(f"{name(path)}: {error}")
        source = path.read_text()
        if not re.match(r"\{# .+ #\}", source):
            wrong.append(f"{name(path)}: the first line must describe what the template expects")
        if found := FORBIDDEN.search(source):
            wrong.append(f"{name(path)}: {found[0]}")
    assert not wrong, "\n".join(wrong)


def test_templates__use_only_classes_that_exist() -> None:
    wrong = {}
    for path in TEMPLATES:
        for value in re.findall(r'\bclass="([^"]*)"', path.read_text()):
            plain = re.sub(r"\{[{%].*?[}%]\}", " ", value)
            if unknown := set(plain.split()) - CLASSES:
                wrong[name(path)] = unknown
    assert not wrong


def test_templates__have_lines_of_120_columns_at_most() -> None:
    wrong = []
    for path in TEMPLATES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if len(line) > 120:
                wrong.append(f"{name(path)}:{number}")
    assert not wrong
