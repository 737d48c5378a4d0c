"""Tokenizers that count exactly as the model's worker does, and the threads they run on.

The fast tokenizer is young, so at every start it must pass stored cases; if it fails, the reference
implementation takes its place, slower and just as exact.

It releases the GIL, so a long text on a thread does not delay other requests. Threads are few, and
each organization uses one at a time: however much one sends, the others' texts wait only for what
is being counted at that moment. Short texts are counted at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakValueDictionary

import nanotoken
import structlog

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
        # what wraps it keeps the vocabulary a second time, as JSON
        self._tokenizer = nanotoken.Tokenizer.from_vocab(_vocabulary()).backend
        self.vocabulary_size = self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> bytes:
        """See `TokenCounter.encode`."""
        return self._tokenizer.encode(text, add_special_tokens=False).tobytes()


class ReferenceCounter:
    """WordPiece by Hugging Face tokenizers: the fallback, and the reference in tests."""

    vocabulary_sha256 = BERT_UNCASED_SHA256

    def __init__(self) -> None:
        from tokenizers import BertWordPieceTokenizer  # noqa: PLC0415 - the fallback is rare

        bert = BertWordPieceTokenizer(str(_vocabulary()), lowercase=True)
        self._tokenizer = bert._tokenizer  # noqa: SLF001 - the wrapper hides the batch
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


def counters() -> Mapping[str, TokenCounter]:
    """Return what counts tokens here, by the digest of the vocabulary. Raises BrokenTokenizer."""
    counter = load()
    return {counter.vocabulary_sha256: counter}


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


AT_ONCE_MAX = 20_000
"""Most characters, or ids, that are counted on the event loop: 5 ms of the slowest text."""
AT_ONCE_BYTES_MAX = 131_072
"""Largest body that is read on the event loop: a few milliseconds, whatever is in it."""

_T = TypeVar("_T")


class CountingThreads:
    """The threads. `close` them at shutdown."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "counting")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, organization: str, call: Callable[..., _T], *args: Any) -> _T:
        """Run a call on a thread, when it is the organization's turn."""
        turn = self._turns.get(organization)
        if turn is None:
            turn = self._turns[organization] = asyncio.Lock()
        await turn.acquire()
        try:
            job = self._threads.submit(call, *args)
        except BaseException:
            turn.release()
            raise
        loop = asyncio.get_running_loop()
        # when the thread is free, which is later than when a canceled caller stops waiting
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(turn.release))
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        """Stop the threads; calls that haven't started are dropped."""
        self._threads.shutdown(cancel_futures=True)
