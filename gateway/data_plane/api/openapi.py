"""The OpenAPI document of /v1, at /openapi.json.

Schemas are made from the classes that decode and encode; the paths are written here, because the
bare ASGI routes have nothing for a framework to read. The tests hold the document against the
running gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from litestar import Response, get

from gateway.data_plane.api.decoding import EmbeddingsRequest
from gateway.data_plane.api.encoding import Cut, Estimate, Usage
from gateway.data_plane.api.models import ModelEntry, ModelList


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


_ROOTS = (EmbeddingsRequest, Embeddings, Estimate, ModelEntry, ModelList, ErrorEnvelope)
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
_FIELDS = {
    "model": "The model's id. A prompt may follow it, as in MODEL:s2p_query.",
    "input": "A text, or up to 2,048 of them. Arrays of token ids only as `token_ids_from` says.",
    "encoding_format": "float (the default), or base64 of little-endian float32.",
    "dimensions": "One of the model's lengths; its default otherwise.",
    "user": "Accepted as OpenAI does, and not used.",
    "truncate": "Cut a text that is too long at its end or start, and bill it as cut. Without it, "
    "and without the key's own default, such a text is refused.",
    "prompt_name": "One of the model's prompts, put in front of every input and billed.",
    "input_type": "query for the model's query prompt, document for none.",
    "service_tier": "flex: a lower price, behind other work where there is not room for all.",
    "token_ids_from": "model: arrays of integers are ids of the model's own vocabulary.",
}
_REQUEST_ID = {"x-request-id": "Names this request in our books."}
_LIMITS = {
    "x-ratelimit-limit-requests": "How many requests of your organization may be at work at once.",
    "x-ratelimit-remaining-requests": "How many more may begin just now.",
}
_COST = {
    "x-cost-nanos": "What was charged, in nano-dollars.",
    "x-balance-nanos": "What is left, in nano-dollars.",
    "x-receipt": "What was charged, signed; GET /v1/receipts/key checks it.",
    "openai-processing-ms": "Milliseconds from the first byte read to the answer.",
    "x-gateway-overhead-ms": "The same without waiting for a worker.",
}


class Operation(NamedTuple):
    """An operation that another part of the gateway serves."""

    path: str
    method: str
    operation_id: str
    summary: str
    schema: type[msgspec.Struct]
    parameters: tuple[dict[str, Any], ...] = ()
    public: bool = False
    """Whether anybody may call it, without a key."""


def document(public_url: str, version: str, operations: Sequence[Operation] = ()) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document, with what others serve besides."""
    roots = (*_ROOTS, *(operation.schema for operation in operations))
    _, schemas = msgspec.json.schema_components(roots, ref_template="#/components/schemas/{name}")
    schemas["EmbeddingsRequest"]["properties"]["input"] = _INPUT
    for field, description in _FIELDS.items():
        schemas["EmbeddingsRequest"]["properties"][field]["description"] = description
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
                "post": _post("createEmbeddings", "Embed texts", "Embeddings", _COST, paid=True)
            },
            "/v1/embeddings/estimate": {
                "post": _post("estimate", "Count and price a request, for free", "Estimate", {})
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


def _post(
    operation: str, summary: str, schema: str, headers: dict[str, str], *, paid: bool = False
) -> dict[str, Any]:
    errors = (400, 401, 404, 413, 415, 429, 500, 503, *((402, 502, 504) if paid else ()))
    return {
        "operationId": operation,
        "summary": summary,
        "security": [{"key": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("EmbeddingsRequest")}},
        },
        "responses": _responses(schema, _LIMITS | headers, errors),
    }


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
    good = _response("Done.", schema, _REQUEST_ID | headers)
    bad = {
        str(status): _response(
            _REASONS[status],
            "ErrorEnvelope",
            _REQUEST_ID | (_LIMITS if status == _TOO_MANY else {}),
        )
        for status in sorted(errors)
    }
    return {"200": good, **bad}


def _response(description: str, schema: str, headers: dict[str, str]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": _ref(schema)}},
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in headers.items()
        },
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
