"""The OpenAPI 3.1 specification of the API, at `/v1/openapi.json`."""

from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.urls import path

from ilara_admin.api.dispatch import is_known, route
from ilara_admin.api.endpoint import JSON, Docs, Example, endpoint
from ilara_admin.api.json_schema import REF
from ilara_admin.apidocs.openapi_schemas import schemas_of
from ilara_admin.apidocs.operations import TAGS, Operation, Parameter, Refusal, operations

VERSION = "1"
TEXT = """\
Bodies are JSON objects of at most 1 MiB, which applies before and after `Content-Encoding: gzip`. \
Unknown top-level fields are ignored and listed in the header X-Ilara-Ignored. Empty text in an \
optional text field, header or query parameter counts as absent. Times without an offset are in \
UTC. Every reply has the header X-Request-Id: yours if you sent one. On limited tiers, RateLimit \
has the remaining allowance. \
Order of checks: path (404), method (405), key (401, 403), limit (429), body (400), resource \
(404)."""
REPLY_HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "X-Request-Id": ({"type": "string"}, "The id of the request: the caller's, else a new one."),
    "X-Ilara-Ignored": ({"type": "string"}, "Unknown top-level fields of the body."),
    "X-Ilara-Conflict": (
        {"type": "string", "examples": ["amount, currency"]},
        "The fields that differ from what is stored under the same id, which counts.",
    ),
    "RateLimit": ({"type": "string"}, "Remaining allowance of each limit, and seconds to reset."),
    "RateLimit-Policy": ({"type": "string"}, "The tier's limits, with windows in seconds."),
    "X-RateLimit-Limit": ({"type": "integer"}, "Requests allowed per window."),
    "X-RateLimit-Remaining": ({"type": "integer"}, "Requests left in the window."),
    "X-RateLimit-Reset": ({"type": "integer"}, "Seconds until the window closes."),
    "Retry-After": ({"type": "integer"}, "Seconds to wait before a retry."),
    "WWW-Authenticate": ({"type": "string"}, "The scheme that carries a key."),
    "Accept-Encoding": ({"type": "string"}, "The accepted Content-Encoding, if that is the fault."),
    "ETag": ({"type": "string"}, "The version of this reply, for If-None-Match."),
}  # fmt: skip
# Replies with a player's id that other calls need.
PLAYER_IN = {
    "player_register": "/data/id",
    "player_get_by_external_id": "/data/id",
    "event_track": "/data/player_id",
}


@cache
def document() -> dict[str, Any]:
    """The whole document as plain data. Shared: must not be modified."""
    paths: dict[str, dict[str, Any]] = {}
    responses: dict[str, Any] = {}
    schemas, components = schemas_of(operations())
    for operation in operations():
        written = _operation(operation, schemas, responses)
        paths.setdefault(operation.path, {})[operation.method.lower()] = written
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ilara", "version": VERSION, "description": TEXT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": f"{text}."} for name, text in TAGS.values()],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": responses,
            "headers": {
                name: {"schema": schema, "description": text}
                for name, (schema, text) in REPLY_HEADERS.items()
            },
            "securitySchemes": {
                "ApiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "pk_… for game clients, sk_… for servers.",
                },
                "Bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The same key; X-API-Key wins if both are sent.",
                },
            },
        },
    }


# --- Operations -----------------------------------------------------------------------------------


def _operation(
    operation: Operation, schemas: dict[Any, Any], responses: dict[str, Any]
) -> dict[str, Any]:
    found = operation.endpoint
    written: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": "\n\n".join(filter(None, [operation.text, _rules(operation)])),
        "security": [{"ApiKey": []}, {"Bearer": []}] if found.scope else [],
        "x-key-kinds": list(operation.keys),
        **({"x-scope": str(found.scope)} if found.scope else {}),
        "x-rate-limits": list(operation.limits),
    }
    if operation.parameters:
        written["parameters"] = [_parameter(each) for each in operation.parameters]
    if found.body is not None:
        bodies = {
            each.name: {"value": each.body} for each in found.docs.examples if each.body is not None
        }
        content = {"schema": schemas[found.body], "examples": bodies}
        required = any(field.required for field in msgspec.structs.fields(found.body))
        required = required or hasattr(found.body, "json_schema")
        written["requestBody"] = {"required": required, "content": {JSON: content}}
    written["responses"] = {
        **{str(status): _success(operation, status, schemas) for status in found.docs.statuses},
        **_failures(operation, schemas, responses),
    }
    return written


def _rules(operation: Operation) -> str:
    if not operation.keys:
        return "Requires no key and has no limit."
    keys = "Public or secret key." if len(operation.keys) > 1 else "Requires a secret key."
    if operation.restricted:
        keys += " Requires a secret key if the environment restricts public keys."
    keys += f" A secret key needs the scope `{operation.endpoint.scope}`."
    noun = "limit" if len(operation.limits) == 1 else "limits"
    return f"{keys} Counts against the {noun} of {' and '.join(operation.limits)}."


def _parameter(parameter: Parameter) -> dict[str, Any]:
    written = {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.text,
        "schema": parameter.schema,
    }
    if parameter.place == "query":
        written["allowEmptyValue"] = True  # counts as absent
    return written if parameter.example is None else written | {"example": parameter.example}


