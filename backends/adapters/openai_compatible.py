"""vLLM, and any server of OpenAI's /v1/embeddings that reads token ids.

Ids are sent as they are. Its usage must say as many tokens as were sent: that tells of specials
that it added, or of what it truncated. Vectors come as base64, a twentieth of the work of floats.
vLLM queues without a bound unless it is started with --max-num-queued-tokens (then 503), so what
bounds it are the router's token window and this client's connections.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from backends.adapters.client import Answer, WorkerClient
from backends.adapters.stock import ABOUT_BYTES_MAX, ROWS_MAX, About, decode_about
from backends.adapters.vectors import Malformed, Matrix, from_listing
from backends.protocol import TokenRow


class OpenAICompatible:
    """How an OpenAI-compatible server is spoken to. See `stock.Dialect`."""

    path = "/v1/embeddings"
    body_bytes_max = 32 << 20

    def __init__(self, model: str | None, vocabulary_sha256: str) -> None:
        self.vocabulary_sha256 = vocabulary_sha256
        self._model = model

    async def about(self, client: WorkerClient) -> About:
        """Ask GET /v1/models."""
        return await listed(client, "/v1/models", self._model)

    def items(self, rows: Sequence[TokenRow]) -> list[bytes]:
        """Write lists of ids."""
        return [msgspec.json.encode(np.frombuffer(row.ids, "<u4").tolist()) for row in rows]

    def body(self, items: Sequence[bytes], about: About) -> bytes:
        """Write a call of /v1/embeddings."""
        return write_call(items, about)

    def vectors(self, answer: Answer, rows: Sequence[TokenRow], about: About) -> Matrix:
        """Read the listing, if it is of as many tokens as were sent."""
        tokens = sum(row.tokens for row in rows)
        return from_listing(answer.content, len(rows), model=about.model, tokens=tokens)


async def listed(client: WorkerClient, path: str, model: str | None) -> About:
    """Find the model in an OpenAI-like listing. Raises BackendError, Malformed."""
    found = decode_about(await client.get(path, bytes_max=ABOUT_BYTES_MAX), _Models).data
    served = ", ".join(repr(entry.id) for entry in found[:8]) or "none"
    if model is None and len(found) != 1:
        raise Malformed(f"serves {served}: state one with model= in the URL")
    for entry in found:
        if model in (None, entry.id):
            return About(entry.id, None, "unknown", entry.max_model_len, ROWS_MAX)
    raise Malformed(f"serves {served}, not {model!r}")


def write_call(items: Sequence[bytes], about: About) -> bytes:
    """Write an OpenAI-like call that asks for base64."""
    head = b'{"model":' + msgspec.json.encode(about.model)
    return head + b',"encoding_format":"base64","input":[' + b",".join(items) + b"]}"


class _Models(msgspec.Struct):
    data: list[_Model]


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None
