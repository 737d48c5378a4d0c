"""Ids back to text, where that is exact: for engines that take text and tokenise it themselves.

A row is its ids; text is only a way to say them to an engine that won't read ids. So a text is
sent only when tokenising it gives the very ids of the row. That holds for what tokenisers make of
whole texts. It fails where a word was cut in two by truncation, and for ids that no text gives;
those rows raise `NotText`, and belong to a worker that reads ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import BertWordPieceTokenizer

from backends.protocol import TokenRow

_VOCABULARIES_MAX = 4  # kept in memory; one is about 30 MB with its tokeniser
_CONTINUES = "##"


class Vocabulary:
    """An uncased WordPiece vocabulary (vocab.txt, as BERT's). Raises OSError, ValueError."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._pieces = content.decode().removesuffix("\n").split("\n")  # an id is a line's number
        missing = {"[CLS]", "[SEP]", "[UNK]"} - set(self._pieces)
        if missing:
            raise ValueError(f"{path} has no {', '.join(sorted(missing))}: no WordPiece vocabulary")
        # the reference, which is what the engines run; its wrapper hides the batch
        bert = BertWordPieceTokenizer(str(path), lowercase=True)
        self._tokenizer = bert._tokenizer  # noqa: SLF001

    def texts(self, rows: Sequence[TokenRow]) -> list[str]:
        """Return a text for each row whose ids, [CLS] and [SEP] around them, are the row's.

        Takes about a millisecond for 512 tokens and releases the GIL meanwhile. Raises NotText.
        """
        wanted = [np.frombuffer(row.ids, "<u4").tolist() for row in rows]
        texts = [self._join(ids, index) for index, ids in enumerate(wanted)]
        found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=True)
        for index, (ids, encoding) in enumerate(zip(wanted, found, strict=True)):
            if encoding.ids != ids:
                raise NotText(f"row {index} can't be said in text: its ids are not those of one")
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
    """Read a vocabulary once for all the workers that use it. Raises OSError, ValueError."""
    return Vocabulary(path)


class NotText(ValueError):
    """A row's ids are not those of any text that we can name."""
