"""Holds the fast tokenizer against the reference on random texts: the same ids, and no crash.

    python -m testing.fuzz_tokens [--texts 1000000 | --seconds 3600] [--seed N]

nanotoken parses strangers' texts in the process that holds the money, and is native code of one
author. Run this as a process: a memory error ends it with a signal. A text that the two read
differently is written to build/, and its seed repeats it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.data_plane.metering.tokens import NanotokenCounter, ReferenceCounter

_FOUND = Path("build/fuzz-tokens.txt")
_SURROGATES = range(0xD800, 0xE000)
_CODE_POINTS = 0x110000
_LENGTHS = (0, 1, 2, 3, 7, 8, 15, 16, 31, 63, 64, 99, 100, 101, 127, 255, 256, 1_023, 4_096, 20_000)
_PIECES = (
    "the", "ing", "un", "##ing", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "'s", "don't",
    "e\u0301", "\u0130", "\u1e9e", "\ufb01", "\u00df", "\u03a3", "\u200d", "\ufe0f", "\u00ad",
    "\ufeff", "\0", "\t", "\r\n", "\u2028", "\u3000", "\u4e2d", "\uac00", "\u1100\u1161",
    "\U0001f468", "\U0001f1e9\U0001f1ea", "\ufffd", "\U0010ffff", "\u0300" * 9, "a" * 99,
    "a" * 100, "a" * 101,
)  # fmt: skip
"""What tokenizers trip over: special tokens, folding, marks, spaces, long words."""


def main() -> None:
    """Compare until the end, or until the first difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=sys.maxsize)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    asked = parser.parse_args()
    if asked.texts == sys.maxsize and asked.seconds == float("inf"):
        parser.error("say how long: --texts or --seconds")
    print(f"seed {asked.seed}", flush=True)
    fast, reference = NanotokenCounter(), ReferenceCounter()
    ends = time.monotonic() + asked.seconds
    read = characters = 0
    for text in _texts(random.Random(asked.seed)):
        if read >= asked.texts or time.monotonic() > ends:
            break
        if fast.encode(text) != reference.encode(text):
            _FOUND.parent.mkdir(exist_ok=True)
            _FOUND.write_text(text)
            sys.exit(f"text {read} is read differently; it is in {_FOUND}")
        read += 1
        characters += len(text)
    print(f"{read} texts of {characters} characters: the same ids")


def _texts(chance: random.Random) -> Iterator[str]:
    """Make texts of all kinds, without end."""
    kinds: tuple[Callable[[], str], ...] = (
        lambda: chr(chance.randrange(32, 127)),
        lambda: _code_point(chance, 0x3000),
        lambda: _code_point(chance, _CODE_POINTS),
        lambda: chance.choice(_PIECES),
        lambda: chance.choice(" \t\n.,-_/'\"#"),
    )
    while True:
        weights = [chance.random() ** 3 for _ in kinds]
        count = min(chance.choice(_LENGTHS), chance.choice(_LENGTHS))
        yield "".join(kind() for kind in chance.choices(kinds, weights, k=count))


def _code_point(chance: random.Random, most: int) -> str:
    found = chance.randrange(most)
    return chr(found) if found not in _SURROGATES else " "


if __name__ == "__main__":
    main()