def _success(operation: Operation, status: int, schemas: dict[Any, Any]) -> dict[str, Any]:
    docs = operation.docs
    names = ["X-Request-Id"]
    if operation.endpoint.body is not None:
        names.append("X-Ilara-Ignored")
    if docs.repeats:
        names.append("X-Ilara-Conflict")
    if "If-None-Match" in docs.headers:
        names.append("ETag")
    if operation.limits:
        names += [name for name in REPLY_HEADERS if "RateLimit" in name]
    written = {"description": docs.statuses[status], "headers": _headers(names)}
    if status == 304:
        return written
    content = {"schema": _reply_schema(operation, schemas)}
    if examples := {
        each.name: {"value": _example(docs, each)}
        for each in docs.examples
        if each.status == status
    }:
        content["examples"] = examples
    written["content"] = {docs.media: content}
    if links := _links(operation):
        written["links"] = links
    return written


def _reply_schema(operation: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = schemas.get(operation.docs.reply, {})
    if operation.docs.media != JSON:
        return _event(schema)
    if not operation.docs.envelope:
        return schema
    data = {"type": "object", "properties": {"data": schema}, "required": ["data"]}
    return {"allOf": [{"$ref": REF.format(name="Success")}, data]}


def _event(data: dict[str, Any]) -> dict[str, Any]:
    """The schema of one event of a stream, as OpenAPI 3.2 has it in `itemSchema`. Tools for 3.1
    read it in the same way."""
    gap = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    lines = {
        "id": {"type": "string"},
        "event": {"enum": ["message", "gap"]},
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "contentSchema": {"anyOf": [data, gap]},
        },
    }
    return {"type": "object", "properties": lines, "required": ["data"]}


def _example(docs: Docs, example: Example) -> Any:
    """The reply as the schema describes it: of a stream, the last event."""
    if docs.media != JSON:
        *_, last = example.reply.strip().split("\n\n")
        return dict(line.split(": ", 1) for line in last.splitlines())
    return {"success": True, "data": example.reply} if docs.envelope else example.reply


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


# --- Failures -------------------------------------------------------------------------------------

# Responses that are the same for every operation.
SHARED = (401, 413, 415, 429, 500, 503)


def _failures(
    operation: Operation, schemas: dict[Any, Any], responses: dict[str, Any]
) -> dict[str, Any]:
    by_status: dict[int, list[Refusal]] = {}
    for refusal in operation.refusals:
        by_status.setdefault(refusal.error.status, []).append(refusal)
    written: dict[str, Any] = {}
    for status, refusals in by_status.items():
        response = _failure(operation, refusals, schemas)
        if status in SHARED:
            name = f"{operation.docs.failure.__name__}{status}"
            responses[name] = response
            response = {"$ref": f"#/components/responses/{name}"}
        written[str(status)] = response
    return written


def _failure(
    operation: Operation, refusals: list[Refusal], schemas: dict[Any, Any]
) -> dict[str, Any]:
    docs, error = operation.docs, refusals[0].error
    names = ["X-Request-Id"]
    if error.status in (429, 503):
        names.append("Retry-After")
    if error.status == 401:
        names.append("WWW-Authenticate")
    if operation.endpoint.body is not None and error.status == 400:
        names.append("X-Ilara-Ignored")
    if operation.endpoint.body is not None and error.status == 415:
        names.append("Accept-Encoding")
    if error.status not in (401, 500, 503):
        names += [name for name in REPLY_HEADERS if "RateLimit" in name]
    examples = {
        f"example{number}" if number > 1 else "example": {
            "summary": refusal.error.message,
            "value": operation.failure(refusal.error),
        }
        for number, refusal in enumerate(refusals, start=1)
    }
    return {
        "description": f"`{error.code}`: {' '.join(refusal.text for refusal in refusals)}",
        "headers": _headers(names),
        "content": {JSON: {"schema": schemas[docs.failure], "examples": examples}},
    }


# --- Links ----------------------------------------------------------------------------------------


def _links(operation: Operation) -> dict[str, Any]:
    """Links to every operation that takes the player id of this reply."""
    if operation.id not in PLAYER_IN:
        return {}
    id = f"$response.body#{PLAYER_IN[operation.id]}"
    links: dict[str, Any] = {}
    for other in operations():
        fields = other.endpoint.body.__struct_fields__ if other.endpoint.body else ()
        if any(each.name == "player_id" and each.required for each in other.parameters):
            links[other.id] = {"operationId": other.id, "parameters": {"player_id": id}}
        elif "player_id" in fields:
            links[other.id] = {"operationId": other.id, "requestBody": {"player_id": id}}
    return links


# --- The endpoint ---------------------------------------------------------------------------------


@cache
def _content() -> tuple[bytes, str]:
    content = msgspec.json.encode(document())
    return content, f'"{sha256(content).hexdigest()[:32]}"'


@endpoint(
    "GET",
    scope=None,
    docs=Docs(
        reply=dict[str, Any],
        statuses={
            200: "The specification.",
            304: "Not modified; without a body.",
        },
        headers=("If-None-Match",),
        examples=(Example({"openapi": "3.1.0", "info": {"title": "Ilara", "version": VERSION}}),),
        envelope=False,
    ),
)
def specification(request: HttpRequest) -> HttpResponse:
    """Get the specification of the API (OpenAPI 3.1). It is generated from the code of this
    server."""
    content, etag = _content()
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if is_known(request, etag):
        return HttpResponse(status=304, headers=headers)
    return HttpResponse(content, content_type=JSON, headers=headers)


urlpatterns = [path("openapi.json", route(specification))]
