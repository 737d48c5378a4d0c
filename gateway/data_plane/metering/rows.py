"""From the inputs of a request to the rows that a worker computes, counted and cut as asked.

A row is [CLS] prompt text [SEP]. What is billed is what is in the rows: specials and prompt
included, after truncation.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import msgspec

from backends.protocol import TokenRow
from gateway.data_plane.metering.tokens import TokenCounter
from gateway.errors import BadRequest
from gateway.snapshots import Truncate

_CLS, _SEP = (101).to_bytes(4, "little"), (102).to_bytes(4, "little")
_ID_BYTES = 4


class ContextLengthExceeded(BadRequest):
    """A text has more tokens than the model reads. The message says which, and how many."""

    code = "context_length_exceeded"
    remedy = "Split it, or send `truncate` with `end` or `start` to have it cut and be told so."


class InvalidUnicode(BadRequest):
    """A text contains half a character: a lone surrogate, usually an emoji cut in two."""

    code = "invalid_unicode"
    remedy = "Clean the text before you send it."


class InvalidTokenId(BadRequest):
    """A token id is outside the model's vocabulary."""

    code = "invalid_token_id"
    remedy = "Send text, or ids of this model's own tokenizer."


class TooManyTokens(BadRequest):
    """The inputs have more tokens in all than fit in one request."""


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
        self,
        counter: TokenCounter,
        *,
        dimensions: int,
        tokens_max: int,
        prompt: str = "",
        request_tokens_max: float = math.inf,
    ) -> None:
        """`tokens_max` is of one row, `request_tokens_max` of all of them."""
        self._request_tokens_max = request_tokens_max
        self._counter = counter
        self._dimensions = dimensions
        self._tokens_max = tokens_max
        self._prompt = counter.encode(prompt) if prompt else b""
        self._content_bytes_max = (tokens_max - 2) * _ID_BYTES - len(self._prompt)

    def from_texts(self, texts: Sequence[str], truncate: Truncate | None) -> Rows:
        """Tokenise the texts, as far as they fit.

        Raises ContextLengthExceeded, TooManyTokens, or InvalidUnicode for a lone surrogate.
        """
        rows, left = Rows([], []), self._request_tokens_max
        for index, text in enumerate(texts):
            try:
                content = self._counter.encode(text)
            except UnicodeEncodeError:
                raise InvalidUnicode(
                    f"input[{index}] has a lone surrogate (half of a \\u pair), which is no text; "
                    "send well-formed Unicode.",
                    param="input",
                ) from None
            left = self._add(rows, content, truncate, left)
        return rows

    def from_ids(self, inputs: Sequence[Sequence[int]], truncate: Truncate | None) -> Rows:
        """Take ids of the model's own vocabulary, with or without [CLS] and [SEP] around them.

        Raises ContextLengthExceeded, TooManyTokens, or InvalidTokenId for an id outside.
        """
        rows, left = Rows([], []), self._request_tokens_max
        for index, ids in enumerate(inputs):
            if min(ids) < 0 or max(ids) >= self._counter.vocabulary_size:
                raise InvalidTokenId(
                    f"input[{index}] has a token id outside the model's vocabulary "
                    f"(0 to {self._counter.vocabulary_size - 1}).",
                    param="input",
                )
            content = array("I", ids).tobytes()
            if content.startswith(_CLS) and content.endswith(_SEP) and len(ids) > 1:
                content = content[_ID_BYTES:-_ID_BYTES]
            left = self._add(rows, content, truncate, left)
        return rows

    def _add(self, rows: Rows, content: bytes, truncate: Truncate | None, left: float) -> float:
        """Add a row, and return how many tokens are left: what is refused is counted no further."""
        room = self._content_bytes_max
        full = (len(content) + len(self._prompt)) // _ID_BYTES + 2
        if len(content) > room:
            if truncate is None:
                raise self._too_long(len(rows.rows), full)
            content = content[:room] if truncate == "end" else content[-room:]
        row = TokenRow(_CLS + self._prompt + content + _SEP, self._dimensions)
        left -= row.tokens
        if left < 0:
            raise TooManyTokens(
                f"The inputs have more than {self._request_tokens_max} tokens in all, which is the "
                "most that fits in one request. Send fewer at once.",
                param="input",
            )
        rows.rows.append(row)
        rows.tokens_full.append(full)
        return left

    def _too_long(self, index: int, full: int) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"input[{index}] has {full} tokens; this model reads at most {self._tokens_max}. "
            'Split it, or send "truncate": "end" (or "start") to have it cut and billed as cut.',
            param="input",
        )
