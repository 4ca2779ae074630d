"""Common generators and linters read the published specification: every operation is generated, the
output compiles, and the Python client works against a server."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from ilara_admin.apidocs.openapi import document
from ilara_admin.apidocs.operations import operations
from ilara_admin.models import Environment
from tests.api_client import Api
from tests.factories import make_environment, make_key
from tests.processes import output_of, program
from tests.serving import Gunicorn

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PYTHON_CLIENT = "openapi-python-client~=0.29.1"
PYDANTIC_MODELS = "datamodel-code-generator~=0.89.0"
IDS = {operation.id for operation in operations()}


def at_once(*jobs: Callable[[], Any]) -> list[Any]:
    """The results of jobs that run side by side."""
    with ThreadPoolExecutor() as pool:
        return [each.result() for each in [pool.submit(job) for job in jobs]]


# --- Python ---------------------------------------------------------------------------------------


def python(package: str, *command: str, folder: Path | None = None) -> str:
    """Run a program where this package is installed, apart from our own environment."""
    uv = os.environ.get("UV") or program("uv", "pipx && pipx install uv")
    isolated = [uv, "run", "--quiet", "--no-project", "--python", sys.executable]
    # From here, since a uv of pyenv reads .python-version.
    return output_of(
        [*isolated, "--with", package, "--", *command],
        settings.BASE_DIR,
        **({"PYTHONPATH": str(folder)} if folder else {}),
    )


@pytest.fixture
def game(transactional_db: None) -> Environment:
    return make_environment()


@pytest.fixture
def api(gunicorn: Gunicorn, game: Environment) -> Api:
    return gunicorn.api(make_key(game).token)


@pytest.fixture
def published(api: Api, tmp_path: Path) -> Path:
    file = tmp_path / "openapi.json"
    file.write_bytes(api.get("/v1/openapi.json").body)
    return file


@pytest.mark.django_db(transaction=True)
def test_python_client__has_every_operation_and_works(
    gunicorn: Gunicorn, api: Api, published: Path, tmp_path: Path
) -> None:
    client = tmp_path / "ilara_client"
    generate = ["generate", "--path", str(published), "--output-path", str(client)]
    python(PYTHON_CLIENT, "openapi-python-client", *generate, "--meta", "none", "--fail-on-warning")
    assert {each.stem for each in client.glob("api/*/*.py")} - {"__init__"} == IDS
    assert api.token
    use = ["python", str(HERE / "use_client.py"), gunicorn.address, api.token]
    got = json.loads(python(PYTHON_CLIENT, *use, folder=tmp_path))
    assert (got["registered"]["external_id"], got["tracked"]["status"]) == (
        "player_123",
        "accepted",
    )
    assert got["batch"]["accepted"] == 2
    assert (got["flag"]["value"], got["flag"]["reason"]) == (True, "segment_match")
    assert got["flags"]["flags"]["new_tutorial"] == got["flag"]
    assert (got["openfeature"]["value"], got["openfeature"]["reason"]) == (True, "TARGETING_MATCH")
    assert {flag["key"]: flag.get("errorCode", "") for flag in got["all"]["flags"]} == {
        "new-feature": "",
        "new_tutorial": "TARGETING_KEY_MISSING",
    }
    assert got["read"]["attributes"] == {"level": 45, "items": ["sword", None]}
    assert (got["read"]["session_count"], got["read"]["total_revenue"]) == (1, 4.99)
    assert got["found"] == got["read"]


def test_pydantic_models__read_every_published_example(tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document()))
    python(
        PYDANTIC_MODELS,
        *["datamodel-codegen", "--input", str(file), "--input-file-type", "openapi"],
        *["--output", str(tmp_path / "ilara_models.py"), "--formatters", "builtin"],
        *["--output-model-type", "pydantic_v2.BaseModel"],
    )
    use = ["python", str(HERE / "use_models.py"), str(file)]
    used = set(json.loads(python(PYDANTIC_MODELS, *use, folder=tmp_path)))
    assert {"PlayerRegister", "EventBatch", "PurchaseRecord", "PlayerDetails", "Failure"} <= used


# --- npm ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tools of package.json, with the specification as openapi.json. The tools need a newer
    Node than Debian has, so it is one of them."""
    npm = program("npm", "npm")
    folder = tmp_path_factory.mktemp("generators")
    for file in (*HERE.glob("*.json"), *HERE.glob("*.ts")):
        shutil.copy(file, folder)
    output_of([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefer-offline"], folder)
    (folder / "openapi.json").write_text(json.dumps(document()))
    yield folder
    shutil.rmtree(folder)


def tool(folder: Path, name: str, *arguments: str, **environ: str) -> str:
    programs = folder / "node_modules" / ".bin"
    environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    return output_of([str(programs / name), *arguments], folder, **environ)


def test_typescript__has_every_operation_and_compiles(node_folder: Path) -> None:
    at_once(
        lambda: tool(node_folder, "openapi-typescript", "openapi.json", "--output", "types.ts"),
        lambda: tool(node_folder, "openapi-ts", "--input", "openapi.json", "--output", "sdk"),
    )
    types = (node_folder / "types.ts").read_text().partition("export interface operations {")[2]
    assert set(re.findall(r"^    (\w+): \{", types, re.MULTILINE)) == IDS
    functions = re.findall(
        r"^export const (\w+) =", (node_folder / "sdk/sdk.gen.ts").read_text(), re.M
    )
    assert set(functions) == {re.sub(r"_(\w)", lambda at: at[1].upper(), id) for id in IDS}
    tool(node_folder, "tsc", "--project", ".")


def test_linters__find_no_error(node_folder: Path) -> None:
    """Warnings that remain: the operator of a server has no contact and license of ours, the
    published paths are fixed, and the specification itself has no error to document."""
    (node_folder / ".spectral.yaml").write_text("extends: ['spectral:oas']\n")
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    spectral, redocly = at_once(
        lambda: tool(
            node_folder, "spectral", "lint", "openapi.json", "--format", "json", "--quiet"
        ),
        lambda: tool(
            node_folder,
            *["redocly", "lint", "openapi.json", "--extends", "recommended", "--format", "json"],
            **quiet,
        ),
    )
    assert {each["code"] for each in json.loads(spectral)} <= {"info-contact"}
    problems = json.loads(redocly)["problems"]
    assert {each["ruleId"] for each in problems} <= {
        "info-license",
        "no-ambiguous-paths",
        "operation-4xx-response",
    }
    assert all(each["severity"] == "warn" for each in problems)
