"""The OpenAPI document of /v1, at /openapi.json.

Schemas are made from the classes that decode and encode; the paths are written here, because the
bare ASGI routes have nothing for a framework to read. The tests hold the document against the
running gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Response, get

from gateway.data_plane.api import descriptions
from gateway.data_plane.api.models import ModelEntry, ModelList
from gateway.data_plane.api.requests import EmbeddingsRequest
from gateway.data_plane.api.responses import Cut, Estimate, Usage
from gateway.wings import Operation


class Embedding(msgspec.Struct, frozen=True):
    """One vector."""

    object: str
    index: int
    embedding: list[float] | str
    """Numbers, or base64 of little-endian float32."""


class Embeddings(msgspec.Struct, frozen=True):
    """The answer of POST /v1/embeddings."""

    object: str
    data: list[Embedding]
    model: str
    usage: Usage
    truncated: list[Cut] | msgspec.UnsetType = msgspec.UNSET
    """There only when an input was cut, as the request asked."""


class ErrorBody(msgspec.Struct, frozen=True):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """What every error under /v1 looks like."""

    error: ErrorBody


ROOTS = (EmbeddingsRequest, Embeddings, Estimate, ModelEntry, ModelList, ErrorEnvelope)
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_INPUT = {
    "description": "A text, texts, token ids, or lists of token ids. No text may be empty.",
    "oneOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
        _IDS,
        {"type": "array", "items": _IDS, "minItems": 1},
    ],
}
_REASONS = {
    400: "The request can't be served as it is; `param` names the field.",
    401: "No API key, or not a good one.",
    402: "Not enough credit; nothing was charged.",
    404: "No such model, or one that is coming soon.",
    405: "Another method is needed.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    429: "Too much at once; nothing was charged.",
    500: "Our mistake; nothing was charged.",
    502: "No worker gave a good answer; nothing was charged.",
    503: "Not at the moment; nothing was charged.",
    504: "Not in time; nothing was charged.",
}
_TOO_MANY = 429
_NO_CREDIT = 402
_LATER = (_TOO_MANY, 503)


def document(public_url: str, version: str, operations: Sequence[Operation] = ()) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document, with what others serve besides."""
    roots = (*ROOTS, *(operation.schema for operation in operations))
    _, schemas = msgspec.json.schema_components(roots, ref_template="#/components/schemas/{name}")
    schemas["EmbeddingsRequest"]["properties"]["input"] = _INPUT
    words = {"EmbeddingsRequest": descriptions.REQUEST_FIELDS, **descriptions.FIELDS}
    for schema, fields in words.items():
        for field, description in fields.items() if schema in schemas else ():
            schemas[schema]["properties"][field]["description"] = description
    name = {
        "name": "model_id",
        "in": "path",
        "required": True,
        "description": "The model's id, its slash as it is or as %2F.",
        "schema": {"type": "string", "minLength": 1},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stella gateway",
            "version": version,
            "description": "A metered, OpenAI-compatible embeddings API.",
        },
        "servers": [{"url": public_url}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "paths": {
            "/v1/embeddings": {
                "post": _post("createEmbeddings", "Embed texts", "Embeddings", paid=True)
            },
            "/v1/embeddings/estimate": {
                "post": _post("estimate", "Count and price a request, for free", "Estimate")
            },
            "/v1/models": {"get": _get("listModels", "List the models", "ModelList", (401, 503))},
            "/v1/models/{model_id}": {
                "parameters": [name],
                "get": _get("retrieveModel", "Describe a model", "ModelEntry", (401, 404, 503)),
            },
            **{operation.path: _foreign(operation) for operation in operations},
        },
    }


def route(public_url: str, version: str, operations: Sequence[Operation] = ()) -> Any:
    """Make the route that serves the document."""
    body = msgspec.json.encode(document(public_url, version, operations))

    @get("/openapi.json", sync_to_thread=False)
    def read_openapi() -> Response[bytes]:
        """Serve the OpenAPI document."""
        return Response(body, media_type="application/json")

    return read_openapi


def _post(operation: str, summary: str, schema: str, *, paid: bool = False) -> dict[str, Any]:
    errors = (400, 401, 404, 413, 415, 429, 500, 503, *((402, 502, 504) if paid else ()))
    body = {"schema": _ref("EmbeddingsRequest"), "example": _example("EmbeddingsRequest")}
    headers = descriptions.LIMITS | (descriptions.COST | descriptions.REPLAY if paid else {})
    described: dict[str, Any] = {
        "operationId": operation,
        "summary": summary,
        "security": [{"key": []}],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": _responses(schema, headers, errors),
    }
    if paid:
        described["parameters"] = [dict(parameter) for parameter in descriptions.PARAMETERS]
    return described


def _get(operation: str, summary: str, schema: str, errors: tuple[int, ...]) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "security": [{}, {"key": []}],
        "responses": _responses(schema, {}, errors),
    }


def _foreign(operation: Operation) -> dict[str, Any]:
    errors = () if operation.public else (400, 401, 503)
    schema = operation.schema.__name__
    described = _get(operation.operation_id, operation.summary, schema, errors)
    described["security"] = [{}] if operation.public else [{"key": []}]
    described["parameters"] = list(operation.parameters)
    return {operation.method: described}


def _responses(schema: str, headers: dict[str, str], errors: tuple[int, ...]) -> dict[str, Any]:
    good = _response("Done.", schema, descriptions.REQUEST_ID | headers)
    bad = {
        str(status): _response(_REASONS[status], "ErrorEnvelope", _error_headers(status))
        for status in sorted(errors)
    }
    return {"200": good, **bad}


def _error_headers(status: int) -> dict[str, str]:
    return {
        **descriptions.REQUEST_ID,
        **(descriptions.LIMITS if status == _TOO_MANY else {}),
        **(descriptions.RETRY if status in _LATER else {}),
        **(descriptions.NO_RETRY if status == _NO_CREDIT else {}),
    }


def _response(description: str, schema: str, headers: dict[str, str]) -> dict[str, Any]:
    body = {"schema": _ref(schema)}
    if schema != "ErrorEnvelope":
        body["example"] = _example(schema)
    return {
        "description": description,
        "content": {"application/json": body},
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in headers.items()
        },
    }


def _example(schema: str) -> Any:
    return descriptions.EXAMPLES[schema]


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
