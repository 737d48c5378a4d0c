"""Text Embeddings Inference, by its native /embed.

Not by its /v1/embeddings, which truncates silently and always normalizes. Given ids, TEI decodes
them and tokenizes the text again, so it is sent text, for rows where that is exact (`vocabulary`).
A header of each answer counts the tokens that it computed and must match our count: a difference
reveals a truncation, a default prompt or another tokenizer. Its 424 means that its GPU failed, its
429 that its permits (512, one for each input) are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from backends.adapters.client import Answer, WorkerClient
from backends.adapters.stock import ABOUT_BYTES_MAX, About, decode_about
from backends.adapters.vectors import Malformed, Matrix, from_nested
from backends.adapters.vocabulary import Vocabulary
from backends.protocol import TokenRow

_TOKENS_HEADER = "x-compute-tokens"
_ROWS_MAX = 256


class Tei:
    """Speaks to TEI. See `stock.Dialect`."""

    path = "/embed"
    body_bytes_max = 2_000_000

    def __init__(self, vocabulary: Vocabulary, *, pooled: bool) -> None:
        self.vocabulary_sha256 = vocabulary.sha256
        self._vocabulary = vocabulary
        self._pooled = pooled
        # stated in full: the defaults depend on how it was started
        normalize = b"false" if pooled else b"true"
        self._rest = b'],"truncate":false,"normalize":' + normalize + b"}"

    async def about(self, client: WorkerClient) -> About:
        """Ask GET /info."""
        info = decode_about(await client.get("/info", bytes_max=ABOUT_BYTES_MAX), _Info)
        try:
            model = msgspec.convert(info.model_type.get("embedding"), _Embedding)
        except msgspec.ValidationError:
            kind = ", ".join(info.model_type)
            raise Malformed(f"serves a {kind}, not an embedding model") from None
        if self._pooled and model.pooling != "mean":
            raise Malformed(f"pools by {model.pooling!r}, but the heads need the mean")
        if min(info.max_client_batch_size, info.max_input_length) < 1:
            raise Malformed("reports that it takes no rows")
        rows_max = min(info.max_client_batch_size, _ROWS_MAX)
        length = info.max_input_length
        return About(info.model_id, info.model_sha, info.model_dtype, length, rows_max)

    def items(self, rows: Sequence[TokenRow]) -> list[bytes]:
        """Write texts."""
        return [msgspec.json.encode(text) for text in self._vocabulary.texts(rows)]

    def body(self, items: Sequence[bytes], about: About) -> bytes:  # noqa: ARG002 - it has one model
        """Write a call of /embed."""
        return b'{"inputs":[' + b",".join(items) + self._rest

    def vectors(self, answer: Answer, rows: Sequence[TokenRow], about: About) -> Matrix:  # noqa: ARG002
        """Read `[[float, ...], ...]`, if TEI computed as many tokens as were sent."""
        tokens = str(sum(row.tokens for row in rows))
        computed = answer.headers.get(_TOKENS_HEADER)
        if computed != tokens:
            raise Malformed(f"computed {computed} tokens where {tokens} were sent")
        return from_nested(answer.content, len(rows))


class _Info(msgspec.Struct):
    model_id: str
    model_dtype: str
    model_type: dict[str, Any]
    max_input_length: int
    max_client_batch_size: int
    model_sha: str | None = None


class _Embedding(msgspec.Struct):
    pooling: str
