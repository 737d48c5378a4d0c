"""The fuzzer of the tokenizer: a short run of it, and that it would find something."""

import subprocess
import sys

import pytest

from gateway.data_plane.metering.tokens import NanotokenCounter
from testing import fuzz_tokens


def test_both_tokenizers_read_random_texts_alike():
    """In a process of its own, since a memory error ends it."""
    done = subprocess.run(
        [sys.executable, "-m", "testing.fuzz_tokens", "--texts", "1500"],
        check=False, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert "1500 texts" in done.stdout


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path):
    class Liar(NanotokenCounter):
        def encode(self, text: str) -> bytes:
            return super().encode(text.replace("\u4e2d", ""))

    found = tmp_path / "found.txt"
    monkeypatch.setattr(fuzz_tokens, "NanotokenCounter", Liar)
    monkeypatch.setattr(fuzz_tokens, "_FOUND", found)
    monkeypatch.setattr(sys, "argv", ["fuzz", "--texts", "1500", "--seed", "1"])
    with pytest.raises(SystemExit, match="read differently"):
        fuzz_tokens.main()
    assert "\u4e2d" in found.read_text()
