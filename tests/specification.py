"""Checks of requests and replies against the specification.

Published schemas allow additional fields in replies; here an unknown field is a fault.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import msgspec
from jsonschema import Draft202012Validator

from ilara_admin.api.endpoint import JSON
from ilara_admin.apidocs.openapi import document
from ilara_admin.apidocs.operations import Operation, operations
from tests.api_client import Api, Reply


def operation_of(method: str, path: str) -> Operation | None:
    """The operation of this call. Paths with fewer placeholders come first."""
    plain = urlsplit(path).path
    for each in sorted(operations(), key=lambda each: each.path.count("{")):
        pattern = re.sub(r"\\{\w+\\}", r".+" if "external" in each.path else r"[^/]+",
                         re.escape(each.path))  # fmt: skip
        if each.method == method and re.fullmatch(pattern, plain):
            return each
    return None


@cache
def components(strict: bool) -> Any:
    return {"components": closed(document()["components"]) if strict else document()["components"]}


def closed(schema: Any) -> Any:
    """The schema without additional fields."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    for part in found.get("allOf", ()):
        # Alone it would refuse the fields of the others. The envelope's component has all of them.
        part.pop("additionalProperties", None)
    if found.get("type") == "object" and "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


def faults(schema: Any, value: Any, *, strict: bool = False) -> list[str]:
    """The errors of the value."""
    root = {**(closed(schema) if strict else schema), **components(strict)}
    validator = Draft202012Validator(root)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def written(operation: Operation) -> Any:
    return document()["paths"][operation.path][operation.method.lower()]


def response_of(operation: Operation, status: int) -> Any:
    response = written(operation)["responses"][str(status)]
    name = response.get("$ref", "").rpartition("/")[2]
    return document()["components"]["responses"][name] if name else response


def body_faults(operation: Operation, body: Any) -> list[str]:
    content = written(operation).get("requestBody", {"content": {}})["content"]
    return faults(content[JSON]["schema"], body) if JSON in content else []


def reply_faults(operation: Operation, status: int, value: Any) -> list[str]:
    content = response_of(operation, status).get("content", {})
    return faults(content[JSON]["schema"], value, strict=True) if JSON in content else []


def same_shape(expected: Any, got: Any, place: str = "$") -> Iterator[str]:
    """The paths where fields or types differ. Null matches any type."""
    if isinstance(expected, dict) and isinstance(got, dict):
        yield from (f"{place}.{name}" for name in expected.keys() ^ got.keys())
        for name in expected.keys() & got.keys():
            yield from same_shape(expected[name], got[name], f"{place}.{name}")
    elif isinstance(expected, list) and isinstance(got, list):
        if bool(expected) != bool(got):
            yield f"{place}: one is empty"
        for number, item in enumerate(got):
            if all(any(same_shape(each, item)) for each in expected):
                yield f"{place}[{number}]"
    elif None not in (expected, got) and kind(expected) != kind(got):
        yield f"{place}: {expected!r} and {got!r}"


def kind(value: Any) -> type:
    return float if type(value) is int else type(value)


class JudgedApi(Api):
    """An Api that checks each request and reply against the specification."""

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = JSON,
        environ: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        reply = super().request(
            method, path, body, content_type=content_type, environ=environ, headers=headers
        )
        operation = operation_of(method, path)
        if operation is not None:
            documented = set(written(operation)["responses"])
            assert str(reply.status) in documented, f"{operation.id} returns {reply.status}"
            found = reply_faults(operation, reply.status, msgspec.json.decode(reply.body))
            assert not found, (operation.id, found)
            # A batch may contain invalid events, which are rejected one by one.
            if reply.status < 300 and body is not None and b'"rejected":[{' not in reply.body:
                assert not body_faults(operation, body), (operation.id, body)
        return reply
