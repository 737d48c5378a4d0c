"""What happens in the catalog: tokens of this week, and what is new."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest

import msgspec

from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.status.served import Served

_SHOWN_MAX = 3


class Week(msgspec.Struct, frozen=True, kw_only=True):
    """The busiest models with their tokens, and the newest."""

    served: Sequence[tuple[Listing, int]]
    newest: Sequence[Listing]


def this_week(shelf: Shelf, served: Served) -> Week:
    """Return what is shown of the week."""
    told = [
        (listing, tokens)
        for listing in shelf.listings[: shelf.live]
        if (tokens := served.tokens(listing.model.id))
    ]
    return Week(
        served=nlargest(_SHOWN_MAX, told, key=lambda pair: pair[1]),
        newest=nlargest(_SHOWN_MAX, shelf.listings, key=lambda li: li.model.created),
    )
