"""A search for a language finds the models whose sources name it, and no other."""

import pytest

from gateway.control_plane.catalog import cards, content
from gateway.control_plane.catalog.languages import NAMED, searched_by
from gateway.control_plane.catalog.listings import Shelf, Shelves
from gateway.control_plane.catalog.search import matching
from gateway.snapshots import Catalog
from tests.control_plane.catalog.test_search import model


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    ids = [one.id for one in cards.reviewed()]
    return Shelves(lambda: Catalog({i: model(i) for i in ids}), content.reviewed())()


def names(shelf: Shelf, query: str) -> set[str]:
    return {listing.name for listing in matching(shelf, query)}


ARCTIC, M3 = "snowflake-arctic-embed-l-v2.0", "bge-m3"
E5, GRANITE = "multilingual-e5-small", "granite-embedding-311m-multilingual-r2"


def test_a_language_finds_what_names_it(shelf: Shelf):
    assert names(shelf, "danish") >= {ARCTIC, M3, E5}
    assert names(shelf, "norsk") >= {M3, E5}
    assert ARCTIC not in names(shelf, "norsk")  # of its 74 languages it is none
    assert names(shelf, "deutsch") == names(shelf, "german") > {ARCTIC, M3, E5}
    assert "all-MiniLM-L6-v2" not in names(shelf, "german")


def test_what_only_counts_its_languages_is_multilingual_and_none_of_them(shelf: Shelf):
    assert not content.reviewed()[f"ibm-granite/{GRANITE}"].languages_named
    assert GRANITE not in names(shelf, "german")
    assert names(shelf, "multilingual") >= {ARCTIC, M3, E5, GRANITE}
    assert searched_by(["200+ languages", "code"]) == ["200+ languages", "code", "multilingual"]


def test_names_are_those_that_are_searched_by():
    for page in content.reviewed().values():
        assert set(page.languages_named) <= NAMED, page.id
        assert not page.languages_named or "languages" in page.languages[0], page.id
