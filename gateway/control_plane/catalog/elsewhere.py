"""What the same million tokens cost elsewhere: elsewhere.toml, each price with source and day.

Prices change: `read_on` is the day on which the source was read, and pages show it. A price without
a source isn't here, whether it would favor us or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from gateway.control_plane.catalog.content import Quality

PRICE_LISTS = {"pypi.org": "litellm's price list", "openrouter.ai": "OpenRouter's price list"}
"""Lists with the prices of several providers, by host."""
_FILE = Path(__file__).parent / "elsewhere.toml"


class ProviderOffer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider's price for an embedding model."""

    provider: str
    model: str
    """As the provider names it."""
    same_as: str | None = None
    """Our id of the model with the same weights; None if we don't have it."""
    nanos_per_million_tokens: int
    dimensions: int | None = None
    """The length of vectors when a request does not ask for another."""
    tokens_max: int | None = None
    quality: Quality | None = None
    source: str
    read_on: date

    @property
    def source_name(self) -> str:
        """Where the price was read, in words."""
        host = urlsplit(self.source).hostname or ""
        return PRICE_LISTS.get(host, f"{self.provider}'s documentation")


@cache
def offers() -> Sequence[ProviderOffer]:
    """Return all offers, the cheapest first."""
    tables = msgspec.toml.decode(
        _FILE.read_bytes(), type=dict[str, list[ProviderOffer]], strict=False
    )
    found = sorted(tables["offers"], key=lambda o: (o.nanos_per_million_tokens, o.provider))
    return tuple(found)


def offers_of(model_id: str) -> Sequence[ProviderOffer]:
    """Return the offers of the same weights as one of our models', the cheapest first."""
    return [offer for offer in offers() if offer.same_as == model_id]
