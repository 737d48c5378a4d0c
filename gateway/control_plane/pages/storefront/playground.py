"""The playground of a live model: a few sentences, their cost, and how similar they are.

It uses the same workers as every request, but is free: it shows similarities, never the vectors,
and each visitor, and all together, have so many tries.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody
from numpy.typing import NDArray

from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.pages.storefront.calculator import Counters
from gateway.control_plane.web.csrf import ANYBODYS
from gateway.control_plane.web.forms import RefusedForm
from gateway.control_plane.web.rate_limits import Limit
from gateway.control_plane.web.rendering import Render, Renderer, answer, is_fragment
from gateway.control_plane.web.visitors import PageNotFound
from gateway.data_plane.metering.quote import counter_of, quote
from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.router import Router
from gateway.errors import BadRequest, GatewayError
from gateway.identifiers import new_id

_SENTENCES_MAX = 6
_CHARACTERS_MAX = 300
_VISITORS = "visitors"  # one organization to the router, so that all visitors share one turn
_TIMEOUT_SECONDS = 10.0
_HOLD_SECONDS = 5.0  # for a worker that is almost ready
_SHADES = (0.2, 0.4, 0.6, 0.85)
_EXAMPLE = (
    "How do I reset my password?\n"
    "I can't sign in any more.\n"
    "Where is my parcel?\n"
    "The delivery has not arrived."
)


class PlaygroundForm(msgspec.Struct, frozen=True):
    """One sentence a line."""

    sentences: str


class Cell(msgspec.Struct, frozen=True):
    """The similarity of two sentences: the cosine of their vectors, and its shade from 0 to 4."""

    cosine: float
    shade: int


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """The results."""

    sentences: list[str]
    tokens: list[int]
    cost_nanos: int
    milliseconds: int
    cells: list[list[Cell]]


@get("/playground/{owner:str}/{name:str}")
async def show_playground(
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    owner: FromPath[str],
    name: FromPath[str],
) -> Response[str]:
    """Show the playground with an example in it."""
    listing = _live(shelf, f"{owner}/{name}")
    return render("playground.html", listing=listing, sentences=_EXAMPLE, result=None)


@post("/playground/{owner:str}/{name:str}", status_code=200, opt={ANYBODYS: True})
async def experiment(
    request: Request[Any, Any, Any],
    render: NamedDependency[Render],
    renderer: NamedDependency[Renderer],
    shelf: NamedDependency[Shelf],
    counters: NamedDependency[Counters],
    router: NamedDependency[Router],
    experiment_limit: NamedDependency[Limit],
    experiment_limit_of_all: NamedDependency[Limit],
    origin: NamedDependency[str],
    owner: FromPath[str],
    name: FromPath[str],
    data: URLEncodedBody[PlaygroundForm],
) -> Response[str]:
    """Embed the sentences and compare them."""
    listing = _live(shelf, f"{owner}/{name}")
    result = refused = None
    try:
        sentences = _sentences(data)
        experiment_limit.take(origin)
        experiment_limit_of_all.take(_VISITORS)
        result = await _embed(counters, router, listing, sentences)
    except GatewayError as error:  # that no worker is free is shown in place too
        refused = RefusedForm("playground", error, data)
    if is_fragment(request):
        html = renderer.html("playground/result.html", result=result, refused=refused)
        return answer(html, refused=refused)
    return render(
        "playground.html",
        refused=refused,
        listing=listing,
        sentences=data.sentences,
        result=result,
    )


def _sentences(form: PlaygroundForm) -> list[str]:
    sentences = [line.strip() for line in form.sentences.splitlines() if line.strip()]
    if not 2 <= len(sentences) <= _SENTENCES_MAX:
        raise BadRequest(
            f"Write 2 to {_SENTENCES_MAX} sentences, one a line. So far: {len(sentences)}.",
            param="sentences",
        )
    for number, sentence in enumerate(sentences, 1):
        if len(sentence) > _CHARACTERS_MAX:
            raise BadRequest(
                f"Sentence {number} has {len(sentence):,} characters; at most {_CHARACTERS_MAX} "
                "fit here.",
                param="sentences",
            )
    return sentences


async def _embed(
    counters: Counters, router: Router, listing: Listing, sentences: list[str]
) -> Experiment:
    model = listing.model
    quoted = quote(counter_of(counters, model), model, sentences, truncate="end")
    rows = quoted.rows
    started = time.monotonic()
    offer = Offer(
        organization=_VISITORS,
        tokens=rows.tokens,
        deadline=started + _TIMEOUT_SECONDS,
        tier="flex",  # behind paid work
        hold_seconds=_HOLD_SECONDS,
    )
    router.admit(model.id, offer)
    vectors = await router.dispatch(model.id, rows.rows, offer, request_id=new_id())
    return Experiment(
        sentences=sentences,
        tokens=[row.tokens for row in rows.rows],
        cost_nanos=quoted.cost_nanos,
        milliseconds=round((time.monotonic() - started) * 1000),
        cells=_cells(np.stack([np.frombuffer(vector, dtype="<f4") for vector in vectors])),
    )


def _cells(vectors: NDArray[np.float32]) -> list[list[Cell]]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        [Cell(float(cosine), sum(float(cosine) >= bound for bound in _SHADES)) for cosine in row]
        for row in unit @ unit.T
    ]


def _live(shelf: Shelf, model_id: str) -> Listing:
    listing = shelf.find(model_id)
    if listing.model.state != "live":
        raise PageNotFound("This model is not live yet, so there is nothing to try.")
    return listing
