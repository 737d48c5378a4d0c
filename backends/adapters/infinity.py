"""Infinity: OpenAI-like, but of text only, and without a word about revision or lengths.

Ids are 422 there, so it is sent text for rows where that is exact (`vocabulary`). Its usage counts
characters and is not looked at; so nothing in an answer tells of a truncation, and `tokens_max=`
must be the length it was started with. A CUDA fault leaves it hanging with /health at 200: what
finds that is the forward pass in `info`, and each call's deadline.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from backends.adapters.client import Answer, WorkerClient
from backends.adapters.openai_compatible import listed, write_call
from backends.adapters.stock import About
from backends.adapters.vectors import Matrix, from_listing
from backends.adapters.vocabulary import Vocabulary
from backends.protocol import TokenRow


class Infinity:
    """How Infinity is spoken to; its --url-prefix belongs in the address. See `stock.Dialect`."""

    path = "/embeddings"
    body_bytes_max = 32 << 20

    def __init__(self, model: str | None, vocabulary: Vocabulary) -> None:
        self.vocabulary_sha256 = vocabulary.sha256
        self._model = model
        self._vocabulary = vocabulary

    async def about(self, client: WorkerClient) -> About:
        """Ask GET /models."""
        return await listed(client, "/models", self._model)

    def items(self, rows: Sequence[TokenRow]) -> list[bytes]:
        """Write texts."""
        return [msgspec.json.encode(text) for text in self._vocabulary.texts(rows)]

    def body(self, items: Sequence[bytes], about: About) -> bytes:
        """Write a call of /embeddings."""
        return write_call(items, about)

    def vectors(self, answer: Answer, rows: Sequence[TokenRow], about: About) -> Matrix:
        """Read the listing."""
        return from_listing(answer.content, len(rows), model=about.model)
