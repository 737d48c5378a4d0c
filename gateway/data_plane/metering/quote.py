"""What a request will compute and cost, known before anything is reserved or sent.

Every place that counts or prices texts asks here: the endpoint and its estimate, the pages, and
the command line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from gateway.data_plane.metering.rows import Inputs, Rows, make_rows
from gateway.data_plane.metering.tokens import TokenCounter
from gateway.errors import NotFound
from gateway.pricing import cost_nanos
from gateway.snapshots import ModelSnapshot, PriceSnapshot, Tier, Truncate


class Uncountable(NotFound):
    """The model's tokens can't be counted yet, so that nothing can be priced exactly."""

    code = "tokenizer_not_found"
    remedy = "Its price per million tokens is on its page and in `GET /v1/models`."


class Quote(msgspec.Struct, frozen=True):
    """The rows to embed, and what they cost."""

    model: ModelSnapshot
    tier: Tier
    price: PriceSnapshot
    rows: Rows
    cost_nanos: int


def counter_of(counters: Mapping[str, TokenCounter], model: ModelSnapshot) -> TokenCounter:
    """Return what counts a model's tokens. Raises Uncountable."""
    try:
        return counters[model.vocabulary_sha256 or ""]
    except KeyError:
        raise Uncountable(
            f"We can't count the tokens of {model.id} yet: its tokenizer is not installed here.",
            param="model",
        ) from None


def quote(
    counter: TokenCounter,
    model: ModelSnapshot,
    inputs: Inputs,
    *,
    prompt: str | None = None,
    dimensions: int | None = None,
    truncate: Truncate | None = None,
    tier: Tier = "default",
    tokens_max: float = math.inf,
) -> Quote:
    """Count and price inputs; `prompt` is the name of one of the model's, `tokens_max` of all rows.

    Raises what `make_rows` raises.
    """
    rows = make_rows(
        counter,
        inputs,
        dimensions=dimensions or model.dimensions_default,
        row_tokens_max=model.tokens_max,
        prompt=model.prompts[prompt] if prompt else "",
        truncate=truncate,
        tokens_max=tokens_max,
    )
    price = model.price_of(tier)
    return Quote(model, tier, price, rows, cost_nanos(price, rows.tokens))
