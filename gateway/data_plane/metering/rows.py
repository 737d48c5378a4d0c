"""From the inputs of a request to the rows that a worker computes, counted and truncated.

A row is [CLS] prompt text [SEP]. Everything in the rows is billed: special tokens and prompt
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

Inputs = Sequence[str | list[int]]
"""Texts, or token ids of the model's own vocabulary; never a mixture."""

_CLS, _SEP = (101).to_bytes(4, "little"), (102).to_bytes(4, "little")
_ID_BYTES = 4


class Rows(msgspec.Struct, frozen=True):
    """The rows of a request, and how long each input was before it was truncated."""

    rows: list[TokenRow]
    tokens_full: list[int]
    tokens: int
    """How many tokens are computed, and billed."""

    def truncated(self) -> list[int]:
        """Return the indexes of the inputs that were truncated."""
        if self.tokens == sum(self.tokens_full):
            return []
        return [
            index
            for index, (row, full) in enumerate(zip(self.rows, self.tokens_full, strict=True))
            if row.tokens < full
        ]


class ContextLengthExceeded(BadRequest):
    """An input has more tokens than the model takes. The message says which, and how many."""

    code = "context_length_exceeded"
    remedy = (
        "Split it, or send `truncate` with `end` or `start` to have it cut; the response says so."
    )


class InvalidUnicode(BadRequest):
    """An input contains half a character: a lone surrogate, usually an emoji cut in two."""

    code = "invalid_unicode"
    remedy = "Clean the text before you send it."


class InvalidTokenId(BadRequest):
    """A token id is outside the model's vocabulary."""

    code = "invalid_token_id"
    remedy = "Send text, or ids of this model's own tokenizer."


class TooManyTokens(BadRequest):
    """The inputs have more tokens in all than fit in one request."""


def make_rows(
    counter: TokenCounter,
    inputs: Inputs,
    *,
    dimensions: int,
    row_tokens_max: int,
    prompt: str = "",
    truncate: Truncate | None = None,
    tokens_max: float = math.inf,
) -> Rows:
    """Make a row of each input; stops at the first input that is refused.

    Ids may come with or without [CLS] and [SEP] around them. Raises ContextLengthExceeded,
    TooManyTokens, InvalidUnicode for a lone surrogate, or InvalidTokenId.
    """
    rows: list[TokenRow] = []
    tokens_full, tokens = [], 0
    prefix = counter.encode(prompt) if prompt else b""
    room = (row_tokens_max - 2) * _ID_BYTES - len(prefix)
    for index, given in enumerate(inputs):
        if isinstance(given, str):
            content = _encoded(counter, index, given)
        else:
            content = _checked(counter, index, given)
        full = (len(content) + len(prefix)) // _ID_BYTES + 2
        if len(content) > room:
            if truncate is None:
                raise ContextLengthExceeded(
                    f"input[{index}] has {full} tokens; this model reads at most {row_tokens_max}. "
                    'Split it, or send "truncate": "end" (or "start") to have it cut and billed as '
                    "cut.",
                    param="input",
                )
            content = content[:room] if truncate == "end" else content[-room:]
        ids = _CLS + prefix + content + _SEP
        tokens += len(ids) // _ID_BYTES
        if tokens > tokens_max:
            raise TooManyTokens(
                f"The inputs have more than {tokens_max} tokens in all, the most that one "
                "request may have. Send fewer at once.",
                param="input",
            )
        rows.append(TokenRow(ids, dimensions))
        tokens_full.append(full)
    return Rows(rows, tokens_full, tokens)


def _encoded(counter: TokenCounter, index: int, text: str) -> bytes:
    try:
        return counter.encode(text)
    except UnicodeEncodeError:
        raise InvalidUnicode(
            f"input[{index}] has a lone surrogate (half of a \\u pair), which is not text; send "
            "well-formed Unicode.",
            param="input",
        ) from None


def _checked(counter: TokenCounter, index: int, ids: list[int]) -> bytes:
    if min(ids) < 0 or max(ids) >= counter.vocabulary_size:
        raise InvalidTokenId(
            f"input[{index}] has a token id outside the model's vocabulary "
            f"(0 to {counter.vocabulary_size - 1}).",
            param="input",
        )
    content = array("I", ids).tobytes()
    if content.startswith(_CLS) and content.endswith(_SEP) and len(ids) > 1:
        content = content[_ID_BYTES:-_ID_BYTES]
    return content
