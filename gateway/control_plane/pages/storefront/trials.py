"""What the playground does: embed a few inputs, compare or rank them, and write it down as code.

It uses the same workers as every request, behind paid work, and shows similarities, never vectors.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.control_plane.catalog.listings import Listing
from gateway.control_plane.pages.storefront.calculator import Counters
from gateway.control_plane.web.snippets import Snippet
from gateway.data_plane.metering.quote import Quote, counter_of, quote
from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.router import Router
from gateway.errors import BadRequest
from gateway.identifiers import new_id

VISITORS = "visitors"
"""One organization to the router, so that all visitors share one turn."""
_TIMEOUT_SECONDS = 10.0
_HOLD_SECONDS = 5.0  # for a worker that is almost ready
_SHADES = (0.2, 0.4, 0.6, 0.85)


class Candidate(msgspec.Struct, frozen=True):
    """A live model at one of its dimensions."""

    listing: Listing
    dimensions: int

    @property
    def value(self) -> str:
        """What a form calls it."""
        return f"{self.listing.model.id}@{self.dimensions}"

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.listing.page.title} · {self.dimensions:,}"


class Cell(msgspec.Struct, frozen=True):
    """The similarity of two inputs: the cosine of their vectors, and its shade from 0 to 4."""

    cosine: float
    shade: int


class RankedPassage(msgspec.Struct, frozen=True):
    """A passage, and its similarity to the query."""

    passage: str
    cosine: float


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What one candidate made of the inputs: cells between all of them, or hits, best first."""

    candidate: Candidate
    tokens: int
    cut: int
    """How many inputs were too long for it, and lost their end."""
    cost_nanos: int
    milliseconds: int
    sentences: Sequence[str] = ()
    cells: Sequence[Sequence[Cell]] = ()
    hits: Sequence[RankedPassage] = ()
    code: Sequence[Snippet] = ()


async def compare(
    counters: Counters,
    router: Router,
    candidate: Candidate,
    sentences: Sequence[str],
    prompt: str | None,
) -> Trial:
    """Embed sentences, each with a prompt of the model if one is named. Raises BadRequest."""
    model = candidate.listing.model
    if prompt is not None and prompt not in model.prompts:
        title = candidate.listing.page.title
        raise BadRequest(f"{title} has no prompt of that name.", param="prompt")
    asked = _quote(counters, candidate, sentences, prompt)
    vectors, trial = await _embed(router, candidate, [asked])
    cells = [
        [Cell(float(cosine), sum(float(cosine) >= bound for bound in _SHADES)) for cosine in row]
        for row in vectors @ vectors.T
    ]
    return msgspec.structs.replace(trial, sentences=sentences, cells=cells)


async def search(
    counters: Counters,
    router: Router,
    candidate: Candidate,
    query: str,
    passages: Sequence[str],
    *,
    prompted: bool,
) -> Trial:
    """Rank passages by their similarity to a query, with the model's own prompts if `prompted`."""
    model = candidate.listing.model
    quotes = [
        _quote(counters, candidate, [query], model.query_prompt if prompted else None),
        _quote(counters, candidate, passages, model.document_prompt if prompted else None),
    ]
    vectors, trial = await _embed(router, candidate, quotes)
    hits = [
        RankedPassage(passage, float(cosine))
        for passage, cosine in zip(passages, vectors[1:] @ vectors[0], strict=True)
    ]
    hits.sort(key=lambda hit: hit.cosine, reverse=True)
    return msgspec.structs.replace(trial, hits=hits)


def _quote(
    counters: Counters, candidate: Candidate, inputs: Sequence[str], prompt: str | None
) -> Quote:
    model = candidate.listing.model
    return quote(
        counter_of(counters, model),
        model,
        inputs,
        prompt=prompt,
        dimensions=candidate.dimensions,
        truncate="end",
    )


async def _embed(
    router: Router, candidate: Candidate, quotes: Sequence[Quote]
) -> tuple[NDArray[np.float32], Trial]:
    """Return unit vectors, one a row, and what they took."""
    model_id = candidate.listing.model.id
    rows = [row for one in quotes for row in one.rows.rows]
    tokens = sum(one.rows.tokens for one in quotes)
    started = time.monotonic()
    offer = Offer(
        organization=VISITORS,
        tokens=tokens,
        deadline=started + _TIMEOUT_SECONDS,
        tier="flex",  # behind paid work
        hold_seconds=_HOLD_SECONDS,
    )
    router.admit(model_id, offer)
    answers = await router.dispatch(model_id, rows, offer, request_id=new_id())
    trial = Trial(
        candidate=candidate,
        tokens=tokens,
        cut=sum(len(one.rows.truncated()) for one in quotes),
        cost_nanos=sum(one.cost_nanos for one in quotes),
        milliseconds=round((time.monotonic() - started) * 1000),
    )
    vectors = np.stack([np.frombuffer(answer, dtype="<f4") for answer in answers])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), trial
