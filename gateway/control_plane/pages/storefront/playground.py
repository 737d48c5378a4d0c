"""The playground: compare sentences or search passages with live models, two at a time.

It is free, so each visitor, and all together, have so many tries. Each model takes one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, URLEncodedBody

from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.pages.storefront import trial_code, trials
from gateway.control_plane.pages.storefront.calculator import Counters
from gateway.control_plane.pages.storefront.trials import VISITORS, Candidate, Trial
from gateway.control_plane.web import snippets
from gateway.control_plane.web.csrf import ANYBODYS
from gateway.control_plane.web.forms import RefusedForm, see_other
from gateway.control_plane.web.rate_limits import Limit
from gateway.control_plane.web.rendering import Render, Renderer, answer, is_fragment
from gateway.data_plane.routing.router import Router
from gateway.errors import BadRequest, GatewayError
from gateway.settings import Settings

Mode = Literal["similarity", "search"]

SENTENCES_MAX = 6
PASSAGES_MAX = 10
CHARACTERS_MAX = 300
_CHOICES_MAX = 100
_NO_PROMPT = "none"
_OWN_PROMPTS = "own"
_SENTENCES = (
    "How do I reset my password?\n"
    "I can't sign in any more.\n"
    "Where is my parcel?\n"
    "The delivery has not arrived."
)
_QUERY = "How long until I get my money back?"
_PASSAGES = (
    "Refunds go back to the card that paid, within three to five working days.\n"
    "Orders leave the warehouse on the next working day.\n"
    "To change a forgotten password, choose to get a link by email.\n"
    "Invoices are under Billing. Add your VAT number there.\n"
    "The shop on Mill Street is open from ten to six."
)


class PlaygroundForm(msgspec.Struct, frozen=True, kw_only=True):
    """What was typed: sentences and passages stand one a line."""

    mode: Mode = "similarity"
    sentences: str = ""
    query: str = ""
    passages: str = ""
    first: str = ""
    """A candidate, as `MODEL@DIMENSIONS`; empty: the page's own model."""
    beside: str = ""
    """Another one, or empty."""
    prompt: str = ""


_FIELDS = PlaygroundForm.__struct_fields__


@get("/playground")
async def open_playground(shelf: NamedDependency[Shelf]) -> Response[Any]:
    """Lead to the playground of a live model, or to the models while none is live."""
    return see_other(f"/playground/{shelf.first.model.id}" if shelf.live else "/models")


@get("/playground/{owner:str}/{name:str}")
async def show_playground(
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    owner: FromPath[str],
    name: FromPath[str],
    mode: FromQuery[Mode] = "similarity",
) -> Response[Any]:
    """Show the playground with an example in it."""
    listing = shelf.find(f"{owner}/{name}")
    if listing.model.state != "live":
        return see_other(f"{listing.path}#demand")
    form = PlaygroundForm(
        mode=mode,
        sentences=_SENTENCES,
        query=_QUERY,
        passages=_PASSAGES,
        first=Candidate(listing, listing.model.dimensions_default).value,
        prompt=_OWN_PROMPTS if mode == "search" else _NO_PROMPT,
    )
    return render("playground.html", **_shown(shelf, listing, form))


@post("/playground/{owner:str}/{name:str}", status_code=200, opt={ANYBODYS: True})
async def experiment(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
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
) -> Response[Any]:
    """Try the models that were chosen on what was typed."""
    listing = shelf.find(f"{owner}/{name}")
    if listing.model.state != "live":
        return see_other(f"{listing.path}#demand")
    tried: list[Trial] = []
    refused = None
    try:
        trial_of = _trial(data, settings, counters, router)
        for candidate in _candidates(shelf, listing, data):
            experiment_limit.take(origin)
            experiment_limit_of_all.take(VISITORS)
            tried.append(await trial_of(candidate))
    except GatewayError as error:  # that no worker is free is shown in place too
        refused = RefusedForm("playground", error, data)
        tried = []
    context = _shown(shelf, listing, data, tried=tried)
    if not is_fragment(request):
        return render("playground.html", refused=refused, **context)
    if refused is None:
        language = snippets.chosen_language(request.cookies)
        return answer(renderer.html("playground/result.html", language=language, **context))
    # the result is emptied, and what is wrong stands at its field
    html = renderer.html("playground/refused.html", refused=refused)
    response = answer(html, refused=refused)
    field = refused.error.param if refused.error.param in _FIELDS else "form"
    response.headers["hx-retarget"] = f"#problem-{field}"
    return response


