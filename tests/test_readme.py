"""The README against the code: its tables are complete, and its examples get the printed replies.

The API reference is part of the dashboard: see ilara_admin/apidocs/test_reference.py.
"""

import inspect
import io
import json
import os
import re
import sys
from typing import Any

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from ilara_admin import settings as settings_module
from ilara_admin.config.document import Config, read
from ilara_admin.config.plan import make_plan
from ilara_admin.management.base import PASSWORD_VARIABLE
from ilara_admin.management.commands import import_config
from ilara_admin.runtime import gunicorn_conf, sizing
from segments.language.operators import OPERATORS
from segments.language.parser import FIELDS, parse
from tests.homes import empty_home
from tests.running import Serve, bash

README = (settings.BASE_DIR / "README.md").read_text()


def table(head: str) -> list[list[str]]:
    """The cells of the rows below this table header."""
    lines = README.partition(f"| {head} |")[2].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    assert rows, f"the README has no table that begins with {head}"
    return rows


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- Tables ---------------------------------------------------------------------------------------


def test_tables_of_rules__list_all_operators_and_fields() -> None:
    operators = [name for names, _ in table("operator") for name in quoted(names)]
    assert sorted(operators) == sorted(OPERATORS)
    assert [name for names, _ in table("built-in field") for name in quoted(names)] == list(FIELDS)


def test_example_of_a_rule__is_valid() -> None:
    (block,) = re.findall(r"^```json\n(\{\"operator.*?)\n```", README, re.MULTILINE | re.DOTALL)
    parse(json.loads(block))


def test_example_of_a_configuration__plans_as_printed() -> None:
    found = re.search(
        r"^```json\n(\{\"version.*?)\n```\n\n```\n\$ .*?\n(.*?) 3 not in", README, re.M | re.DOTALL
    )
    assert found
    plan = make_plan(Config({}), read(found[1].encode()), prune=False)
    out = io.StringIO()
    import_config.Command(stdout=out).show(plan)
    assert out.getvalue().strip() == found[2]


def test_table_of_commands__lists_all_with_existing_options() -> None:
    ours = {name for name, app in get_commands().items() if app == "ilara_admin"}
    documented: dict[str, list[str]] = {}
    for commands, _ in table("command"):
        for command in quoted(commands):
            name, _, rest = command.partition(" ")
            documented[name] = re.findall(r"--[a-z-]+", rest)
    assert documented.keys() == ours
    for name, options in documented.items():
        parser = load_command_class("ilara_admin", name).create_parser("manage.py", name)
        assert set(options) <= set(parser._option_string_actions), name
    shared = set(BaseCommand().create_parser("manage.py", "any")._option_string_actions)
    serve = load_command_class("ilara_admin", "serve").create_parser("manage.py", "serve")
    assert set(documented["serve"]) == set(serve._option_string_actions) - shared


def read_by_the_code() -> set[str]:
    source = "".join(map(inspect.getsource, (settings_module, gunicorn_conf, sizing)))
    return {*re.findall(r'env(?:iron)?\.\w+\(\s*"([A-Z_]+)"', source), PASSWORD_VARIABLE}


def test_table_of_settings__lists_what_the_code_reads() -> None:
    documented = [name for names, *_ in table("variable") for name in quoted(names)]
    assert sorted(documented) == sorted(read_by_the_code())


def test_env_example__lists_all_settings_with_a_comment_each() -> None:
    example = (settings.BASE_DIR / ".env.example").read_text()
    listed = re.findall(r"^# .+\n# ([A-Z_]+)=", example, re.MULTILINE)
    assert sorted(listed) == sorted(read_by_the_code())
    assert not re.findall(r"^[A-Z_]+=", example, re.MULTILINE), "an example must set nothing"


def test_first_commands__are_those_of_the_ci_script() -> None:
    blocks = re.findall(r"^```\n(.*?)\n```", README, re.MULTILINE | re.DOTALL)
    assert blocks[1:3] == ["uv run manage.py serve", "uv run pytest"]
    assert re.search(rf"^step {blocks[2]}$", (settings.BASE_DIR / ".ci/run").read_text(), re.M)


def test_named_files__exist() -> None:
    for name in re.findall(r"`((?:[\w.]+/)+\w+\.\w+)`", README):
        assert (settings.BASE_DIR / name).exists(), name


# --- Examples -------------------------------------------------------------------------------------


def examples() -> list[tuple[str, Any]]:
    """Each curl block with the reply printed after it."""
    return [
        (command, json.loads(reply))
        for command, reply in re.findall(
            r"^```\n(curl .*?)\n```\n\n```json\n(.*?)\n```", README, re.MULTILINE | re.DOTALL
        )
    ]


def part_of(expected: Any, got: Any) -> bool:
    """Whether the reply has everything that the README prints. “…” matches anything."""
    if isinstance(expected, dict):
        return isinstance(got, dict) and all(
            name in got and part_of(value, got[name]) for name, value in expected.items()
        )
    return expected == "…" or bool(expected == got)


@pytest.mark.slow
@pytest.mark.skipif(bool(settings.DATABASE_URL), reason="the README uses the embedded database")
def test_examples__get_the_printed_replies() -> None:
    exports = re.search(r"^```\n(export HOST=.*?)\n```", README, re.MULTILINE | re.DOTALL)
    assert exports
    shown = examples()
    api = README.partition("\n## In production\n")[0]
    assert len(shown) == api.count("\ncurl ") >= 3, "a curl block has no reply after it"
    with empty_home() as home:
        serve = Serve(home, "--workers", "1")
        try:
            serve.ready()
            setup = exports[1].replace("http://127.0.0.1:18000", serve.address)
            setup = setup.replace("uv run manage.py", f"{sys.executable} manage.py")
            env = {"ILARA_HOME": str(home), "PATH": os.environ["PATH"]}
            host, key = bash(f'{setup}\necho "$HOST"\necho "$KEY"', env).split()
            variables = {"HOST": host, "KEY": key, "PLAYER": ""}
            for command, expected in shown:
                got = json.loads(bash(command, variables))
                assert part_of(expected, got), (command, got)
                variables["PLAYER"] = variables["PLAYER"] or got["data"]["id"]
        finally:
            serve.clean_up()
