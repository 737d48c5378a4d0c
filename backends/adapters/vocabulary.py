"""Turns ids back into text where that is exact, for engines that tokenize text themselves.

A row is its ids; text is only a way to send them to an engine that does not accept ids. So a text
is sent only if tokenizing it gives exactly the ids of the row, which holds for whole tokenized
texts. It fails where truncation cut a word in two, and for ids that no text produces: those rows
raise `NotText` and need a worker that accepts ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import BertWordPieceTokenizer

from backends.protocol import TokenRow

_VOCABULARIES_MAX = 4  # kept in memory; one takes about 30 MB with its tokenizer
_CONTINUES = "##"


class Vocabulary:
    """An uncased WordPiece vocabulary (vocab.txt, as BERT's). Raises OSError, ValueError."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._pieces = content.decode().removesuffix("\n").split("\n")  # an id is a line's number
        missing = {"[CLS]", "[SEP]", "[UNK]"} - set(self._pieces)
        if missing:
            names = ", ".join(sorted(missing))
            raise ValueError(f"{path} has no {names}: not a WordPiece vocabulary")
        # the reference that the engines run; its public wrapper hides the batch method
        bert = BertWordPieceTokenizer(str(path), lowercase=True)
        self._tokenizer = bert._tokenizer  # noqa: SLF001

    def texts(self, rows: Sequence[TokenRow]) -> list[str]:
        """Return a text for each row that tokenizes to the row's ids, [CLS] and [SEP] included.

        Takes about a millisecond for 512 tokens and releases the GIL. Raises NotText.
        """
        wanted = [np.frombuffer(row.ids, "<u4").tolist() for row in rows]
        texts = [self._join(ids, index) for index, ids in enumerate(wanted)]
        found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=True)
        for index, (ids, encoding) in enumerate(zip(wanted, found, strict=True)):
            if encoding.ids != ids:
                raise NotText(f"row {index} can't be sent as text: no text has these ids")
        return texts

    def _join(self, ids: list[int], index: int) -> str:
        if ids and max(ids) >= len(self._pieces):
            raise NotText(f"row {index} has id {max(ids)}, which is outside the vocabulary")
        inner = [self._pieces[number] for number in ids[1:-1]]
        if not inner:
            raise NotText(f"row {index} has no text between [CLS] and [SEP]")
        return " ".join(inner).replace(f" {_CONTINUES}", "")


@lru_cache(maxsize=_VOCABULARIES_MAX)
def load_vocabulary(path: Path) -> Vocabulary:
    """Read a vocabulary once for all workers that use it. Raises OSError, ValueError."""
    return Vocabulary(path)


class NotText(ValueError):
    """A row's ids are not the ids of a text."""