def _trial(
    form: PlaygroundForm, settings: Settings, counters: Counters, router: Router
) -> Callable[[Candidate], Awaitable[Trial]]:
    """Return what does with a candidate as the form says. Raises BadRequest."""
    url = settings.public_url
    if form.mode == "search":
        query = _lines(form.query, "query", 1, 1)[0]
        passages = _lines(form.passages, "passages", 2, PASSAGES_MAX)
        prompted = form.prompt == _OWN_PROMPTS

        async def search(candidate: Candidate) -> Trial:
            trial = await trials.search(
                counters, router, candidate, query, passages, prompted=prompted
            )
            code = trial_code.search(url, trial, query, passages, prompted=prompted)
            return msgspec.structs.replace(trial, code=code)

        return search

    sentences = _lines(form.sentences, "sentences", 2, SENTENCES_MAX)
    prompt = None if form.prompt in ("", _NO_PROMPT) else form.prompt

    async def compare(candidate: Candidate) -> Trial:
        trial = await trials.compare(counters, router, candidate, sentences, prompt)
        code = trial_code.similarity(url, trial, sentences, prompt)
        return msgspec.structs.replace(trial, code=code)

    return compare


def _lines(typed: str, field: str, least: int, most: int) -> list[str]:
    """Return what stands on each line. Raises BadRequest."""
    found = [line.strip() for line in typed.splitlines() if line.strip()]
    if not least <= len(found) <= most:
        wanted = "a query on one line" if most == 1 else f"{least} to {most} {field}, one per line"
        raise BadRequest(f"Enter {wanted}. So far: {len(found)}.", param=field)
    for number, line in enumerate(found, 1):
        if len(line) > CHARACTERS_MAX:
            raise BadRequest(
                f"Line {number} has {len(line):,} characters; at most {CHARACTERS_MAX} fit here.",
                param=field,
            )
    return found


def _candidates(shelf: Shelf, own: Listing, form: PlaygroundForm) -> Sequence[Candidate]:
    """Return one or two different ones. Raises BadRequest."""
    first = Candidate(own, own.model.dimensions_default)
    if form.first:
        first = _candidate(shelf, form.first, "first")
    if not form.beside:
        return [first]
    beside = _candidate(shelf, form.beside, "beside")
    if beside.value == first.value:
        raise BadRequest("That is the same one. Choose another to compare.", param="beside")
    return [first, beside]


def _candidate(shelf: Shelf, value: str, field: str) -> Candidate:
    model_id, _, dimensions = value.rpartition("@")
    listing = shelf.by_id.get(model_id)
    if listing is not None and listing.model.state == "live":
        for offered in listing.model.dimensions:
            if str(offered) == dimensions:
                return Candidate(listing, offered)
    raise BadRequest("Choose a model that is live, from the list.", param=field)


def _shown(
    shelf: Shelf, listing: Listing, form: PlaygroundForm, *, tried: Sequence[Trial] = ()
) -> dict[str, Any]:
    """Return a page's context: its own model is the first that can be chosen."""
    live = [one for one in shelf.listings if one.model.state == "live" and one is not listing]
    offered = [
        Candidate(one, dimensions)
        for one in [listing, *live]
        for dimensions in one.model.dimensions
    ][:_CHOICES_MAX]
    models = {one.listing.model.id: one.listing.model for one in offered}.values()
    return {
        "listing": listing,
        "form": form,
        "choices": offered,
        "prompts": sorted({name for model in models for name in model.prompts}),
        "sentences_max": SENTENCES_MAX,
        "passages_max": PASSAGES_MAX,
        "characters_max": CHARACTERS_MAX,
        "tried": tried,
    }
