"""Every way in which the API says no, in the words of who meets it, and what to do then.

Written by hand, because a class knows what went wrong and not what to do about it. A test reads
from the code which codes there are, and finds each of them here once.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Retry = Literal["no", "yes", "later"]
"""later: after the time in Retry-After."""


class Refusal(msgspec.Struct, frozen=True):
    """A status and a code; none of them is ever charged."""

    status: int
    code: str | None
    meaning: str
    remedy: str
    retry: Retry


REFUSALS = (
    Refusal(
        400, None,
        "A field is missing, wrong, empty or too large. `param` names it, and the message says "
        "what it may be.",
        "Correct that field.", "no",
    ),
    Refusal(
        400, "context_length_exceeded",
        "A text has more tokens than the model reads. The message says which, and how many.",
        "Split it, or send `truncate` with `end` or `start` to have it cut and be told so.", "no",
    ),
    Refusal(
        400, "idempotency_key_reused",
        "This `Idempotency-Key` came with another body a moment ago.",
        "Use a new key for a new request.", "no",
    ),
    Refusal(
        400, "idempotency_key_too_long",
        "The `Idempotency-Key` has more characters than are allowed; the message says how many.",
        "Use a random one, such as a UUID.", "no",
    ),
    Refusal(
        400, "input_not_supported",
        "No worker that serves this model can take this input: some read whole texts alone.",
        "Send text instead of token ids, and split it yourself instead of having it cut.", "no",
    ),
    Refusal(
        400, "invalid_json",
        "The body is not JSON, not UTF-8, or not an object.",
        "Let a JSON library write it.", "no",
    ),
    Refusal(
        400, "invalid_token_id",
        "A token id is outside the model's vocabulary.",
        "Send text, or ids of this model's own tokenizer.", "no",
    ),
    Refusal(
        400, "invalid_unicode",
        "A text has half of a character in it: a lone surrogate, mostly an emoji cut in two.",
        "Clean the text before you send it.", "no",
    ),
    Refusal(
        400, "unknown_token_ids",
        "The input is token ids, and nothing says whose. Ids of another tokenizer would give "
        "vectors without meaning.",
        "Send text; in LangChain set `check_embedding_ctx_length=False`. If they are the model's "
        "own ids, send `token_ids_from` with `model`.", "no",
    ),
    Refusal(
        401, "expired_api_key",
        "The key's time is over.",
        "Create a new one in the console.", "no",
    ),
    Refusal(
        401, "invalid_api_key",
        "There is no such key, or it was revoked.",
        "Check for a cut-off copy; create a new one in the console.", "no",
    ),
    Refusal(
        401, "missing_api_key",
        "No key came with the request.",
        "Send it as a header: `Authorization: Bearer sk-...`", "no",
    ),
    Refusal(
        402, "insufficient_quota",
        "Your credit does not cover this request.",
        "Look at the balance in the console, or send less. A smaller request may still fit.", "no",
    ),
    Refusal(
        402, "key_budget_exceeded",
        "The key's own budget does not cover this request; your credit may.",
        "Raise the key's budget in the console, use another key, or wait for the next month.", "no",
    ),
    Refusal(
        404, "model_coming_soon",
        "The model is announced and not served yet.",
        "Price it with `POST /v1/embeddings/estimate`, and ask to be told on its page.", "no",
    ),
    Refusal(
        404, "model_not_found",
        "There is no model of that name.",
        "`GET /v1/models` lists the names.", "no",
    ),
    Refusal(
        404, "not_found",
        "There is nothing at this path.",
        "Check the base URL: it ends in `/v1`.", "no",
    ),
    Refusal(
        405, "method_not_allowed",
        "The path is right, and the method is not.",
        "Use the one in the header `Allow`.", "no",
    ),
    Refusal(
        413, "request_too_large",
        "The body has too many bytes.",
        "Send fewer or shorter inputs at once.", "no",
    ),
    Refusal(
        415, "unsupported_media_type",
        "The body is not declared as plain JSON.",
        "Send `Content-Type: application/json`, and no `Content-Encoding`.", "no",
    ),
    Refusal(
        429, "organization_full",
        "You have more work waiting for this model than it does in a while.",
        "Send less at once.", "later",
    ),
    Refusal(
        429, "pool_full",
        "Too much work of all customers is waiting for this model.",
        "Wait, and try again.", "later",
    ),
    Refusal(
        429, "too_many_in_flight",
        "Too many requests are at work at the same moment.",
        "Send fewer at once, with more inputs in each.", "later",
    ),
    Refusal(
        429, "too_many_retries",
        "This request is at work, and too many retries of it wait for its answer already.",
        "Close the connection of a try before you begin the next one.", "later",
    ),
    Refusal(
        429, "would_miss_deadline",
        "It would not be done in the time that your client waits, so it was not begun.",
        "Send less at once, or give the client a longer timeout.", "later",
    ),
    Refusal(
        500, "internal_error",
        "A mistake of ours.",
        "Try once more; if it stays, tell us the `x-request-id`.", "yes",
    ),
    Refusal(
        502, "upstream_error",
        "No worker gave a good answer.",
        "Try again.", "yes",
    ),
    Refusal(
        503, "authentication_unavailable",
        "Your key can't be checked at the moment; it may well be good.",
        "Keep the key, and try again.", "later",
    ),
    Refusal(
        503, "closing",
        "This gateway is being replaced; another one serves you.",
        "Try again.", "later",
    ),
    Refusal(
        503, "credit_unavailable",
        "Your credit can't be read at the moment.",
        "Try again.", "later",
    ),
    Refusal(
        503, "model_warming",
        "No worker of this model is ready.",
        "Try again, or have the request held: `Prefer: wait=30`.", "later",
    ),
    Refusal(
        503, "overloaded",
        "All workers of this model are full.",
        "Try again.", "later",
    ),
    Refusal(
        503, "reservation_expired",
        "The work took longer than your credit was held for it.",
        "Try again, with less at once.", "later",
    ),
    Refusal(
        503, "service_unavailable",
        "The books can't be read at the moment.",
        "Try again.", "later",
    ),
    Refusal(
        504, "timeout",
        "The vectors were not ready in time.",
        "Try again, with less at once.", "yes",
    ),
)  # fmt: skip
