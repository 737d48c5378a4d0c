"""What the same inputs cost on every model, and at other providers.

Where a model's tokenizer is not installed, another model's counts for it, and the row says that it
is an estimate. Long inputs are counted in full, as if they were split: cut off, they would make the
model that reads least look cheapest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import msgspec

from gateway.control_plane.catalog.elsewhere import ProviderOffer, offers
from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.data_plane.metering.quote import quote
from gateway.data_plane.metering.tokens import TokenCounter
from gateway.pricing import cost_nanos
from gateway.snapshots import ModelSnapshot

ROWS_MAX = 40
"""Most models that are listed: the live ones, the cheapest, and the chosen one."""
_FLOAT_BYTES = 4
_MILLION = 10**6


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """What some inputs cost on one model."""

    name: str
    path: str | None = None
    """Of its page; None: it is not ours."""
    provider: str = ""
    nanos_per_million_tokens: int
    tokens: int
    is_counted: bool
    """Whether its own tokenizer counted; else it is an estimate."""
    is_set: bool = True
    """Whether the price is set: until a launch it is an estimate."""
    cost_nanos: int
    dimensions: int | None
    vector_bytes: int | None
    is_chosen: bool = False
    source: str = ""
    source_name: str = ""
    read_on: date | None = None


class CostTable(msgspec.Struct, frozen=True, kw_only=True):
    """The rows, and how many models of ours were left out."""

    inputs: int
    rows: Sequence[CostRow]
    left_out: int


class StoredSize(msgspec.Struct, frozen=True, kw_only=True):
    """What vectors of one number of dimensions take."""

    dimensions: int
    bytes: int
    is_default: bool


def estimated_by(counters: Mapping[str, TokenCounter], model: ModelSnapshot) -> ModelSnapshot:
    """Return the model with a vocabulary that is here; unchanged if its own is."""
    if (model.vocabulary_sha256 or "") in counters or not counters:
        return model
    return msgspec.structs.replace(model, vocabulary_sha256=next(iter(counters)))


def cost_table(
    counters: Mapping[str, TokenCounter], shelf: Shelf, chosen: Listing, text: str, inputs: int
) -> CostTable:
    """Return what so many inputs like a text cost: first what can be bought, each by cost."""
    counts = {
        sha256: quote(
            counter,
            msgspec.structs.replace(chosen.model, vocabulary_sha256=sha256, prompts={}),
            [text],
            truncate="end",
        ).rows.tokens_full[0]
        for sha256, counter in counters.items()
    }
    if not counts:
        return CostTable(inputs=inputs, rows=(), left_out=0)
    other = next(iter(counts.values()))

    def own(listing: Listing) -> CostRow:
        model = listing.model
        tokens = counts.get(model.vocabulary_sha256 or "")
        size = model.dimensions_default
        return CostRow(
            name=listing.page.title,
            path=listing.path,
            nanos_per_million_tokens=model.price.nanos_per_million_tokens,
            tokens=tokens or other,
            is_counted=tokens is not None,
            is_set=model.state == "live",
            cost_nanos=cost_nanos(model.price, tokens or other) * inputs,
            dimensions=size,
            vector_bytes=size * _FLOAT_BYTES * inputs,
            is_chosen=listing is chosen,
        )

    def order(row: CostRow) -> tuple[bool, int]:
        return not row.is_set, row.cost_nanos

    ours = sorted(map(own, shelf.listings), key=order)
    shown = [row for place, row in enumerate(ours) if place < ROWS_MAX or row.is_chosen]
    rows = [*shown, *_elsewhere(offers(), other, inputs)]
    return CostTable(
        inputs=inputs,
        rows=sorted(rows, key=order),
        left_out=len(ours) - len(shown),
    )


def sizes(model: ModelSnapshot, inputs: int) -> Sequence[StoredSize]:
    """Return what so many vectors take as 32-bit numbers, by dimensions."""
    return [
        StoredSize(
            dimensions=length,
            bytes=length * _FLOAT_BYTES * inputs,
            is_default=length == model.dimensions_default,
        )
        for length in sorted(model.dimensions)
    ]


def _elsewhere(found: Iterable[ProviderOffer], tokens: int, inputs: int) -> Iterable[CostRow]:
    for offer in found:
        size = offer.dimensions
        yield CostRow(
            name=offer.model,
            provider=offer.provider,
            nanos_per_million_tokens=offer.nanos_per_million_tokens,
            tokens=tokens,
            is_counted=False,
            cost_nanos=tokens * offer.nanos_per_million_tokens * inputs // _MILLION,
            dimensions=size,
            vector_bytes=size * _FLOAT_BYTES * inputs if size else None,
            source=offer.source,
            source_name=offer.source_name,
            read_on=offer.read_on,
        )
