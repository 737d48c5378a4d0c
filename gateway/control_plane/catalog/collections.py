"""Collections: models that share a fact, with the words that say which."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.control_plane.catalog.listings import Listing

LONG_INPUT_TOKENS = 8_192
SMALL_PARAMETERS = 50_000_000
CODE = "code"
"""An entry of a model's languages: it was trained on source code too."""


class Collection(NamedTuple):
    """A collection, and which listings it holds."""

    slug: str
    name: str
    what_it_means: str
    holds: Callable[[Listing], bool]


def _is_multilingual(listing: Listing) -> bool:
    spoken = [language for language in listing.page.languages if language != CODE]
    return bool(spoken) and spoken != ["English"]


def _reads_code(listing: Listing) -> bool:
    return CODE in listing.page.languages


def _reads_long(listing: Listing) -> bool:
    return listing.model.tokens_max >= LONG_INPUT_TOKENS


def _is_small(listing: Listing) -> bool:
    total = listing.page.parameters_total
    return total is not None and total <= SMALL_PARAMETERS


def _is_matryoshka(listing: Listing) -> bool:
    return len(listing.model.dimensions) > 1


COLLECTIONS = (
    Collection(
        "multilingual",
        "Multilingual",
        "Trained on more languages than English, so a query can find passages in another "
        "language. The retrieval score shown is for English; we show no multilingual score.",
        _is_multilingual,
    ),
    Collection(
        "long-input",
        "Long input",
        f"One input can be {LONG_INPUT_TOKENS:,} tokens or more, about a dozen pages of English.",
        _reads_long,
    ),
    Collection("code", "Code", "Trained on source code as well as prose.", _reads_code),
    Collection(
        "small-and-fast",
        "Small and fast",
        f"At most {SMALL_PARAMETERS // 10**6} million parameters: the least work per token.",
        _is_small,
    ),
    Collection(
        "matryoshka",
        "Matryoshka",
        "You choose the number of dimensions: shorter vectors cost less storage and some quality.",
        _is_matryoshka,
    ),
)
"""In the order that pages show them."""


def collection(slug: str) -> Collection | None:
    """Return the collection of a slug."""
    return next((one for one in COLLECTIONS if one.slug == slug), None)
