"""The price calculator: counts with the tokenizer that bills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, URLEncodedBody

from gateway.control_plane.site import forms
from gateway.control_plane.site.parts import Site
from gateway.control_plane.site.rendering import is_fragment
from gateway.control_plane.site.shelf import Listing
from gateway.data_plane.metering.rows import RowMaker
from gateway.errors import BadRequest

_TEXTS_MONTH_MAX = 10**10
_CHOICES_MAX = 50


class CalculatorForm(msgspec.Struct, frozen=True):
    """What somebody typed."""

    model: str
    text: str = ""
    prompt: str = ""
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
        request,
        "calculator.html",
        listings=_choices(site),
        chosen=chosen,
        form=form,
        result=None,
    )


@post("/calculator", status_code=200)
async def calculate(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    data: URLEncodedBody[CalculatorForm],
) -> Response[str]:
    """Count and price: a fragment as one types, a whole page without JavaScript."""
    site.calculations.take(site.visitor(request))
    chosen = site.listing(data.model)
    result = calculation(site, chosen, data)
    if is_fragment(request):
        return Response(
            site.renderer.html("calculator/result.html", result=result, model=chosen.model),
            media_type="text/html",
        )
    return site.renderer.page(
        request,
        "calculator.html",
        listings=_choices(site),
        chosen=chosen,
        form=data,
        result=result,
    )


def calculation(site: Site, listing: Listing, form: CalculatorForm) -> Calculation | None:
    """Count a text as the endpoint would; None where there is none. Raises BadRequest."""
    characters_max = site.settings.calculator_characters_max
    if len(form.text) > characters_max:
        raise BadRequest(f"The calculator reads at most {characters_max:,} characters.")
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
        raise BadRequest("Texts a month: a whole number, up to ten billion.")
    return Calculation(
        tokens=rows.tokens,
        tokens_full=rows.tokens_full[0],
        cost_nanos=model.price.cost_nanos(rows.tokens),
        texts_month=texts_month,
        month_nanos=model.price.cost_nanos(rows.tokens * texts_month),
    )


def _choices(site: Site) -> Sequence[Listing]:
    """Return the models to choose from; nothing where they are so many that one types a name."""
    listings = site.shelf().listings
    return listings if len(listings) <= _CHOICES_MAX else ()
