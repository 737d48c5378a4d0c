"""A vocab.txt with BERT's ids: special tokens, hello, world, whole words, some pieces."""

import string
from pathlib import Path

SIZE = 8000
SPECIALS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
WORDS = {2088: "world", 7592: "hello"}
PIECES = {3000 + i: f"##{letter}" for i, letter in enumerate(string.ascii_lowercase)}
LETTERS = {3100 + i: letter for i, letter in enumerate(string.ascii_lowercase)}


def write_vocabulary(path: Path) -> Path:
    entries = SPECIALS | WORDS | PIECES | LETTERS
    path.write_text("".join(f"{entries.get(i) or _word(i)}\n" for i in range(SIZE)))
    return path


def _word(number: int) -> str:
    letters = ""
    for _ in range(4):
        number, digit = divmod(number, 26)
        letters = string.ascii_lowercase[digit] + letters
    return "q" + letters
