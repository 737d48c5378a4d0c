"""Infinity: like OpenAI's API, but for text only, and silent about revision and lengths.

It answers 422 to ids, so it is sent text, for rows where that is exact (`vocabulary`). Its usage
counts characters and is ignored, so nothing in an answer reveals a truncation: `tokens_max=` must
be the length that it was started with. A CUDA fault leaves it hanging while /health says 200. The
forward pass in `info` and the deadline of each call detect that.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from backends.adapters.client import Answer
from backends.adapters.openai_compatible import OpenAICompatible
from backends.adapters.stock import About
from backends.adapters.vectors import Matrix, from_listing
from backends.adapters.vocabulary import Vocabulary
from backends.protocol import TokenRow


class Infinity(OpenAICompatible):
    """Speaks to Infinity; its --url-prefix belongs in the address."""

    path = "/embeddings"
    models_path = "/models"

    def __init__(self, model: str | None, vocabulary: Vocabulary) -> None:
        super().__init__(model, vocabulary.sha256)
        self._vocabulary = vocabulary

    def items(self, rows: Sequence[TokenRow]) -> list[bytes]:
        """Write texts."""
        return [msgspec.json.encode(text) for text in self._vocabulary.texts(rows)]

    def vectors(self, answer: Answer, rows: Sequence[TokenRow], about: About) -> Matrix:
        """Read the vectors."""
        return from_listing(answer.content, len(rows), model=about.model)
