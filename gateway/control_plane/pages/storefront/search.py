"""Search for models: filters, an order, and pages of results.

A search is the URL of its page, so it can be shared. Both the query and the results are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args
from urllib.parse import urlencode

import msgspec

from gateway.control_plane.catalog.listings import QUERY_CHARACTERS_MAX, Listing, Shelf
from gateway.control_plane.web.forms import whole

Order = Literal["", "votes", "price", "newest"]
PAGE_MODELS = 24
_LENGTH_MAX = 1_000_000


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Filters and an order; an empty filter matches every model."""

    q: str = ""
    state: str = ""
    task: str = ""
    dimensions: str = ""
    license: str = ""
    tokens: int = 0
    """At least so many in one text."""
    price_nanos: int | None = None
    """At most so much for a million tokens."""
    sort: str = ""

    def find(self, shelf: Shelf, votes: Mapping[str, int]) -> Sequence[Listing]:
        """Return the matching models in the order asked for; by default live ones first."""
        found: Sequence[Listing] = shelf.listings
        for fits in self._tests():
            found = [listing for listing in found if fits(listing)]
        key = _keys(votes).get(self.sort)
        return sorted(found, key=key) if key else found

    def _tests(self) -> list[Callable[[Listing], bool]]:
        tests: list[Callable[[Listing], bool]] = []
        if self.state:
            tests.append(lambda li: li.model.state == self.state)
        if self.task:
            tests.append(lambda li: li.page.task == self.task)
        if self.dimensions:
            length = whole(self.dimensions, _LENGTH_MAX) or 0
            tests.append(lambda li: length in li.model.dimensions)
        if self.license:
            tests.append(lambda li: li.model.license == self.license)
        if self.tokens:
            tests.append(lambda li: li.model.tokens_max >= self.tokens)
        if (most := self.price_nanos) is not None:
            tests.append(lambda li: li.model.price.nanos_per_million_tokens <= most)
        if words := self.q[:QUERY_CHARACTERS_MAX].casefold().split():
            tests.append(lambda li: all(word in li.text for word in words))
        return tests


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of results, and the paths of its neighbors."""

    items: Sequence[Any]
    found: int
    number: int
    numbers: int
    previous: str | None
    next: str | None


def page_of(
    items: Sequence[Any], number: int, path: str, query: Mapping[str, str], *, size: int
) -> Page:
    """Return the nearest existing page; `query` is the rest of its URL's query."""
    numbers = max(1, -(-len(items) // size))
    number = min(max(number, 1), numbers)

    def address(other: int) -> str | None:
        if not 1 <= other <= numbers:
            return None
        said = {name: value for name, value in query.items() if value}
        if other > 1:
            said["page"] = str(other)
        return f"{path}?{urlencode(said)}" if said else path

    return Page(
        items=items[(number - 1) * size : number * size],
        found=len(items),
        number=number,
        numbers=numbers,
        previous=address(number - 1),
        next=address(number + 1),
    )


def _keys(votes: Mapping[str, int]) -> Mapping[str, Callable[[Listing], Any]]:
    """Return the sort key of each order; equal models stay in the order of the shelf."""
    keys: dict[Order, Callable[[Listing], Any]] = {
        "votes": lambda li: -votes.get(li.model.id, 0),
        "price": lambda li: li.model.price.nanos_per_million_tokens,
        "newest": lambda li: -li.model.created,
    }
    assert set(keys) == set(get_args(Order)) - {""}
    return keys  # type: ignore[return-value]
