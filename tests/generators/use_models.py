"""Reads the published examples with the models of datamodel-code-generator, the module
`ilara_models`: `use_models.py SPECIFICATION`. Prints the names of the models that were used."""

import json
import sys
from pathlib import Path
from typing import Any

import ilara_models

document = json.loads(Path(sys.argv[1]).read_text())
used: set[str] = set()


def check(schema: Any, value: Any) -> None:
    """Read the value with the model of the schema; the envelope has one only for its data."""
    if "allOf" in schema:
        schema, value = schema["allOf"][-1]["properties"]["data"], value["data"]
    if name := schema.get("$ref", "").rpartition("/")[2]:
        model = getattr(ilara_models, name).model_validate(value)
        assert model.model_dump(mode="json", exclude_unset=True).keys() == value.keys(), value
        used.add(name)


for path in document["paths"].values():
    for operation in path.values():
        replies = [reply for reply in operation["responses"].values() if "content" in reply]
        for part in [*filter(None, [operation.get("requestBody")]), *replies]:
            for content in part["content"].values():
                for example in content.get("examples", {}).values():
                    check(content["schema"], example["value"])

player = ilara_models.PlayerRegister(
    external_id="player_123", attributes={"level": 45, "items": ["sword", None]}
)
sent = json.loads(player.model_dump_json(exclude_unset=True))
assert sent["attributes"] == {"level": 45, "items": ["sword", None]}, sent
json.dump(sorted(used), sys.stdout)
