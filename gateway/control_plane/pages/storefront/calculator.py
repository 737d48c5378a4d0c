"""The price calculator: counts with the tokenizer that bills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, URLEncodedBody

from gateway.control_plane.catalog.listings import Listing
from gateway.control_plane.pages.parts import PageNotFound, Site, Uncountable
from gateway.control_plane.web import forms
from gateway.control_plane.web.csrf import ANYBODYS
from gateway.control_plane.web.forms import IN_PLACE, Refused
from gateway.control_plane.web.rendering import answer, is_fragment
from gateway.data_plane.metering.rows import RowMaker
from gateway.errors import BadRequest

_TEXTS_MONTH_MAX = 10**10
_CHOICES_MAX = 50


class CalculatorForm(msgspec.Struct, frozen=True):
    """What somebody typed."""

    model: str
    text: str = ""
    prompt: str = ""
    prompts_of: str = ""
    """The model whose prompts the form shows."""
    texts_month: str = ""


class Calculation(msgspec.Struct, frozen=True, kw_only=True):
    """What a text counts and costs, and so many of them a month."""

    tokens: int
    """Billed: prompt and special tokens included, after truncation."""
    tokens_full: int
    cost_nanos: int
    texts_month: int
    month_nanos: int


@get("/calculator")
async def show_calculator(
    request: Request[Any, Any, Any], site: NamedDependency[Site], model: FromQuery[str] = ""
) -> Response[str]:
    """Show the empty calculator."""
    chosen = site.listing(model) if model else site.first()
    form = CalculatorForm(model=chosen.model.id)
    return site.renderer.page(
        request, "calculator.html", listings=_choices(site), **shown(site, chosen, form)
    )


@post("/calculator", status_code=200, opt={ANYBODYS: True})
async def calculate(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    data: URLEncodedBody[CalculatorForm],
) -> Response[str]:
    """Count and price: a fragment as one types, a whole page without JavaScript."""
    chosen = site.shelf().by_id.get(data.model) or site.first()
    result = refused = None
    try:
        site.calculations.take(site.visitor(request))
        result = calculation(site, _named(site, data.model), data)
    except (*IN_PLACE, PageNotFound, Uncountable) as error:
        refused = Refused("calculator", error, data)
    context = shown(site, chosen, data, result=result)
    if not is_fragment(request):
        return site.renderer.page(
            request, "calculator.html", refused=refused, listings=_choices(site), **context
        )
    context |= {"model": chosen.model, "refused": refused}
    html = site.renderer.html("calculator/result.html", **context)
    if data.prompts_of != chosen.model.id:
        html += site.renderer.html("calculator/prompts.html", anew=True, **context)
    return answer(html, refused=refused)


def shown(
    site: Site,
    chosen: Listing,
    form: CalculatorForm,
    *,
    result: Calculation | None = None,
) -> dict[str, Any]:
    """Return what the form needs, on its own page and on a model's."""
    return {
        "chosen": chosen,
        "form": form,
        "result": result,
        "characters_max": site.settings.calculator_characters_max,
    }


def calculation(site: Site, listing: Listing, form: CalculatorForm) -> Calculation | None:
    """Count a text as the endpoint would; None where there is none. Raises BadRequest."""
    characters_max = site.settings.calculator_characters_max
    if len(form.text) > characters_max:
        raise BadRequest(
            f"This text has {len(form.text):,} characters, and the calculator reads at most "
            f"{characters_max:,}. Shorten it.",
            param="text",
        )
    if not form.text:
        return None
    model = listing.model
    maker = RowMaker(
        site.counter(model),
        dimensions=model.dimensions_default,
        tokens_max=model.tokens_max,
        prompt=model.prompts.get(form.prompt, ""),
    )
    rows = maker.from_texts([form.text], truncate="end")
    texts_month = forms.whole(form.texts_month, _TEXTS_MONTH_MAX)
    if texts_month is None:
        raise BadRequest("Texts per month: a whole number, up to ten billion.", param="texts_month")
    cost_nanos = model.price.cost_nanos(rows.tokens)
    return Calculation(
        tokens=rows.tokens,
        tokens_full=rows.tokens_full[0],
        cost_nanos=cost_nanos,
        texts_month=texts_month,
        month_nanos=cost_nanos * texts_month,  # rounded up with each, as the ledger does
    )


def _named(site: Site, model_id: str) -> Listing:
    """Return a model whose name may have been typed. Raises PageNotFound, which blames the name."""
    try:
        return site.listing(model_id)
    except PageNotFound as error:
        raise PageNotFound(error.message, param="model") from None


def _choices(site: Site) -> Sequence[Listing]:
    """Return the models to choose from; nothing where they are so many that one types a name."""
    listings = site.shelf().listings
    return listings if len(listings) <= _CHOICES_MAX else ()
