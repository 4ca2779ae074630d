"""The code samples of the reference use existing methods of the clients, and they run."""

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ilara_admin.api.curl import KEY_VARIABLE, curl, pretty
from ilara_admin.api.endpoint import JSON
from ilara_admin.api.json_schema import EXAMPLE_ID
from ilara_admin.apidocs.clients import FOLDER
from ilara_admin.apidocs.operations import Operation, operations
from ilara_admin.apidocs.samples import LANGUAGES, curl_of, samples
from ilara_admin.models import KeyKind
from tests.clients.drivers import go
from tests.factories import make_environment, make_example_results, make_key
from tests.processes import output_of, program
from tests.running import bash
from tests.serving import Gunicorn
from tests.specification import same_shape

ROOT = "https://games.example"
# OpenFeature has SDKs, and games request neither results nor the specification.
OTHERS = ("OpenFeature", "Experiments", "Specification")
WITH_CLIENT = [each for each in operations() if each.tag not in OTHERS]
SUFFIXES = {"python": "py", "node": "mjs", "go": "go"}
STREAM = "event_stream"  # not run, since it never ends
each_operation = pytest.mark.parametrize("operation", WITH_CLIENT, ids=lambda each: each.id)


def test_every_call_of_a_game__exists_in_every_language() -> None:
    for operation in operations():
        expected = set(LANGUAGES) if operation in WITH_CLIENT else {"curl"}
        assert set(samples(operation, ROOT)) == expected, operation.id


@each_operation
def test_programs__have_the_server_and_the_key_variable(operation: Operation) -> None:
    found = samples(operation, ROOT)
    for language in SUFFIXES:
        assert f'"{ROOT}/v1"' in found[language]
        assert KEY_VARIABLE in found[language]
    assert f'"{ROOT}{operation.path.partition("{")[0]}' in found["curl"]
    assert f"X-API-Key: ${KEY_VARIABLE}" in found["curl"]


@each_operation
def test_programs__have_the_values_of_the_example(operation: Operation) -> None:
    found = samples(operation, ROOT)
    for value in leaves(operation.examples[0].body):
        for language in SUFFIXES:
            assert str(value).removesuffix("Z") in found[language], (language, value)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    elif value is not None and not isinstance(value, bool):
        yield value


@each_operation
def test_python__calls_existing_methods_of_the_client(operation: Operation) -> None:
    program = ast.parse(samples(operation, ROOT)["python"])
    client = ast.parse((FOLDER / "ilara.py").read_text())
    (ilara,) = (
        each for each in client.body if isinstance(each, ast.ClassDef) and each.name == "Ilara"
    )
    methods = {each.name: each for each in ilara.body if isinstance(each, ast.FunctionDef)}
    called = [
        each
        for each in ast.walk(program)
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and isinstance(each.func.value, ast.Name)
        and each.func.value.id == "ilara"
    ]
    assert called
    for call in called:
        assert isinstance(call.func, ast.Attribute)
        method = methods[call.func.attr].args
        known = {each.arg for each in [*method.args, *method.kwonlyargs]}
        assert {each.arg for each in call.keywords} <= known, call.func.attr


@each_operation
def test_node_and_go__call_existing_methods_of_the_clients(operation: Operation) -> None:
    found = samples(operation, ROOT)
    node = re.findall(r"^  (?:async )?\*?(\w+)\(", (FOLDER / "ilara.mjs").read_text(), re.M)
    go = re.findall(r"^func (?:\(c \*Client\) )?(\w+)", (FOLDER / "ilara.go").read_text(), re.M)
    called = set(re.findall(r"\bilara\.(\w+)\(", found["node"]))
    assert called
    assert called <= set(node)
    called = set(re.findall(r"\b(?:client|ilara)\.([A-Z]\w+)\(", found["go"]))
    assert len(called) > 2
    assert called <= set(go)


def test_curl__is_quoted_for_the_shell() -> None:
    line = curl("PATCH", f"{ROOT}/v1/x?a=b", {"X-API-Key": "$KEY"}, {"name": "It's", "a": '"$b"'})
    assert line.startswith(f'curl -X PATCH "{ROOT}/v1/x?a=b" \\\n  -H "X-API-Key: $KEY" \\\n')
    printed = bash(line.replace("curl", "printf '%s\\n'", 1), {"KEY": "k"})
    assert json.loads(printed.splitlines()[-1]) == {"name": "It's", "a": '"$b"'}


