"""The API reference: the content of each operation's page, and the search.

Derived from `operations()` and the published schemas.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import Any

from ilara_admin.api.curl import pretty
from ilara_admin.api.endpoint import JSON, Example
from ilara_admin.apidocs.openapi import document
from ilara_admin.apidocs.operations import TAGS, Operation, Parameter, operations
from ilara_admin.apidocs.schema_text import Field, SchemaText

PLACES = {"path": "Path", "query": "Query", "header": "Headers"}


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """`code` is "" if the protocol has none."""

    status: int
    code: str
    message: str
    text: str

    @property
    def is_explained(self) -> bool:
        """Whether the text adds to the message."""
        return self.text.removesuffix(".") != self.message.removesuffix(".")


@dataclass(frozen=True, slots=True)
class ExampleReply:
    """The reply of an example, as text."""

    example: Example
    text: str

    @property
    def label(self) -> str:
        return self.example.name.replace("_", " ")


@dataclass(frozen=True, slots=True)
class OperationEntry:
    """`parameters` are grouped by place, with its label; `body` and `reply` have the fields."""

    operation: Operation
    parameters: tuple[tuple[str, tuple[Field, ...]], ...]
    body: Field | None
    reply: Field
    answers: tuple[ExampleReply, ...]
    errors: tuple[ErrorRow, ...]
    related: tuple[Operation, ...]

    @property
    def id(self) -> str:
        return self.operation.id

    def names(self) -> Iterator[str]:
        """The names of the parameters and of all fields."""
        for _, fields in self.parameters:
            yield from (field.name for field in fields)
        for part in filter(None, (self.body, self.reply)):
            yield from (field.name for each in part.fields for field in each.walk())


@dataclass(frozen=True, slots=True)
class SearchHit:
    """`fields` are the matching names, if a word matches nothing that the list shows."""

    entry: OperationEntry
    fields: tuple[str, ...] = ()


@cache
def entries() -> Mapping[str, OperationEntry]:
    """By operation id, in the order of the tags."""
    return {each.id: _entry(each) for each in operations()}


def groups(q: str = "") -> list[tuple[str, str, list[SearchHit]]]:
    """Tag, its description, and its operations that have every word of `q` in the method, the path,
    the texts or the names of parameters and fields."""
    descriptions = dict(TAGS.values())
    hits = [hit for entry in entries().values() if (hit := _hit(entry, q.lower().split()))]
    return [
        (tag, descriptions[tag], list(found))
        for tag, found in groupby(hits, key=lambda hit: hit.entry.operation.tag)
    ]


def _hit(entry: OperationEntry, words: list[str]) -> SearchHit | None:
    operation = entry.operation
    shown = f"{operation.method} {operation.path} {operation.summary}".lower()
    names = list(dict.fromkeys(entry.names()))
    text = f"{shown} {operation.id} {operation.tag} {operation.text} {' '.join(names)}".lower()
    if not all(word in text for word in words):
        return None
    unseen = [word for word in words if word not in shown]
    return SearchHit(entry, tuple(name for name in names if any(word in name for word in unseen)))


# --- One operation --------------------------------------------------------------------------------


def _entry(operation: Operation) -> OperationEntry:
    schemas = SchemaText(document()["components"]["schemas"])
    written = document()["paths"][operation.path][operation.method.lower()]
    content = written.get("requestBody", {}).get("content")
    return OperationEntry(
        operation=operation,
        parameters=tuple(_parameters(operation, schemas)),
        body=schemas.field("body", content[JSON]["schema"]) if content else None,
        reply=schemas.field("reply", _reply(written)),
        answers=tuple(
            ExampleReply(each, _example_reply(operation, each)) for each in operation.examples
        ),
        errors=tuple(_errors(operation)),
        related=tuple(_related(operation)),
    )


def _parameters(
    operation: Operation, schemas: SchemaText
) -> Iterator[tuple[str, tuple[Field, ...]]]:
    for place, title in PLACES.items():
        found = [each for each in operation.parameters if each.place == place]
        if found:
            yield title, tuple(_parameter(each, schemas) for each in found)


def _parameter(parameter: Parameter, schemas: SchemaText) -> Field:
    field = schemas.field(parameter.name, parameter.schema, required=parameter.required)
    return replace(field, text=parameter.text, example=parameter.example)


def _reply(written: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a successful reply, inside the envelope."""
    response = next(each for each in written["responses"].values() if "content" in each)
    schema: Mapping[str, Any] = next(iter(response["content"].values()))["schema"]
    # In an envelope, the second part has the type of the data.
    properties = schema.get("allOf", [schema])[-1].get("properties")
    if not properties:
        return schema
    data: Mapping[str, Any] = properties["data"]
    # In a stream it is a string that contains an event or a gap.
    return data["contentSchema"]["anyOf"][0] if "contentSchema" in data else data


def _example_reply(operation: Operation, example: Example) -> str:
    if operation.docs.media != JSON:
        return str(example.reply).strip()
    whole = {"success": True, "data": example.reply} if operation.docs.envelope else None
    return pretty(whole or example.reply)


def _errors(operation: Operation) -> Iterator[ErrorRow]:
    for each in operation.refusals:
        shaped = operation.failure(each.error)
        code = shaped["error"]["code"] if "error" in shaped else shaped.get("errorCode", "")
        yield ErrorRow(each.error.status, code, each.error.message, each.text)


def _related(operation: Operation) -> Iterator[Operation]:
    """The operation that returns the player's id, if needed, and others with the same tag."""
    fields = operation.endpoint.body.__struct_fields__ if operation.endpoint.body else ()
    names = {*fields, *(each.name for each in operation.parameters)}
    for other in operations():
        gives = other.id == "player_register" and "player_id" in names
        if other is not operation and (gives or other.tag == operation.tag):
            yield other
