"""Pills: the filters that most people want, each with how many models it leaves."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.control_plane.catalog.collections import COLLECTIONS, Collection
from gateway.control_plane.catalog.listings import Shelf

_CHEAP_NANOS = 10_000_000
_CHEAP = "/models?price=0.01"


class Pill(msgspec.Struct, frozen=True, kw_only=True):
    """A filter, where it leads, and how many models are there."""

    name: str
    path: str
    count: int


class Pills:
    """The pills of the current shelf, counted once for each version of the catalog."""

    def __init__(self) -> None:
        self._of: Shelf | None = None
        self._pills: Sequence[Pill] = ()

    def __call__(self, shelf: Shelf) -> Sequence[Pill]:
        """Return the pills that leave some model."""
        if shelf is not self._of:
            self._pills = [pill for pill in _counted(shelf) if pill.count]
            self._of = shelf
        return self._pills


def path_of(collection: Collection) -> str:
    """Return the path of a collection's page."""
    return f"/models/collections/{collection.slug}"


def _counted(shelf: Shelf) -> Sequence[Pill]:
    every = shelf.listings
    cheap = sum(li.model.price.nanos_per_million_tokens <= _CHEAP_NANOS for li in every)
    coming = len(every) - shelf.live
    return [
        Pill(name="All", path="/models", count=len(every)),
        Pill(name="Live", path="/models?state=live", count=shelf.live),
        Pill(name="Coming soon", path="/models?state=coming_soon", count=coming),
        *(
            Pill(name=one.name, path=path_of(one), count=sum(map(one.holds, every)))
            for one in COLLECTIONS
        ),
        Pill(name="≤ $0.01", path=_CHEAP, count=cheap),
    ]
