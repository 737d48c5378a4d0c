"""From raw vectors to the bytes of a response.

Base64 is made directly from the worker's bytes; floats are formatted only on request, each with
the digits that a float32 needs to round-trip.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
import orjson
import pybase64
from msgspec import Meta

from gateway import money
from gateway.data_plane.api.requests import EncodingFormat
from gateway.data_plane.metering.rows import Rows
from gateway.money import Nanos

_SLICE_BYTES = 262_144  # as floats, about 5 ms of one core


class Usage(msgspec.Struct, frozen=True):
    """What was billed: the tokens that the worker computed."""

    prompt_tokens: Annotated[
        int,
        Meta(description="What is billed: special tokens and prompts included, after truncation."),
    ]
    total_tokens: Annotated[int, Meta(description="The same: an embedding has no other tokens.")]


class Cut(msgspec.Struct, frozen=True):
    """An input that was truncated, as the request asked."""

    index: Annotated[int, Meta(description="The position of the input in the request.")]
    tokens: Annotated[int, Meta(description="What was embedded and billed.")]
    tokens_full: Annotated[int, Meta(description="The length before it was cut.")]


class Embedding(msgspec.Struct, frozen=True):
    """One vector."""

    object: str
    index: Annotated[int, Meta(description="The position of its input in the request.")]
    embedding: Annotated[
        list[float] | str,
        Meta(description="A vector of length 1: numbers, or base64 of little-endian float32."),
    ]


class Embeddings(msgspec.Struct, frozen=True):
    """The response of POST /v1/embeddings."""

    object: str
    data: Annotated[list[Embedding], Meta(description="One for each input, in the same order.")]
    model: Annotated[str, Meta(description="The model as the request named it.")]
    usage: Usage
    truncated: Annotated[
        list[Cut] | msgspec.UnsetType,
        Meta(description="What was cut, as the request asked; absent if nothing was."),
    ] = msgspec.UNSET


class EstimatedInput(msgspec.Struct, frozen=True):
    """What one input counts as."""

    index: Annotated[int, Meta(description="The position of the input in the request.")]
    tokens: Annotated[int, Meta(description="What would be billed.")]
    tokens_full: Annotated[int, Meta(description="The length before truncation.")]
    truncated: Annotated[bool, Meta(description="Whether it would be cut.")]


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The response of POST /v1/embeddings/estimate."""

    object: Literal["estimate"]
    model: str
    data: list[EstimatedInput]
    usage: Usage
    cost_nanos: Annotated[
        Nanos, Meta(description="The exact price in nano-dollars, as a string: floats round.")
    ]
    cost_dollars: Annotated[str, Meta(description="The same in dollars.")]


async def encode(
    vectors: Sequence[memoryview], *, form: EncodingFormat, model: str, rows: Rows
) -> bytes:
    """Write OpenAI's list of embeddings, in the order of the inputs.

    `truncated`, a list of `Cut`, is present only if an input was truncated. A large response is
    written in slices, so that other requests get their turn in between.
    """
    write = _base64 if form == "base64" else _floats
    parts, left = [b'{"object":"list","data":['], _SLICE_BYTES
    answer = io.BytesIO()  # grows without a copy, where a last join would be one of megabytes
    for index, vector in enumerate(vectors):
        opening = b',{"object":"embedding","index":%d,"embedding":' % index
        parts += opening if index else opening[1:], write(vector), b"}"
        left -= vector.nbytes
        if left <= 0:
            answer.writelines(parts)
            parts, left = [], _SLICE_BYTES
            await asyncio.sleep(0)
    usage = msgspec.json.encode(Usage(rows.tokens, rows.tokens))
    name = msgspec.json.encode(model)
    cut = b',"truncated":' + msgspec.json.encode(cuts(rows)) if rows.truncated() else b""
    parts.append(b'],"model":%b,"usage":%b%b}' % (name, usage, cut))
    answer.writelines(parts)
    return answer.getvalue()


def cuts(rows: Rows) -> list[Cut]:
    """Return the inputs that were truncated, with their tokens before and after."""
    return [
        Cut(index, rows.rows[index].tokens, rows.tokens_full[index]) for index in rows.truncated()
    ]


def encode_estimate(model: str, rows: Rows, cost_nanos: int) -> bytes:
    """Write how many tokens a request would have and what it would cost."""
    data = [
        EstimatedInput(index, row.tokens, full, row.tokens < full)
        for index, (row, full) in enumerate(zip(rows.rows, rows.tokens_full, strict=True))
    ]
    estimate = Estimate(
        object="estimate",
        model=model,
        data=data,
        usage=Usage(rows.tokens, rows.tokens),
        cost_nanos=Nanos(cost_nanos),
        cost_dollars=money.decimal(cost_nanos),
    )
    return money.encode(estimate)


def _base64(vector: memoryview) -> bytes:
    return b'"%b"' % pybase64.b64encode(vector)


def _floats(vector: memoryview) -> bytes:
    values = np.frombuffer(vector, dtype="<f4").astype(np.float32, copy=False)
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
