"""The OpenAPI document of /v1, at /openapi.json.

Schemas come from the structs that are decoded and encoded, whose fields have their own
descriptions; errors are described by their classes. Operations are declared here, or next to their
routes if other parts serve them, because the hot paths have nothing a framework could read. Tests
check the document against the running gateway. Texts are Markdown, of which only `code` is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
from litestar import Response, get

from gateway import money
from gateway.data_plane.api.hot_path import ModelNotFound
from gateway.data_plane.api.model_entries import ModelEntry, ModelList, Price
from gateway.data_plane.api.models import PAGE_MODELS_MAX
from gateway.data_plane.api.requests import EmbeddingsRequest
from gateway.data_plane.api.responses import (
    Embedding,
    Embeddings,
    Estimate,
    EstimatedInput,
    Usage,
)
from gateway.data_plane.auth.authenticator import MissingKey, ScopeMissing
from gateway.data_plane.limits.rates import TooManyReads
from gateway.data_plane.metering.port import FROZEN
from gateway.data_plane.routing.outcomes import AllAttemptsFailed, DeadlineMissed
from gateway.errors import (
    BadRequest,
    ErrorEnvelope,
    GatewayError,
    PaymentRequired,
    ServerError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
)
from gateway.money import Nanos
from gateway.wings import CAN_FAIL, Operation, parameter

REQUEST_ID = {
    "x-request-id": "Identifies this request in our records; quote it when you write to us."
}
LIMITS = {
    "x-ratelimit-limit-requests": "How many requests your organization may have in flight at once.",
    "x-ratelimit-remaining-requests": "How many more it may start now.",
}
COST = {
    "x-cost-nanos": "What this response was charged, in nano-dollars. A replay "
    "(`idempotent-replayed`) repeats the single charge of its original: if you received both "
    "responses, count one. One that another process recomputed has 0.",
    "x-balance-nanos": "What is left, in nano-dollars.",
    "x-receipt": "What was charged, signed; `GET /v1/receipts/key` checks it.",
    "openai-processing-ms": "Milliseconds from the first byte read to the response.",
    "x-gateway-overhead-ms": "The same, without the time spent waiting for a worker.",
}
REPLAY = {
    "idempotent-replayed": "`true` if this is the response to an earlier request, free of charge.",
    "x-original-request-id": "The id of that earlier request.",
    "x-abandoned-requests": "How many requests you abandoned in ten minutes, if there were so "
    "many that you pay for them.",
}
_RETRY = {
    "retry-after": "Seconds after which to try again, if known.",
    "retry-after-ms": "The same in milliseconds.",
}
_NO_RETRY = {"x-should-retry": "If `false`, OpenAI's SDKs do not retry."}

_TAKES_BODY = (
    *CAN_FAIL,
    ScopeMissing,
    ModelNotFound,
    TooLarge,
    UnsupportedMedia,
    TooManyRequests,
    ServerError,
)

_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_USAGE = Usage(5, 5)
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_INPUT = [
    {"type": "string", "minLength": 1},
    {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
    _IDS,
    {"type": "array", "items": _IDS, "minItems": 1},
]


# no patterns: a header that can't be parsed is ignored, as if it had not been sent
_HEADERS = (
    parameter(
        "Idempotency-Key",
        "A name you choose for this request. Sent again with the same body within a minute, it "
        "is not charged again. At most 255 characters.",
        {"type": "string", "maxLength": 255},
        place="header",
        example="batch-17",
    ),
    parameter(
        "Prefer",
        "`wait=N`: hold the request for up to N seconds, at most 30, while no worker of its model "
        "is ready.",
        {"type": "string"},
        place="header",
        example="wait=30",
    ),
    parameter(
        "X-Tier",
        "`batch` means `service_tier: flex`, for clients that can't add a field.",
        {"type": "string"},
        place="header",
        example="batch",
    ),
    parameter(
        "x-stainless-read-timeout",
        "How many seconds the client waits; OpenAI's SDKs send it automatically. A request that "
        "would not finish by then is refused at once.",
        {"type": "string"},
        place="header",
        example="600",
    ),
)
_BODY = {"model": _MODEL, "input": ["Hello, world"]}
_ENTRY = ModelEntry(
    id=_MODEL,
    created=1_761_955_200,
    owned_by="sentence-transformers",
    state="live",
    license="Apache-2.0",
    price=Price(Nanos(8_000_000), "0.008000000"),
    flex_price=Price(Nanos(4_000_000), "0.004000000"),
    dimensions=(384,),
    dimensions_default=384,
    dimensions_derived={},
    tokens_max=256,
    prompts={},
    query_prompt=None,
    document_prompt=None,
)
ERROR = MissingKey("No API key. Send it as a header: Authorization: Bearer sk-...")
"""The example of an error."""

OPERATIONS = (
    Operation(
        "/v1/embeddings",
        "post",
        "createEmbeddings",
        "Create embeddings",
        Embeddings("list", [Embedding("embedding", 0, [0.036, -0.028, 0.051])], _MODEL, _USAGE),
        parameters=_HEADERS,
        errors=(*_TAKES_BODY, PaymentRequired, *FROZEN, AllAttemptsFailed, DeadlineMissed),
        headers=LIMITS | COST | REPLAY,
        body=_BODY,
    ),
    Operation(
        "/v1/embeddings/estimate",
        "post",
        "estimate",
        "Count and price a request, for free",
        Estimate(
            object="estimate",
            model=_MODEL,
            data=[EstimatedInput(0, 5, 5, truncated=False)],
            usage=_USAGE,
            cost_nanos=Nanos(40),
            cost_dollars="0.000000040",
        ),
        errors=(*_TAKES_BODY, TooManyReads),
        headers=LIMITS,
        body=_BODY,
    ),
    Operation(
        "/v1/models",
        "get",
        "listModels",
        "List the models",
        ModelList(data=[_ENTRY], first_id=_MODEL, last_id=_MODEL, has_more=False),
        parameters=(
            parameter("after", "The `last_id` of the page before.", {"type": "string"}),
            parameter(
                "limit",
                "Models per page.",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": PAGE_MODELS_MAX,
                    "default": PAGE_MODELS_MAX,
                },
            ),
        ),
        errors=(BadRequest, Unauthorized, TooManyReads, Unavailable),
        key="optional",
    ),
    Operation(
        "/v1/models/{model_id}",
        "get",
        "retrieveModel",
        "Describe a model",
        _ENTRY,
        parameters=[
            parameter(
                "model_id",
                "The model's id, its slash as it is or as %2F.",
                {"type": "string", "minLength": 1},
                place="path",
                required=True,
            )
        ],
        errors=(Unauthorized, ModelNotFound, TooManyReads, Unavailable),
        key="optional",
    ),
)
"""What the data plane serves."""


def document(public_url: str, version: str, operations: Sequence[Operation] = ()) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document, including what other parts serve."""
    operations = (*OPERATIONS, *operations)
    _, schemas = msgspec.json.schema_components(
        [EmbeddingsRequest, ErrorEnvelope, *(type(operation.answer) for operation in operations)],
        schema_hook=_schema,
        ref_template="#/components/schemas/{name}",
    )
    properties = schemas["EmbeddingsRequest"]["properties"]
    properties["input"] = {"description": properties["input"]["description"], "oneOf": _INPUT}
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
            operation.path: {operation.method: _described(operation)} for operation in operations
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


