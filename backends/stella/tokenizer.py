"""Turns text into token ids for callers of the worker's /v1/embeddings; the gateway sends ids.

bert-base-uncased WordPiece, built from vocab.txt: the published tokenizer.json has padding and
truncation switched on and returns 512 ids for "hi".
"""

from __future__ import annotations

from pathlib import Path

import nanotoken
import numpy as np
import numpy.typing as npt

_CACHE_ENTRIES = 65_536
"""Words that the tokenizer caches: at most about 105 MB."""
_SEPARATOR_ID = 102


class Tokenizer:
    """Tokenizes as the reference does, special tokens included."""

    def __init__(self, vocabulary: Path) -> None:
        nanotoken.set_cache_entries(_CACHE_ENTRIES)
        self._tokenizer = nanotoken.Tokenizer.from_vocab(str(vocabulary))
        self.vocabulary_size: int = self._tokenizer.vocab_size

    def encode(self, text: str) -> npt.NDArray[np.uint32]:
        """Return all ids, [CLS] and [SEP] included. The JSON decoder refuses lone surrogates."""
        return np.asarray(self._tokenizer.encode(text), dtype="<u4")


def truncate(ids: npt.NDArray[np.uint32], tokens_max: int) -> npt.NDArray[np.uint32]:
    """Cut off the end, keeping [SEP]."""
    if len(ids) <= tokens_max:
        return ids
    return np.append(ids[: tokens_max - 1], np.uint32(_SEPARATOR_ID)).astype("<u4")
