"""A quote: the rows of a model, and their price, as every page and endpoint gets them."""

import pytest

from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.quote import quote
from gateway.data_plane.metering.rows import ContextLengthExceeded, InvalidTokenId, TooManyTokens
from gateway.snapshots import ModelSnapshot, PriceSnapshot

PRICE, FLEX = PriceSnapshot("p", 8_000_000), PriceSnapshot("f", 1_500_000)
MODEL = ModelSnapshot(
    id="m",
    state="live",
    price=PRICE,
    flex_price=FLEX,
    dimensions=(8, 16),
    dimensions_default=16,
    tokens_max=10,
    vocabulary_sha256=tokens.BERT_UNCASED_SHA256,
    prompts={"query": "hello world"},
)


def test_texts_are_counted_and_priced():
    quoted = quote(tokens.load(), MODEL, ["hello", "hello world"])
    assert [row.tokens for row in quoted.rows.rows] == [3, 4]
    assert {row.dimensions for row in quoted.rows.rows} == {16}
    assert (quoted.price, quoted.cost_nanos) == (PRICE, 7 * 8)


def test_a_prompt_is_part_of_every_row_and_a_tier_has_its_price():
    quoted = quote(tokens.load(), MODEL, ["hello"] * 3, prompt="query", dimensions=8, tier="flex")
    assert [row.tokens for row in quoted.rows.rows] == [5] * 3
    assert {row.dimensions for row in quoted.rows.rows} == {8}
    assert (quoted.price, quoted.cost_nanos) == (FLEX, 23)  # 22.5, rounded up once


def test_what_a_prompt_leaves_no_room_for_is_told_as_cut():
    """Eight tokens of text and two of the prompt, with [CLS] and [SEP], where ten fit."""
    quoted = quote(tokens.load(), MODEL, ["hello " * 8], prompt="query", truncate="end")
    assert quoted.rows.tokens_full == [12]
    assert [row.tokens for row in quoted.rows.rows] == [10]
    assert list(quoted.rows.truncated()) == [0]
    with pytest.raises(ContextLengthExceeded, match="has 12 tokens"):
        quote(tokens.load(), MODEL, ["hello " * 8], prompt="query")


def test_a_request_may_have_exactly_the_most_tokens():
    assert quote(tokens.load(), MODEL, ["hello"] * 3, tokens_max=9).rows.tokens == 9
    with pytest.raises(TooManyTokens):
        quote(tokens.load(), MODEL, ["hello"] * 3, tokens_max=8)


def test_ids_cost_what_their_text_does_and_only_what_is_kept_of_it():
    counter = tokens.load()
    text, ids = (
        quote(counter, MODEL, given, truncate="end") for given in (["hello " * 20], [[7592] * 20])
    )
    assert text == ids
    assert (text.rows.tokens_full, text.cost_nanos) == ([22], 10 * 8)


def test_every_id_of_the_vocabulary_is_one_and_no_other():
    counter = tokens.load()
    last = counter.vocabulary_size - 1
    assert quote(counter, MODEL, [[0, last]]).rows.tokens == 4
    for ids in ([-1], [last + 1], [0, last, last + 1]):
        with pytest.raises(InvalidTokenId, match=f"0 to {last}"):
            quote(counter, MODEL, [ids])