def _described(operation: Operation) -> dict[str, Any]:
    security = {"required": [{"key": []}], "optional": [{}, {"key": []}], "none": [{}]}
    good = type(operation.answer), {**REQUEST_ID, **operation.headers}
    example = msgspec.json.decode(money.encode(operation.answer))
    described: dict[str, Any] = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "security": security[operation.key],
        "parameters": list(operation.parameters),
        "responses": {
            "200": _response("Done.", *good, example=example),
            **{
                str(status): _response(_meaning(kinds), ErrorEnvelope, _error_headers(kinds))
                for status, kinds in _by_status(operation.errors)
            },
        },
    }
    if operation.body:
        body = {"schema": _ref(EmbeddingsRequest), "example": operation.body}
        described["requestBody"] = {"required": True, "content": {"application/json": body}}
    return described


def _by_status(
    errors: Sequence[type[GatewayError]],
) -> list[tuple[int, list[type[GatewayError]]]]:
    ordered = sorted(errors, key=lambda kind: kind.status)
    return [(status, list(kinds)) for status, kinds in groupby(ordered, lambda kind: kind.status)]


def _meaning(kinds: Sequence[type[GatewayError]]) -> str:
    """Say what a status means; where that is several things, with the code of each."""
    if len(kinds) == 1:
        return kinds[0].meaning()
    return " ".join(f"`{kind.code}`: {kind.meaning()}" for kind in kinds)


def _error_headers(kinds: Sequence[type[GatewayError]]) -> dict[str, str]:
    return {
        **REQUEST_ID,
        **(LIMITS if TooManyRequests in kinds else {}),
        **(_RETRY if any(kind.retry == "later" for kind in kinds) else {}),
        **(_NO_RETRY if PaymentRequired in kinds else {}),
    }


def _response(
    description: str, schema: type[msgspec.Struct], headers: Mapping[str, str], **body: Any
) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": _ref(schema), **body}},
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in headers.items()
        },
    }


def _ref(schema: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema.__name__}"}


def _schema(kind: type) -> dict[str, Any]:
    if kind is Nanos:
        return {"type": "string"}
    raise NotImplementedError(f"{kind.__name__} has no schema")
