"""OpenFeature's providers against a running server: from PyPI for servers, npm for browsers."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api as openfeature
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from flags.engine.document import FlagDocument, Rule, ValueType, Variant
from flags.services import flag_create
from ilara_admin.models import Environment
from tests.api_client import Api
from tests.factories import ACTOR, make_constant_flag, make_environment, make_key, make_player
from tests.processes import program
from tests.serving import Gunicorn

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SCRIPT = Path(__file__).parent / "ofrep_web.mjs"
PACKAGES = ("@openfeature/ofrep-web-provider@0.4", "@openfeature/web-sdk@1")
VALUES = {
    "copy": ("string", "Tap to begin."),
    "energy": ("number", 10),
    "price": ("number", 2.5),
    "bonus": ("json", {"coins": 100, "items": ["sword", None]}),
    "hint": ("string", None),  # no value
}


@pytest.fixture
def game(transactional_db: None) -> Environment:
    environment = make_environment()
    for key, (value_type, value) in VALUES.items():
        make_constant_flag(environment, key, value_type, value)
    make_player(environment, attributes={"level": 45})
    whole, fraction = Variant("whole", 5), Variant("fraction", 4.99)
    rule = Rule(id="beta", segment="beta-testers", variant="fraction")
    document = FlagDocument(
        ValueType.NUMBER, (whole, fraction), "whole", "whole", enabled=True, rules=(rule,)
    )
    flag_create(environment=environment, key="discount", document=document, actor=ACTOR)
    return environment


@pytest.fixture
def server(gunicorn: Gunicorn, transactional_db: None) -> Gunicorn:
    return gunicorn


# --- PyPI -----------------------------------------------------------------------------------------


@pytest.fixture
def client(server: Gunicorn, game: Environment) -> Iterator[OpenFeatureClient]:
    token = make_key(game).token
    headers = {"Authorization": f"Bearer {token}"}
    provider = OFREPProvider(server.address, headers_factory=lambda: headers)
    openfeature.set_provider(provider)
    yield openfeature.get_client()
    openfeature.shutdown()
    provider.session.close()


PLAYER = EvaluationContext("player_123")
WITHOUT_KEY = (EvaluationContext(), EvaluationContext(attributes={"level": 1}))


def test_python_provider__resolves_every_type(client: OpenFeatureClient) -> None:
    boolean = client.get_boolean_details("new_tutorial", False, PLAYER)
    assert (boolean.value, boolean.variant, boolean.reason) == (True, "enabled", "TARGETING_MATCH")
    assert boolean.flag_metadata["segmentId"] == "beta-testers"
    assert client.get_string_value("copy", "code default", PLAYER) == "Tap to begin."
    assert client.get_integer_value("energy", 1, PLAYER) == 10
    assert client.get_float_value("price", 1.0, PLAYER) == 2.5
    assert client.get_object_value("bonus", {}, PLAYER) == VALUES["bonus"][1]


def test_python_provider__uses_the_code_default_for_no_value(client: OpenFeatureClient) -> None:
    found = client.get_string_details("hint", "code default", PLAYER)
    assert (found.value, found.variant, found.error_code) == ("code default", "only", None)


def test_python_provider__falls_back_to_the_code_default_with_an_error(
    client: OpenFeatureClient,
) -> None:
    missing = client.get_string_details("nothing", "code default", PLAYER)
    assert (missing.value, missing.error_code) == ("code default", "FLAG_NOT_FOUND")
    mismatch = client.get_string_details("energy", "code default", PLAYER)
    assert (mismatch.value, mismatch.error_code) == ("code default", "TYPE_MISMATCH")
    for context in WITHOUT_KEY:
        without_key = client.get_boolean_details("new_tutorial", False, context)
        assert (without_key.value, without_key.error_code) == (False, "TARGETING_KEY_MISSING")
    faulty = EvaluationContext("player_123", {"clan": "a\0"})
    assert client.get_boolean_details("new_tutorial", True, faulty).error_code == (
        "INVALID_CONTEXT"
    )


def test_python_provider__needs_no_key_for_flags_that_are_the_same_for_all(
    client: OpenFeatureClient,
) -> None:
    for context in WITHOUT_KEY:
        copy = client.get_string_details("copy", "code default", context)
        assert (copy.value, copy.reason, copy.error_code) == ("Tap to begin.", "STATIC", None)


def test_python_provider__gets_the_same_type_for_every_player(client: OpenFeatureClient) -> None:
    """It accepts no integer for a fraction."""
    for player, value in ((PLAYER, 4.99), (EvaluationContext("other"), 5.0)):
        found = client.get_float_details("discount", 1.0, player)
        assert (found.value, found.error_code) == (value, None)


def test_python_provider__knows_every_reason(client: OpenFeatureClient) -> None:
    """It rejects unknown reasons."""
    off = client.get_boolean_details("new-feature", True, PLAYER)
    assert (off.value, off.reason, off.error_code) == (False, "DISABLED", None)
    unregistered = EvaluationContext("without_key-yet")
    default = client.get_boolean_details("new_tutorial", True, unregistered)
    assert (default.value, default.reason) == (False, "DEFAULT")


# --- npm ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program("node", "nodejs")
    program("npm", "npm")
    folder = tmp_path_factory.mktemp("node")
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES],
        cwd=folder,
        check=True,
        timeout=300,
    )
    shutil.copy(SCRIPT, folder)
    return folder


def test_web_provider__resolves_every_type_and_handles_304(
    node_folder: Path, server: Gunicorn, game: Environment
) -> None:
    token = make_key(game).token
    run = subprocess.run(
        ["node", SCRIPT.name, server.address, token],
        cwd=node_folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    output: dict[str, Any] = json.loads(run.stdout)
    first = output["first"]
    assert {name: first[name]["value"] for name in first} == {
        "boolean": True,
        "string": "Tap to begin.",
        "integer": 10,
        "fraction": 2.5,
        "object": VALUES["bonus"][1],
        "noValue": "code default",
        "missing": "code default",
        "mismatch": "code default",
    }
    assert first["boolean"]["flagMetadata"]["segmentId"] == "beta-testers"
    assert (first["noValue"]["variant"], first["noValue"].get("errorCode")) == ("only", None)
    assert (first["missing"]["errorCode"], first["mismatch"]["errorCode"]) == (
        "FLAG_NOT_FOUND",
        "TYPE_MISMATCH",
    )
    assert output["unchanged"] == first
    assert output["lowered"]["boolean"]["value"] is False
    without_key = output["withoutKey"]
    assert (without_key["string"]["value"], without_key["boolean"]["errorCode"]) == (
        "Tap to begin.",
        "TARGETING_KEY_MISSING",
    )
    assert output["statuses"] == [200, 304, 200, 200, 401]
    assert output["refused"] != "ready"


def test_reply_304__has_no_body_and_no_length(server: Gunicorn, game: Environment) -> None:
    api: Api = server.api(make_key(game).token)
    body = {"context": {"targetingKey": "player_123"}}
    etag = api.post("/ofrep/v1/evaluate/flags", body).headers["ETag"]
    reply = api.post("/ofrep/v1/evaluate/flags", body, if_none_match=etag)
    assert (reply.status, reply.body) == (304, b"")
    assert "Content-Length" not in reply.headers
