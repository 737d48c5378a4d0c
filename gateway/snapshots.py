"""What the control plane publishes and the data plane reads: immutable views, no database.

A snapshot is replaced as a whole, never changed, so a request that started on one ends on it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

Tier = Literal["default", "flex"]
"""flex: lower price, and behind other work where there is not room for all."""
State = Literal["coming_soon", "live", "retired"]
Truncate = Literal["end", "start"]
"""Which end of a text that is too long is cut off."""
TokenIdsFrom = Literal["model"]
"""Whose vocabulary arrays of integers are written in: so far only the model's own."""


class PriceSnapshot(msgspec.Struct, frozen=True):
    """One version of a model's price. History keeps the version that it was billed by."""

    id: str
    nanos_per_million_tokens: int


class GoldenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A fixed row and what the model's reference gives for it."""

    ids: bytes
    """As in `backends.protocol.TokenRow`."""
    vectors: Mapping[int, bytes]
    """Unit vectors, raw little-endian float32, by dimensions."""
    cosine_min: float | None = None
    """Least cosine of a good answer with them; None: the router's own bound."""


class ModelSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An embedding model as the catalog offers it."""

    id: str
    state: State
    price: PriceSnapshot
    flex_price: PriceSnapshot | None = None
    """For requests of the tier flex; None: the same."""
    dimensions: tuple[int, ...]
    dimensions_default: int
    derived_dimensions: Mapping[int, int] = {}
    """Dimensions without a head of their own, and the head each is cut from."""
    tokens_max: int
    vocabulary_sha256: str | None = None
    """None: no gateway counts its tokens yet, so that it can't be live."""
    prompts: Mapping[str, str] = {}
    query_prompt: str | None = None
    """The prompt that `input_type: query` stands for."""
    document_prompt: str | None = None
    """The prompt that `input_type: document` stands for; None: documents take none."""
    golden: Mapping[str, tuple[GoldenRow, ...]] = {}
    """What good workers answer, by revision."""
    created: int = 0
    """Unix time of its entry into the catalog, in seconds."""
    owned_by: str = ""
    license: str = ""
    words: str = ""
    """The fields of its page that operators set, as JSON; the data plane does not read them."""

    def price_of(self, tier: Tier) -> PriceSnapshot:
        """Return the price that a request of a tier pays."""
        return self.flex_price or self.price if tier == "flex" else self.price


class Catalog(msgspec.Struct, frozen=True):
    """All models, by id."""

    models: Mapping[str, ModelSnapshot] = {}

    def find(self, name: str) -> tuple[ModelSnapshot, str | None] | None:
        """Return the model of a name, and the prompt of a `:prompt` suffix where there is one."""
        if model := self.models.get(name):
            return model, None
        base, _, prompt = name.rpartition(":")
        model = self.models.get(base)
        return (model, prompt) if model and prompt in model.prompts else None


Scope = Literal["embed", "read"]
"""What an API key may do: spend credit, or read the organization's credit and usage."""
SCOPES: tuple[Scope, ...] = ("embed", "read")


class KeySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An API key that may be used until `expires_at`."""

    id: str
    organization_id: str
    scopes: tuple[Scope, ...] = ("embed",)
    expires_at: float | None = None
    """Unix time in seconds; None: never."""
    token_ids_from: TokenIdsFrom | None = None
    """Whose ids this key's arrays of integers are, when a request does not say."""
    budget: Literal["month", "total"] | None = None
    """Whether it may spend only so much in a month, or ever; how much, the ledger knows."""
    truncate: Truncate | None = None
    """Which end of a text that is too long is cut off, when a request does not say."""


class MacSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is recognized by without looking it up."""

    secrets: tuple[bytes, ...] = ()
    """A key of ours carries a MAC under one of them."""
    others: bool = True
    """Whether keys are in use that don't: made by version 0.1, or under a secret that is gone."""


class WorkerState(enum.StrEnum):
    """Where a worker is on its way in or out. Only READY ones are given work."""

    DISCOVERED = "discovered"
    WARMING = "warming"
    """Nothing answers yet, or it is not ready, or it is not what its pool serves."""
    CALIBRATING = "calibrating"
    READY = "ready"
    QUARANTINED = "quarantined"
    DRAINING = "draining"
    """An operator's wish: it finishes what it has and gets nothing new."""
    GONE = "gone"


class WorkerChange(NamedTuple):
    """A worker's change of state."""

    at: float
    """`time.monotonic()` of its gateway, seconds."""
    state: WorkerState
    reason: str


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as one gateway sees it."""

    url: str
    state: WorkerState
    reason: str
    revision: str
    tokens_in_flight: int
    calls_in_flight: int
    slowdown: float
    """Observed time over calibrated time."""
    window_share: float
    """Share of its window of tokens that is open, 0 to 1."""
    limping: bool
    """So slow that it gets one shard at a time."""
    tokens_per_second: float
    ejections: int
    examinations: int
    history: tuple[WorkerChange, ...]
    proved_seconds: float | None = None
    """Since it last answered a canary well; None: never, or its gateway does not say."""


class WorkerStatus(NamedTuple):
    """Whether a worker of a model is ready."""

    model: str
    ready: bool
