"""From the inputs of a request to the rows that a worker computes, counted and cut as asked.

A row is [CLS] prompt text [SEP]. What is billed is what is in the rows: specials and prompt
included, after truncation.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Literal

import msgspec

from backends.protocol import TokenRow
from gateway.data_plane.metering.tokens import TokenCounter
from gateway.errors import BadRequest

Truncate = Literal["end", "start"]
"""Which end of a text that is too long is cut off."""

_CLS, _SEP = (101).to_bytes(4, "little"), (102).to_bytes(4, "little")
_ID_BYTES = 4


class ContextLengthExceeded(BadRequest):
    """An input has more tokens than the model reads, and nobody asked to cut it."""

    code = "context_length_exceeded"


class Rows(msgspec.Struct, frozen=True):
    """The rows of a request, and how long each text was before it was cut."""

    rows: list[TokenRow]
    tokens_full: list[int]

    @property
    def tokens(self) -> int:
        """How many tokens are computed, and billed."""
        return sum(row.tokens for row in self.rows)

    def truncated(self) -> list[int]:
        """Return the indexes of the inputs that were cut."""
        return [
            index
            for index, (row, full) in enumerate(zip(self.rows, self.tokens_full, strict=True))
            if row.tokens < full
        ]


class RowMaker:
    """Makes rows for one model and one prompt."""

    def __init__(
        self, counter: TokenCounter, *, dimensions: int, tokens_max: int, prompt: str = ""
    ) -> None:
        self._counter = counter
        self._dimensions = dimensions
        self._tokens_max = tokens_max
        self._prompt = counter.encode(prompt) if prompt else b""
        self._content_bytes_max = (tokens_max - 2) * _ID_BYTES - len(self._prompt)

    def from_texts(self, texts: Sequence[str], truncate: Truncate | None) -> Rows:
        """Tokenise the texts. Raises ContextLengthExceeded, or BadRequest for a lone surrogate."""
        contents = []
        for index, text in enumerate(texts):
            try:
                contents.append(self._counter.encode(text))
            except UnicodeEncodeError:
                raise BadRequest(
                    f"input[{index}] has a lone surrogate (half of a \\u pair), which is no text; "
                    "send well-formed Unicode.",
                    param="input",
                    code="invalid_unicode",
                ) from None
        return self._rows(contents, truncate)

    def from_ids(self, inputs: Sequence[Sequence[int]], truncate: Truncate | None) -> Rows:
        """Take ids of the model's own vocabulary, with or without [CLS] and [SEP] around them.

        Raises ContextLengthExceeded, or BadRequest for an id outside the vocabulary.
        """
        contents = []
        for index, ids in enumerate(inputs):
            if any(not 0 <= token < self._counter.vocabulary_size for token in ids):
                raise BadRequest(
                    f"input[{index}] has a token id outside the model's vocabulary "
                    f"(0 to {self._counter.vocabulary_size - 1}).",
                    param="input",
                    code="invalid_token_id",
                )
            content = array("I", ids).tobytes()
            if content.startswith(_CLS) and content.endswith(_SEP) and len(ids) > 1:
                content = content[_ID_BYTES:-_ID_BYTES]
            contents.append(content)
        return self._rows(contents, truncate)

    def _rows(self, contents: Sequence[bytes], truncate: Truncate | None) -> Rows:
        room = self._content_bytes_max
        rows, tokens_full = [], []
        for index, content in enumerate(contents):
            full = (len(content) + len(self._prompt)) // _ID_BYTES + 2
            kept = content
            if len(content) > room:
                if truncate is None:
                    raise self._too_long(index, full)
                kept = content[:room] if truncate == "end" else content[-room:]
            rows.append(TokenRow(_CLS + self._prompt + kept + _SEP, self._dimensions))
            tokens_full.append(full)
        return Rows(rows, tokens_full)

    def _too_long(self, index: int, full: int) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"input[{index}] has {full} tokens; this model reads at most {self._tokens_max}. "
            'Split it, or send "truncate": "end" (or "start") to have it cut and billed as cut.',
            param="input",
        )
