"""Code samples of operations: a curl command, and a program for each client.

OpenFeature (which has SDKs), results of experiments and the specification have only curl.
"""

from urllib.parse import quote, urlencode

from ilara_admin.api.curl import KEY_VARIABLE, curl
from ilara_admin.api.endpoint import JSON, Example
from ilara_admin.apidocs.client_snippets import Call, calls_of
from ilara_admin.apidocs.operations import Operation

LANGUAGES = {"curl": "curl", "python": "Python", "node": "Node", "go": "Go"}


def samples(operation: Operation, root: str) -> dict[str, str]:
    """The code by language, for the server at `root`: `https://host`, without a trailing slash."""
    example = operation.examples[0]
    found = {"curl": curl_of(operation, example, root)}
    path = {each.name: each.example for each in operation.parameters if each.place == "path"}
    if calls := calls_of(operation.id, {**path, **(example.body or {})}):
        base = f"{root}/v1"
        found["python"] = _python(calls.python, base)
        found["node"] = _node(calls.node, base)
        found["go"] = _go(calls.go, base)
    return found


# --- curl -----------------------------------------------------------------------------------------


def curl_of(operation: Operation, example: Example, root: str) -> str:
    """The request of one of the operation's examples."""
    place = operation.path
    for each in operation.parameters:
        if each.place == "path":
            place = place.replace(f"{{{each.name}}}", quote(str(each.example), safe=""))
    if example.query:
        place += f"?{urlencode(example.query)}"
    headers = {"X-API-Key": f"${KEY_VARIABLE}"} if operation.keys else {}
    flow = operation.docs.media != JSON
    return curl(operation.method, root + place, headers, example.body, flow=flow)


# --- Programs -------------------------------------------------------------------------------------


def _python(call: Call, base: str) -> str:
    imports = "from datetime import datetime\n" if "datetime." in call.code else ""
    return _joined(
        f"""\
import os
{imports}
from ilara import Ilara

ilara = Ilara("{base}", os.environ["{KEY_VARIABLE}"])
{call.code}""",
        call.shows and f"print({call.shows})",
    )


def _node(call: Call, base: str) -> str:
    return _joined(
        f"""\
import {{ Ilara }} from "./ilara.mjs";

const ilara = new Ilara("{base}", process.env.{KEY_VARIABLE});
{call.code}""",
        call.shows and f"console.log({call.shows});",
    )


def _go(call: Call, base: str) -> str:
    packages = ["context", "fmt", "log", "os", *(["time"] if "time." in call.code else [])]
    imports = "\n".join(f'\t"{package}"' for package in packages)
    check = "if err != nil {\n\tlog.Fatal(err)\n}"
    body = _joined(
        "ctx := context.Background()",
        f'client, err := ilara.New("{base}", os.Getenv("{KEY_VARIABLE}"), ilara.Options{{}})',
        check,
        "defer client.Close(ctx) // sends queued events\n",
        call.code,
        check,
        call.shows and f"fmt.Println({call.shows})",
    )
    inside = "\n".join(f"\t{line}" if line else "" for line in body.splitlines())
    return f"""\
package main

import (
{imports}

	"example.com/game/ilara"
)

func main() {{
{inside}
}}"""


def _joined(*parts: str) -> str:
    return "\n".join(filter(None, parts))
