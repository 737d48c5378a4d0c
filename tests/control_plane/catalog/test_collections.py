"""What a model belongs to and is found by follows from its facts, to the last that counts."""

import msgspec
import pytest

from gateway.control_plane.catalog.collections import COLLECTIONS
from gateway.control_plane.catalog.content import plain
from gateway.control_plane.catalog.estimates import estimate_nanos
from gateway.control_plane.catalog.languages import searched_by
from gateway.control_plane.catalog.listings import Shelves
from gateway.snapshots import Catalog, ModelSnapshot, PriceSnapshot


@pytest.mark.parametrize(
    ("facts", "words", "names"),
    [
        ({}, {}, set()),
        ({"tokens_max": 8_192}, {}, {"long-input"}),
        ({"tokens_max": 8_191}, {}, set()),
        ({"dimensions": (8, 16)}, {}, {"matryoshka"}),
        ({}, {"parameters_total": 50_000_000}, {"small-and-fast"}),
        ({}, {"parameters_total": 50_000_001}, set()),
        ({}, {"languages": ("English",)}, set()),
        ({}, {"languages": ("English", "code")}, {"code"}),
        ({}, {"languages": ("code",)}, {"code"}),
        ({}, {"languages": ("Chinese",)}, {"multilingual"}),
        ({}, {"languages": ("English", "Chinese", "code")}, {"multilingual", "code"}),
    ],
)
def test_collections_hold_what_they_say(facts: dict, words: dict, names: set[str]):
    known = {"dimensions": (8,), "tokens_max": 512, **facts}
    model = ModelSnapshot(
        id="lab/a", state="live", price=PriceSnapshot("p", 8), dimensions_default=8, **known
    )
    page = msgspec.structs.replace(plain(model), **words)
    (listing,) = Shelves(lambda: Catalog({"lab/a": model}), {"lab/a": page})().listings
    assert {one.slug for one in COLLECTIONS if one.holds(listing)} == names


def test_languages_are_found_by_all_of_their_names_and_a_count_as_what_it_is():
    assert searched_by(["German", "code"], ["Thai"]) == ["German Deutsch", "code", "Thai ไทย"]
    for count in ("100 languages", "70+ languages"):
        assert searched_by(["English", count]) == ["English", count, "multilingual"]
    assert searched_by(["languages"]) == ["languages"]


@pytest.mark.parametrize(
    ("parameters", "nanos"),
    [
        (1, 5_000_000), (200_000_000, 5_000_000), (200_000_001, 8_000_000),
        (1_000_000_000, 8_000_000), (2_000_000_000, 16_000_000), (5_000_000_000, 30_000_000),
        (5_000_000_001, 60_000_000),
    ],
)  # fmt: skip
def test_a_price_is_estimated_in_steps(parameters: int, nanos: int):
    assert estimate_nanos(parameters) == nanos
