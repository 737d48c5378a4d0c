"""Tokens are counted exactly: 2,130 nasty texts, both tokenizers, and a tokenizer that lies."""

import hashlib
import json
from pathlib import Path

import pytest

from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.rows import ContextLengthExceeded, Rows, make_rows
from gateway.data_plane.metering.tokens import BrokenTokenizer, NanotokenCounter, ReferenceCounter

GOLDEN = Path(__file__).parent / "data" / "tokens.jsonl"
S2P = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query.\nQuery: "
)
S2S = "Instruct: Retrieve semantically similar text.\nQuery: "


@pytest.fixture(params=[NanotokenCounter, ReferenceCounter], scope="module")
def counter(request: pytest.FixtureRequest):
    return request.param()


def rows(counter, *texts: str, tokens_max: int = 512, **options) -> Rows:
    return make_rows(counter, texts, dimensions=8, row_tokens_max=tokens_max, **options)


def test_every_golden_text_counts_exactly(counter):
    """`n` and the ids' checksum, `n512` after truncation, `n_s2p` with the prompt in front."""
    cases = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    assert len(cases) == 2130
    for case in cases:
        (row,) = rows(counter, case["t"], tokens_max=10**9).rows
        assert row.tokens == case["n"], case["c"]
        assert hashlib.sha256(row.ids).hexdigest()[:16] == case["ids_sha"], case["c"]
        cut = rows(counter, case["t"], truncate="end")
        assert cut.rows[0].tokens == case["n512"], case["c"]
        assert cut.tokens_full == [case["n"]]
        prompted = rows(counter, case["t"], tokens_max=10**9, prompt=S2P)
        assert prompted.tokens == case["n_s2p"], case["c"]


@pytest.mark.parametrize(("prompt", "more"), [(S2P, 19), (S2S, 11)])
def test_what_the_prompts_add(counter, prompt: str, more: int):
    assert rows(counter, "hi").tokens == 3
    assert rows(counter, "hi", prompt=prompt).tokens == 3 + more


def test_a_prompt_is_never_cut(counter):
    prompt = counter.encode(S2P)
    for end in ("end", "start"):
        cut = rows(counter, "cat " * 50 + "dog", tokens_max=30, prompt=S2P, truncate=end)
        (row,) = cut.rows
        assert row.tokens == 30
        assert row.ids[4:].startswith(prompt)
    dog = counter.encode("dog")
    assert row.ids[-8:-4] == dog


def test_the_limit_is_the_models_to_the_token(counter):
    assert rows(counter, "a " * 510).tokens == 512
    with pytest.raises(ContextLengthExceeded, match=r"input\[1\] has 513 tokens"):
        rows(counter, "a", "a " * 511)


def test_a_lone_surrogate_is_no_text(counter):
    with pytest.raises(UnicodeEncodeError):
        counter.encode("a \ud800 b")


def test_the_reference_takes_the_place_of_a_tokenizer_that_lies():
    class Liar(NanotokenCounter):
        def encode(self, text: str) -> bytes:
            return super().encode(text.replace("[SEP]", ""))

    assert type(tokens.load((Liar, ReferenceCounter))) is ReferenceCounter
    with pytest.raises(BrokenTokenizer):
        tokens.load((Liar,))


def test_the_fast_one_is_chosen_where_it_is_right():
    assert type(tokens.load()) is NanotokenCounter


def test_another_vocabulary_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    changed = tmp_path / "bert-base-uncased.txt"
    changed.write_text("[PAD]\nhello\n")
    monkeypatch.setattr(tokens, "_VOCABULARY", changed)
    with pytest.raises(BrokenTokenizer, match="sha256"):
        NanotokenCounter()
