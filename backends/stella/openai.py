"""OpenAI's embeddings format: a JSON body to token rows, vectors to a JSON answer.

The gateway doesn't use it; it sends ids over the hop. Added to OpenAI's fields: `prompt_name` (a
prompt of the checkpoint), `truncate: "end"`, and lists of integers, which are whole rows in this
model's own vocabulary, [CLS] and [SEP] included.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
import numpy as np

from backends.asgi import Failure
from backends.engine import Computed
from backends.protocol import TokenRow, WorkerInfo
from backends.stella.tokenizer import Tokenizer, truncate

DIMENSIONS_DEFAULT = 1024
VALUES_MAX = 2048 * 1024
"""Most floats in one answer: formatting more would delay every other caller."""
_TokenId = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class EmbeddingRequest(msgspec.Struct):
    """The body of `POST /v1/embeddings`. Unknown fields are ignored."""

    input: str | list[str | list[_TokenId] | _TokenId]
    model: str | None = None
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] = "float"
    prompt_name: str | None = None
    truncate: Literal["end"] | None = None


class Asked(msgspec.Struct):
    """A request, ready to compute."""

    rows: list[TokenRow]
    encoding_format: Literal["float", "base64"]


def decode(
    body: bytes, info: WorkerInfo, tokenizer: Tokenizer, prompts: Mapping[str, str]
) -> Asked:
    """Parse and check a body. Raises InvalidRequest."""
    try:
        request = msgspec.json.decode(body, type=EmbeddingRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(400, "invalid_request", str(error), None) from None
    if request.model not in (None, info.model):
        raise InvalidRequest(
            404, "model_not_found", f"{request.model!r} isn't served here: {info.model}", "model"
        )
    dimensions = _dimensions(request, info)
    prompt = _prompt(request, prompts)
    inputs = _inputs(request.input)
    if not inputs:
        raise InvalidRequest(400, "invalid_request", "input is empty")
    rows_max = min(info.rows_max, VALUES_MAX // dimensions)
    if len(inputs) > rows_max:
        message = f"{len(inputs)} inputs; at most {rows_max} of {dimensions} dimensions fit"
        raise InvalidRequest(413, "too_large", message)
    cut = request.truncate == "end"
    rows = [
        TokenRow(_ids(index, value, prompt, tokenizer, info.tokens_max, cut=cut), dimensions)
        for index, value in enumerate(inputs)
    ]
    tokens = sum(row.tokens for row in rows)
    if tokens > info.batch_tokens_max:
        message = f"{tokens} tokens; at most {info.batch_tokens_max} a call fit"
        raise InvalidRequest(413, "too_large", message)
    return Asked(rows, request.encoding_format)


def encode(asked: Asked, computed: Computed, model: str) -> bytes:
    """Write the answer's body."""
    tokens = sum(row.tokens for row in asked.rows)
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _shown(vector, asked)}
                for index, vector in enumerate(computed.vectors)
            ],
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


class InvalidRequest(Exception):
    """The body can't be embedded; carries OpenAI's four error fields."""

    def __init__(self, status: int, code: str, message: str, param: str | None = "input") -> None:
        super().__init__(message)
        self.failure = Failure(status, code, message)
        self.param = param


def _dimensions(request: EmbeddingRequest, info: WorkerInfo) -> int:
    default = DIMENSIONS_DEFAULT if DIMENSIONS_DEFAULT in info.dimensions else info.dimensions[-1]
    wanted = default if request.dimensions is None else request.dimensions
    if wanted not in info.dimensions:
        served = ", ".join(map(str, info.dimensions))
        message = f"{wanted} dimensions aren't served here: {served}"
        raise InvalidRequest(400, "invalid_dimensions", message, "dimensions")
    return wanted


def _prompt(request: EmbeddingRequest, prompts: Mapping[str, str]) -> str:
    if request.prompt_name is None:
        return ""
    if request.prompt_name not in prompts:
        known = ", ".join(prompts) or "none"
        message = f"no prompt {request.prompt_name!r} here: {known}"
        raise InvalidRequest(400, "invalid_prompt", message, "prompt_name")
    return prompts[request.prompt_name]


def _inputs(
    value: str | list[str | list[int] | int],
) -> list[str | list[int]]:
    if isinstance(value, str):
        return [value]
    numbers = [item for item in value if isinstance(item, int)]
    if not numbers:
        return [item for item in value if not isinstance(item, int)]
    if len(numbers) < len(value):
        raise InvalidRequest(400, "invalid_request", "input mixes numbers with something else")
    return [numbers]


def _ids(
    index: int,
    value: str | list[int],
    prompt: str,
    tokenizer: Tokenizer,
    tokens_max: int,
    *,
    cut: bool,
) -> bytes:
    where = f"input {index}"
    if isinstance(value, str):
        ids = tokenizer.encode(prompt + value)
    elif prompt:
        raise InvalidRequest(
            400, "invalid_prompt", f"{where} is ids: a prompt must be among them", "prompt_name"
        )
    else:
        ids = np.array(value, dtype="<u4")
    if len(ids) > tokens_max and cut:
        ids = truncate(ids, tokens_max)
    if not 0 < len(ids) <= tokens_max:
        message = f'{where} has {len(ids)} tokens; 1 to {tokens_max} fit, or ask truncate: "end"'
        raise InvalidRequest(400, "context_length_exceeded", message)
    return ids.tobytes()


def _shown(vector: bytes, asked: Asked) -> str | list[float]:
    if asked.encoding_format == "base64":
        return base64.b64encode(vector).decode()
    values: list[float] = np.frombuffer(vector, dtype="<f4").tolist()
    return values
