"""Tokenizers that count exactly as the model's worker does.

The fast one is young, so at every start it must pass stored cases; if it fails, the reference
implementation takes its place, slower and just as exact.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

import nanotoken
import structlog
from tokenizers import BertWordPieceTokenizer, Tokenizer

log = structlog.get_logger()

BERT_UNCASED_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"

_VOCABULARY = Path(__file__).parent / "vocabulary" / "bert-base-uncased.txt"
_CASES = Path(__file__).parent / "vocabulary" / "self-check.jsonl"
_CACHE_ENTRIES = 65_536  # bounds the tokenizer's cache of words to about 105 MB


class TokenCounter(Protocol):
    """Encodes texts in one vocabulary."""

    vocabulary_sha256: str
    vocabulary_size: int

    def encode(self, text: str) -> bytes:
        """Return the ids as little-endian uint32, without [CLS] and [SEP].

        Raises UnicodeEncodeError for text with a lone surrogate.
        """
        ...


class BrokenTokenizer(Exception):
    """A tokenizer or its vocabulary gives wrong ids."""


class Case(NamedTuple):
    """A stored text, and the SHA-256 of its ids without [CLS] and [SEP]."""

    text: str
    sha256: str


class NanotokenCounter:
    """WordPiece by nanotoken: about a microsecond for a short text."""

    vocabulary_sha256 = BERT_UNCASED_SHA256

    def __init__(self) -> None:
        nanotoken.set_cache_entries(_CACHE_ENTRIES)
        self._tokenizer = nanotoken.Tokenizer.from_vocab(_vocabulary())
        self.vocabulary_size = self._tokenizer.vocab_size

    def encode(self, text: str) -> bytes:
        """See `TokenCounter.encode`."""
        return self._tokenizer.encode(text, add_special_tokens=False).tobytes()


class ReferenceCounter:
    """WordPiece by Hugging Face tokenizers: the fallback, and the reference in tests."""

    vocabulary_sha256 = BERT_UNCASED_SHA256

    def __init__(self) -> None:
        bert = BertWordPieceTokenizer(str(_vocabulary()), lowercase=True)
        self._tokenizer: Tokenizer = bert._tokenizer  # noqa: SLF001 - the wrapper hides the batch
        self.vocabulary_size = self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> bytes:
        """See `TokenCounter.encode`."""
        text.encode()  # raises UnicodeEncodeError, where the tokenizer would raise a TypeError
        # the one method that releases the GIL
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return b"".join(token.to_bytes(4, "little") for token in encoding.ids)


@cache
def load(
    candidates: tuple[type[TokenCounter], ...] = (NanotokenCounter, ReferenceCounter),
) -> TokenCounter:
    """Return the first counter that passes the self-check. Raises BrokenTokenizer.

    A counter holds megabytes and never changes, so a process makes each one once.
    """
    for candidate in candidates:
        counter = candidate()
        failed = [case for case in stored_cases() if _digest(counter, case.text) != case.sha256]
        if not failed:
            return counter
        log.error("tokenizer failed its self-check", name=candidate.__name__, cases=len(failed))
    raise BrokenTokenizer("no tokenizer gives the ids of the stored cases; install again")


def stored_cases() -> list[Case]:
    """Read the cases that a counter must pass before it may count for money."""
    with _CASES.open() as lines:
        return [Case(**json.loads(line)) for line in lines]


def _digest(counter: TokenCounter, text: str) -> str:
    return hashlib.sha256(counter.encode(text)).hexdigest()


def _vocabulary() -> Path:
    found = hashlib.sha256(_VOCABULARY.read_bytes()).hexdigest()
    if found != BERT_UNCASED_SHA256:
        raise BrokenTokenizer(f"{_VOCABULARY.name} has sha256 {found}, not {BERT_UNCASED_SHA256}")
    return _VOCABULARY
