"""Search for models: words, facts and filters over the shelf.

Every word of a query must be in what is known of a model: its name, author, license, languages,
dimensions, input tokens. If no model has all the words, words with one typo match as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import msgspec

from gateway.control_plane.catalog.listings import QUERY_CHARACTERS_MAX, Listing, Shelf

WORDS_MAX = 8
"""Most words of a query that count; the rest are ignored."""

_TYPO_CHARACTERS_MIN = 4
"""Shorter words are too much like one another."""

_SEPARATORS = re.compile(r"[\W_]+")

Test = Callable[[Listing], bool]


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Filters; an empty one matches every model."""

    q: str = ""
    state: str = ""
    task: str = ""
    author: str = ""
    license: str = ""
    dimensions: int | None = None
    """A length that the model must offer."""
    tokens: int = 0
    """Least number that one input may have."""
    price_nanos: int | None = None
    """Highest price of a million tokens."""

    def find(self, shelf: Shelf) -> Sequence[Listing]:
        """Return the models that pass every filter; with words, the best matches first."""
        found = matching(shelf, self.q) if self.q.strip() else shelf.listings
        for fits in self._tests():
            found = [listing for listing in found if fits(listing)]
        return found

    def _tests(self) -> Iterable[Test]:
        if self.state:
            yield lambda li: li.model.state == self.state
        if self.task:
            yield lambda li: li.page.task == self.task
        if self.author:
            yield lambda li: li.author == self.author
        if self.license:
            yield lambda li: li.model.license == self.license
        if self.dimensions is not None:
            yield lambda li: self.dimensions in li.model.dimensions
        if self.tokens:
            yield lambda li: li.model.tokens_max >= self.tokens
        if (most := self.price_nanos) is not None:
            yield lambda li: li.model.price.nanos_per_million_tokens <= most


def matching(shelf: Shelf, query: str) -> Sequence[Listing]:
    """Return the models that match a query, those named like it first; all if it is empty."""
    words = query[:QUERY_CHARACTERS_MAX].casefold().split()[:WORDS_MAX]
    found = [li for li in shelf.listings if all(word in li.text for word in words)]
    if words and not found:
        # a name as a whole, then each part of one: `beg-m3`, `stela_en_400M`
        parts = [part for word in words for part in _SEPARATORS.split(word) if part]
        found = _nearly(shelf, words) or _nearly(shelf, parts[:WORDS_MAX])
    return sorted(found, key=lambda li: not all(word in li.name.casefold() for word in words))


def _nearly(shelf: Shelf, words: Sequence[str]) -> list[Listing]:
    """Return the models that have each word, or one that is a typo away from it."""
    left = shelf.listings
    for word in words:
        near: set[str] = set()
        if len(word) >= _TYPO_CHARACTERS_MIN and not word.isdecimal():
            near = {
                model_id
                for term, models in shelf.terms.items()
                if is_typo(word, term)
                for model_id in models
            }
        left = tuple(li for li in left if li.model.id in near or word in li.text)
    return list(left)


def is_typo(one: str, other: str) -> bool:
    """Tell whether two words differ by at most one letter: added, lost, changed, or swapped."""
    if not -1 <= len(one) - len(other) <= 1:
        return False
    first = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        first += 1
    one, other = one[first:], other[first:]
    if len(one) != len(other):
        short, long = sorted((one, other), key=len)
        return short == long[1:]
    return one[1:] == other[1:] or (one[:2] == other[1::-1] and one[2:] == other[2:])
