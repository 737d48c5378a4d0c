"""The columns that models are sorted by, and the heads of the table that say so.

What is not known comes last, in either direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gateway.control_plane.catalog.listings import Listing
from gateway.control_plane.pages.storefront.paging import address
from gateway.control_plane.status.performance import Performances

Value = Callable[[Listing], Any]


@dataclass(frozen=True)
class Measured:
    """What is measured of models, beside what the catalog says."""

    votes: Mapping[str, int]
    performances: Performances


class SortColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column; pressed once, it sorts by the direction that one looks for."""

    slug: str
    name: str
    is_number: bool = True
    falls: bool = False
    """Whether the highest is looked for."""
    hint: str = ""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A column's head: where it leads, and how the list is sorted by it now."""

    column: SortColumn
    address: str
    sorted: Literal["", "ascending", "descending"]


COLUMNS = (
    SortColumn(slug="name", name="Model", is_number=False),
    SortColumn(slug="state", name="State", is_number=False),
    SortColumn(slug="price", name="$ / 1M tokens"),
    SortColumn(slug="retrieval", name="Retrieval", falls=True, hint="MTEB English v2"),
    SortColumn(slug="dimensions", name="Dimensions", falls=True),
    SortColumn(slug="tokens", name="Input tokens", falls=True),
    SortColumn(slug="size", name="Size"),
    SortColumn(slug="license", name="License", is_number=False),
    SortColumn(slug="p50", name="p50", hint="24 hours"),
    SortColumn(slug="votes", name="Uptime / votes", falls=True, hint="30 days"),
)
_BY_SLUG = {column.slug: column for column in COLUMNS}
ORDERS = {
    "": "Live first, then most votes",
    "votes": "Uptime and votes",
    "retrieval": "Best retrieval",
    "price": "Lowest price",
    "newest": "Newest",
}
"""The orders that the cards offer."""
BENCHMARK = "MTEB English v2"
"""The one whose scores share a column: others can't be compared with it."""


def retrieval(listing: Listing) -> float | None:
    """Return a model's score, if it is of the benchmark that the column is about."""
    quality = listing.page.quality
    return quality.retrieval if quality and quality.benchmark == BENCHMARK else None


def ordered(found: Sequence[Listing], sort: str, measured: Measured) -> Sequence[Listing]:
    """Return listings in the order asked for: a column's, or its reverse after a `-`."""
    if not sort:
        return _by_default(found, measured.votes)
    if sort == "newest":
        return sorted(found, key=lambda li: -li.model.created)
    column = _BY_SLUG.get(sort.removeprefix("-"))
    if column is None:
        return found
    value = _values(measured)[column.slug]
    valued = [(value(li), li) for li in found]
    known = [pair for pair in valued if pair[0] is not None]
    falls = column.falls != sort.startswith("-")
    known.sort(key=lambda pair: pair[0], reverse=falls)
    return [li for _, li in known] + [li for worth, li in valued if worth is None]


def heads(path: str, query: Mapping[str, str], sort: str) -> Sequence[Head]:
    """Return the heads of a table that is at a path, with the rest of its query."""
    return [_head(column, path, query, sort) for column in COLUMNS]


def _head(column: SortColumn, path: str, query: Mapping[str, str], sort: str) -> Head:
    state: Literal["", "ascending", "descending"] = ""
    target = column.slug
    if sort.removeprefix("-") == column.slug:
        falls = column.falls != sort.startswith("-")
        state = "descending" if falls else "ascending"
        target = column.slug if sort.startswith("-") else f"-{column.slug}"
    return Head(column=column, address=address(path, {**query, "sort": target}), sorted=state)


def _by_default(found: Sequence[Listing], votes: Mapping[str, int]) -> Sequence[Listing]:
    """Return live models as they are, then those that are coming, the most wanted first."""
    if not votes:
        return found
    return sorted(found, key=lambda li: (li.model.state != "live", -votes.get(li.model.id, 0)))


def _values(measured: Measured) -> Mapping[str, Value]:
    def served(listing: Listing) -> tuple[int, float]:
        model = listing.model
        if model.state != "live":
            return 0, measured.votes.get(model.id, 0)
        seen = measured.performances.of(model.id)
        return 1, (not seen.is_new and seen.uptime_30d) or 0.0

    return {
        "name": lambda li: li.name.casefold(),
        "state": lambda li: li.model.state != "live",
        "price": lambda li: li.model.price.nanos_per_million_tokens,
        "retrieval": retrieval,
        "dimensions": lambda li: max(li.model.dimensions),
        "tokens": lambda li: li.model.tokens_max,
        "size": lambda li: li.page.parameters_total,
        "license": lambda li: li.model.license.casefold(),
        "p50": lambda li: measured.performances.of(li.model.id).p50_ms,
        "votes": served,
    }