def test_json__is_on_one_line_only_if_it_is_short() -> None:
    assert pretty({"a": 1}) == '{"a": 1}'
    assert pretty({"a": "é" * 80}) == '{\n  "a": "' + "é" * 80 + '"\n}'


# --- Run ------------------------------------------------------------------------------------------


@pytest.fixture
def server(gunicorn: Gunicorn) -> Gunicorn:
    return gunicorn


@pytest.fixture
def token(transactional_db: None) -> str:
    environment = make_environment()
    make_example_results(environment)
    return make_key(environment, KeyKind.SECRET).token


@pytest.mark.slow
def test_curl_commands__get_the_replies_of_the_examples(server: Gunicorn, token: str) -> None:
    """In order: the first example registers the player that the others use."""
    player_id = EXAMPLE_ID
    for operation in operations():
        for example in operation.examples:
            if operation.docs.media != JSON:
                continue
            line = curl_of(operation, example, server.address).replace(EXAMPLE_ID, player_id)
            reply = json.loads(bash(line.replace("curl", "curl -sS", 1), {KEY_VARIABLE: token}))
            if operation.id == "player_register":
                player_id = reply["data"]["id"]
            elif operation.id == "specification":
                reply = {name: reply[name] for name in example.reply}
                reply["info"] = {name: reply["info"][name] for name in example.reply["info"]}
            wanted = {"success": True, "data": example.reply}
            wanted = wanted if operation.docs.envelope else example.reply
            assert not list(same_shape(wanted, reply)), (operation.id, reply)


def programs(folder: Path, address: str, player_id: str) -> dict[str, list[str]]:
    """Write all programs and the clients they use. Returns the command of each by file name, by
    language and in the order of the operations, since later ones use what earlier ones create."""
    for name in ("ilara.py", "ilara.mjs"):
        shutil.copy(FOLDER / name, folder)
    (folder / "ilara").mkdir()
    shutil.copy(FOLDER / "ilara.go", folder / "ilara")
    (folder / "go.mod").write_text("module example.com/game\n\ngo 1.18\n")
    commands: dict[str, list[str]] = {}
    for language, suffix in SUFFIXES.items():
        for operation in WITH_CLIENT:
            name = f"{operation.id}.{suffix}"
            place = folder / (f"{operation.id}/main.go" if language == "go" else name)
            place.parent.mkdir(exist_ok=True)
            text = samples(operation, address)[language]
            place.write_text(text.replace(EXAMPLE_ID, player_id) + "\n")
            starts = {"python": [sys.executable, name], "node": ["node", name]}
            commands[name] = starts.get(language, [f"./bin/{operation.id}"])
    return commands


@pytest.mark.slow
def test_programs__run_against_a_server(server: Gunicorn, token: str, tmp_path: Path) -> None:
    program("node", "nodejs")
    program("go", "golang-go")
    player = server.api(token).register(attributes={"level": 45})
    commands = programs(tmp_path, server.address, player["id"])

    def run(*command: str, **environ: str) -> str:
        return output_of(command, tmp_path, **environ)

    assert run("gofmt", "-l", *(f"{each.id}/main.go" for each in WITH_CLIENT)) == ""
    go(tmp_path, "vet", "./...")
    go(tmp_path, "build", "-o", "bin/", "./...")
    run("node", "--check", f"{STREAM}.mjs")
    compile((tmp_path / f"{STREAM}.py").read_text(), STREAM, "exec")
    output = {
        name: run(*command, **{KEY_VARIABLE: token})
        for name, command in commands.items()
        if not name.startswith(STREAM)
    }
    assert all(text.strip() for text in output.values()), output
    for suffix, yes in (("py", "True"), ("mjs", "true"), ("go", "true")):
        assert output[f"flag_evaluate.{suffix}"].split() == [yes, "segment_match"]
        assert output[f"segment_evaluate.{suffix}"].split() == [yes]
    # The three programs send the same transaction and session, which count once.
    after = server.api(token).get(f"/v1/players/players/{player['id']}").data
    assert (after["total_revenue"], after["session_count"]) == (4.99, 1)
