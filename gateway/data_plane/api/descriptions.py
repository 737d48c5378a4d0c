"""What the OpenAPI document says in words: fields, headers, and an example of each schema.

Schemas are made from classes, which know types and nothing else. Words are Markdown, of which only
`code` is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_REQUEST_ID = "0198c2a1-7d3e-7000-8000-5b0f3c1d2e4f"

REQUEST_FIELDS: Mapping[str, str] = {
    "model": "The model's id. A prompt may follow it, as in `MODEL:s2p_query`.",
    "input": "A text, or up to 2,048 of them. Arrays of token ids only as `token_ids_from` says.",
    "encoding_format": "`float` (the default), or `base64` of little-endian float32.",
    "dimensions": "One of the model's lengths; its default otherwise.",
    "user": "Accepted as OpenAI does, and not used.",
    "truncate": "Cut a text that is too long at its end or start, and bill it as cut; the answer's "
    "`truncated` then tells what was cut. Without it, and without the key's own default, such a "
    "text is refused.",
    "prompt_name": "One of the model's prompts, put in front of every input and billed.",
    "input_type": "`query` for the model's query prompt, `document` for none.",
    "service_tier": "`flex`: a lower price, behind other work where there is not room for all. "
    "`auto` and `default` are the usual price.",
    "token_ids_from": "`model`: arrays of integers are ids of the model's own vocabulary.",
}

FIELDS: Mapping[str, Mapping[str, str]] = {
    "Embeddings": {
        "data": "One for each input, in their order.",
        "model": "The model as the request named it.",
        "truncated": "What was cut, as the request asked; not there when nothing was.",
    },
    "Embedding": {
        "index": "The place of its input in the request.",
        "embedding": "A vector of length 1: numbers, or base64 of little-endian float32.",
    },
    "Usage": {
        "prompt_tokens": "What is billed: special tokens and prompts included, after truncation.",
        "total_tokens": "The same: an embedding has no other tokens.",
    },
    "Cut": {
        "index": "The place of the input in the request.",
        "tokens": "What was embedded, and billed.",
        "tokens_full": "What it would have been in full.",
    },
    "Estimate": {
        "cost_nanos": "The exact price in nano-dollars, a string since floats round.",
        "cost_dollars": "The same in dollars.",
    },
    "EstimatedInput": {
        "index": "The place of the input in the request.",
        "tokens": "What would be billed.",
        "tokens_full": "Before truncation.",
        "truncated": "Whether it would be cut.",
    },
    "ModelEntry": {
        "created": "Unix time of its entry into the catalogue, in seconds.",
        "state": "Only a `live` model embeds; one that is `coming_soon` can be priced.",
        "price": "What a million tokens cost.",
        "flex_price": "The same with `service_tier: flex`.",
        "dimensions": "The lengths of vector that can be asked for.",
        "dimensions_default": "The length without `dimensions`.",
        "dimensions_derived": "Lengths without a head of their own, and the one each is cut from.",
        "tokens_max": "Most tokens in one input, special tokens and prompt included.",
        "prompts": "Each prompt's name, and the text that it puts in front.",
    },
    "ErrorBody": {
        "message": "What is wrong and what to do, for people.",
        "type": "The kind of error, as OpenAI names it.",
        "param": "The field that is to blame, where there is one.",
        "code": "What programs tell errors apart by, where there is one.",
    },
    "CreditsAnswer": {
        "balance_nanos": "What can be spent, in nano-dollars, as all money here: what is left of "
        "the grants.",
        "reserved_nanos": "The part of the balance that running gateways hold for requests.",
        "owed_nanos": "What was used beyond the credit; 0 but for rare accidents of ours.",
        "frozen": "Whether the account is stopped.",
        "grants": "The credit that has something left, in the order in which it is used.",
    },
    "Grant": {
        "kind": "`promo` is free, `paid` was paid for.",
        "amount_nanos": "What came in.",
        "remaining_nanos": "What is left of it, charged requests taken off at once.",
        "expires_at": "When what is left ends; null: never.",
    },
    "VerifyAnswer": {
        "agrees": "Whether both ways give the same.",
        "balance_nanos": "What the account says.",
        "recomputed_nanos": "The ledger's entries, less the usage it has yet to take in.",
        "unposted_nanos": "That usage.",
        "entries": "The sums of the ledger's entries by their kind.",
    },
    "UsageAnswer": {"next": "The `after` of the next page; null at the end."},
    "UsageEntry": {
        "day": "A day of UTC.",
        "key_id": "The API key.",
        "cost_nanos": "What was charged, in nano-dollars.",
    },
    "ReceiptKey": {
        "kid": "Names the key.",
        "x": "The public key, in unpadded base64url.",
    },
}

# no patterns: a header that can't be read is ignored, as if it had not been sent
PARAMETERS: tuple[Mapping[str, Any], ...] = (
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A name of yours for this request. Sent again with the same body within a "
        "minute, it gets the first answer, free, where the same gateway process receives it. At "
        "most 255 characters.",
        "schema": {"type": "string", "maxLength": 255},
        "example": "batch-17",
    },
    {
        "name": "Prefer",
        "in": "header",
        "description": "`wait=N`: hold the request for up to N seconds, at most 30, while no "
        "worker of its model is ready.",
        "schema": {"type": "string"},
        "example": "wait=30",
    },
    {
        "name": "X-Tier",
        "in": "header",
        "description": "`batch` is `service_tier: flex`, for clients that can't add a field.",
        "schema": {"type": "string"},
        "example": "batch",
    },
    {
        "name": "x-stainless-read-timeout",
        "in": "header",
        "description": "Seconds that the client waits, which OpenAI's SDKs send by themselves. "
        "What would not be done by then is refused at once.",
        "schema": {"type": "string"},
        "example": "600",
    },
)

REQUEST_ID = {"x-request-id": "Names this request in our books; quote it when you write to us."}
LIMITS = {
    "x-ratelimit-limit-requests": "How many requests of your organization may be at work at once.",
    "x-ratelimit-remaining-requests": "How many more may begin just now.",
}
COST = {
    "x-cost-nanos": "What this answer was charged, in nano-dollars. A replay "
    "(`idempotent-replayed`) repeats the one charge of its original: whoever received both "
    "answers counts one of them.",
    "x-balance-nanos": "What is left, in nano-dollars.",
    "x-receipt": "What was charged, signed; `GET /v1/receipts/key` checks it.",
    "openai-processing-ms": "Milliseconds from the first byte read to the answer.",
    "x-gateway-overhead-ms": "The same without waiting for a worker.",
}
REPLAY = {
    "idempotent-replayed": "`true` where this is the answer of an earlier request, free of charge.",
    "x-original-request-id": "That earlier request.",
}
RETRY = {
    "retry-after": "Seconds after which to try again, where that is known.",
    "retry-after-ms": "The same in milliseconds.",
}
NO_RETRY = {"x-should-retry": "`false`: OpenAI's SDKs then do not try again."}

_USAGE = {"prompt_tokens": 5, "total_tokens": 5}
_PRICE = {"nanos_per_million_tokens": "8000000", "dollars_per_million_tokens": "0.008000000"}
_FLEX = {"nanos_per_million_tokens": "4000000", "dollars_per_million_tokens": "0.004000000"}
_ENTRY = {
    "id": _MODEL,
    "object": "model",
    "created": 1_761_955_200,
    "owned_by": "sentence-transformers",
    "state": "live",
    "license": "Apache-2.0",
    "price": _PRICE,
    "flex_price": _FLEX,
    "dimensions": [384],
    "dimensions_default": 384,
    "dimensions_derived": {},
    "tokens_max": 256,
    "prompts": {},
}

EXAMPLES: Mapping[str, Any] = {
    "EmbeddingsRequest": {"model": _MODEL, "input": ["Hello, world"]},
    "Embeddings": {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.036, -0.028, 0.051]}],
        "model": _MODEL,
        "usage": _USAGE,
    },
    "Estimate": {
        "object": "estimate",
        "model": _MODEL,
        "data": [{"index": 0, "tokens": 5, "tokens_full": 5, "truncated": False}],
        "usage": _USAGE,
        "cost_nanos": "40",
        "cost_dollars": "0.000000040",
    },
    "ModelEntry": _ENTRY,
    "ModelList": {"object": "list", "data": [_ENTRY]},
    "ErrorEnvelope": {
        "error": {
            "message": "No API key. Send it as a header: Authorization: Bearer sk-...",
            "type": "authentication_error",
            "param": None,
            "code": "missing_api_key",
        }
    },
    "CreditsAnswer": {
        "object": "credits",
        "balance_nanos": "249999960",
        "reserved_nanos": "0",
        "owed_nanos": "0",
        "frozen": False,
        "grants": [
            {
                "id": _REQUEST_ID,
                "kind": "promo",
                "amount_nanos": "250000000",
                "remaining_nanos": "249999960",
                "created_at": "2026-01-05T09:30:00Z",
                "expires_at": "2026-02-04T09:30:00Z",
            }
        ],
    },
    "VerifyAnswer": {
        "object": "credits.verification",
        "agrees": True,
        "balance_nanos": "249999960",
        "recomputed_nanos": "249999960",
        "unposted_nanos": "0",
        "entries": {"grant": "250000000", "usage": "-40"},
    },
    "UsageAnswer": {
        "object": "list",
        "data": [
            {
                "day": "2026-01-05",
                "key_id": _REQUEST_ID,
                "model": _MODEL,
                "requests": 1,
                "inputs": 1,
                "tokens": 5,
                "cost_nanos": "40",
            }
        ],
        "next": None,
    },
    "ReceiptKey": {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "kid": "1f2e3d4c5b6a7980",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    },
}
"""By the name of the schema. Vectors are shortened to three numbers."""
