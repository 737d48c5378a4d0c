"""vLLM, and any server of OpenAI's /v1/embeddings that reads token ids.

Ids are sent as they are. Its usage must state as many tokens as were sent, which reveals special
tokens that it added and rows that it truncated. Vectors come as base64, a twentieth of the work of
floats. vLLM queues without a bound unless it is started with --max-num-queued-tokens (then 503), so
the router's token window and this client's connections bound its queue.
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
    """Speaks to an OpenAI-compatible server. See `stock.Dialect`."""

    path = "/v1/embeddings"
    models_path = "/v1/models"
    body_bytes_max = 32 << 20

    def __init__(self, model: str | None, vocabulary_sha256: str) -> None:
        self.vocabulary_sha256 = vocabulary_sha256
        self._model = model

    async def about(self, client: WorkerClient) -> About:
        """Find the model in the server's list of models."""
        answer = await client.get(self.models_path, bytes_max=ABOUT_BYTES_MAX)
        found = decode_about(answer, _Models).data
        served = ", ".join(repr(entry.id) for entry in found[:8]) or "none"
        if self._model is None and len(found) != 1:
            raise Malformed(f"serves {served}: state one with model= in the URL")
        for entry in found:
            if self._model in (None, entry.id):
                return About(entry.id, None, "unknown", entry.max_model_len, ROWS_MAX)
        raise Malformed(f"serves {served}, not {self._model!r}")

    def items(self, rows: Sequence[TokenRow]) -> list[bytes]:
        """Write lists of ids."""
        return [msgspec.json.encode(np.frombuffer(row.ids, "<u4").tolist()) for row in rows]

    def body(self, items: Sequence[bytes], about: About) -> bytes:
        """Write a call that asks for base64."""
        head = b'{"model":' + msgspec.json.encode(about.model)
        return head + b',"encoding_format":"base64","input":[' + b",".join(items) + b"]}"

    def vectors(self, answer: Answer, rows: Sequence[TokenRow], about: About) -> Matrix:
        """Read the vectors, if the server computed as many tokens as were sent."""
        tokens = sum(row.tokens for row in rows)
        return from_listing(answer.content, len(rows), model=about.model, tokens=tokens)


class _Models(msgspec.Struct):
    data: list[_Model]


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None
