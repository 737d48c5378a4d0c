"""The same million tokens elsewhere: a model beside what others ask, wherever it ranks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import msgspec

from gateway.control_plane.catalog.elsewhere import ProviderOffer, offers
from gateway.control_plane.catalog.listings import Listing


class PriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One price, ours or another's."""

    model: str
    where: str
    is_ours: bool
    is_same: bool
    """The same weights as our model."""
    nanos_per_million_tokens: int
    retrieval: float | None
    dimensions: str
    tokens_max: int | None
    source: str | None
    source_name: str
    read_on: date | None


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """The rows, the cheapest first."""

    rows: list[PriceRow]
    benchmark: str | None
    """Whose retrieval scores are shown; None: no two rows have one of the same benchmark."""


def beside(listing: Listing) -> Elsewhere | None:
    """Return a model among the offers of its own weights and of models that only others have."""
    model_id = listing.model.id
    others = [offer for offer in offers() if offer.same_as in (None, model_id)]
    if not others:
        return None
    quality = listing.page.quality
    benchmark = quality.benchmark if quality and quality.retrieval is not None else None
    if not any(_score(offer, benchmark) for offer in others):
        benchmark = None
    lengths = listing.model.dimensions
    ours = PriceRow(
        model=model_id,
        where="here",
        is_ours=True,
        is_same=True,
        nanos_per_million_tokens=listing.model.price.nanos_per_million_tokens,
        retrieval=quality.retrieval if quality and benchmark else None,
        dimensions=span(lengths),
        tokens_max=listing.model.tokens_max,
        source=None,
        source_name="",
        read_on=None,
    )
    rows = [ours, *(_row(offer, model_id, benchmark) for offer in others)]
    rows.sort(key=lambda row: (row.nanos_per_million_tokens, not row.is_ours, row.where))
    return Elsewhere(rows=rows, benchmark=benchmark)


def span(lengths: Sequence[int]) -> str:
    """Write dimensions: 384, or from the least to the most."""
    least, most = min(lengths), max(lengths)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _row(offer: ProviderOffer, model_id: str, benchmark: str | None) -> PriceRow:
    return PriceRow(
        model=offer.model,
        where=offer.provider,
        is_ours=False,
        is_same=offer.same_as == model_id,
        nanos_per_million_tokens=offer.nanos_per_million_tokens,
        retrieval=_score(offer, benchmark),
        dimensions=f"{offer.dimensions:,}" if offer.dimensions else "",
        tokens_max=offer.tokens_max,
        source=offer.source,
        source_name=offer.source_name,
        read_on=offer.read_on,
    )


def _score(offer: ProviderOffer, benchmark: str | None) -> float | None:
    """Return its retrieval score in a benchmark: scores of different ones can't be compared."""
    if offer.quality is None or offer.quality.benchmark != benchmark:
        return None
    return offer.quality.retrieval
