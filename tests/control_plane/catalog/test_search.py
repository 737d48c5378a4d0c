"""What finds a model: words, facts, and words with a typo."""

import pytest

from gateway.control_plane.catalog.listings import Shelf, Shelves
from gateway.control_plane.catalog.search import Search, is_typo, matching
from gateway.snapshots import Catalog, ModelSnapshot, PriceSnapshot


def model(model_id: str, **facts) -> ModelSnapshot:
    said = {
        "state": "coming_soon", "price": PriceSnapshot("p", 8_000_000), "flex_price": None,
        "dimensions": (1024,), "dimensions_default": 1024, "derived_dimensions": {},
        "tokens_max": 8192, "vocabulary_sha256": "x", "prompts": {}, "query_prompt": None,
        "golden": {}, "created": 0, "owned_by": model_id.partition("/")[0], "license": "MIT",
        "words": "", **facts,
    }  # fmt: skip
    return ModelSnapshot(id=model_id, **said)


@pytest.fixture
def shelf() -> Shelf:
    models = [
        model("BAAI/bge-m3"),
        model("BAAI/bge-small-en-v1.5", dimensions=(384,), dimensions_default=384, tokens_max=512),
        model("sentence-transformers/all-MiniLM-L6-v2", dimensions=(384,), dimensions_default=384,
              tokens_max=256, license="Apache-2.0", state="live"),
        model("NovaSearch/stella_en_400M_v5", tokens_max=512,
              price=PriceSnapshot("p", 20_000_000)),
    ]  # fmt: skip
    return Shelves(lambda: Catalog({m.id: m for m in models}), {})()


def names(shelf: Shelf, query: str) -> set[str]:
    return {listing.name for listing in matching(shelf, query)}


M3, SMALL, MINILM, STELLA = "bge-m3", "bge-small-en-v1.5", "all-MiniLM-L6-v2", "stella_en_400M_v5"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {M3, SMALL, MINILM, STELLA}),
        ("beg-m3", {M3}),  # swapped
        ("stela_en_400M", {STELLA}),  # lost, in a part of the name
        ("bgem3", {M3}),  # without its dash
        ("stela", {STELLA}),  # a letter lost
        ("stellla", {STELLA}),  # one added
        ("miniln", {MINILM}),  # one changed
        ("1024", {M3, STELLA}),
        ("8,192", {M3}),
        ("baai", {M3, SMALL}),
        ("apache-2.0", {MINILM}),
        ("baai 384", {SMALL}),
        ("BAAI stela", set()),
        ("beg", set()),  # too short for a typo
        ("zzz", set()),
        ("1025", set()),  # a fact has no typo
    ],
)
def test_words_and_facts(shelf: Shelf, query: str, found: set[str]):
    assert names(shelf, query) == found


def test_a_word_that_is_right_is_not_taken_for_a_typo(shelf: Shelf):
    assert names(shelf, "small") == {SMALL}
    assert [li.name for li in matching(shelf, "bge")] == [M3, SMALL]


def test_what_is_named_so_comes_before_what_is_described_so(shelf: Shelf):
    found = [li.name for li in matching(shelf, "s")]  # each has one: in its name, or elsewhere
    assert set(found[:2]) == {SMALL, STELLA}
    assert len(found) > 2


def test_filters(shelf: Shelf):
    def found(**filters) -> set[str]:
        return {listing.name for listing in Search(**filters).find(shelf)}

    assert found(author="BAAI") == {M3, SMALL}
    assert found(dimensions=384, state="live") == {MINILM}
    assert found(dimensions=0) == set()
    assert found(tokens=512, price_nanos=8_000_000) == {M3, SMALL}
    assert found(license="MIT", q="en") >= {SMALL, STELLA}


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("bge", "bge", True), ("bge", "beg", True), ("bge", "bgee", True), ("bge", "ge", True),
        ("bge", "bae", True), ("bge", "gbe", True), ("bge", "ebg", False), ("bge", "bgexx", False),
        ("abcd", "badc", False), ("", "a", True), ("ab", "cd", False),
    ],
)  # fmt: skip
def test_one_typo(one: str, other: str, near: bool):
    assert is_typo(one, other) is near
    assert is_typo(other, one) is near
