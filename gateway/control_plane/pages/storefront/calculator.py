"""The price calculator: counts with the tokenizer that bills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, SkipValidation, URLEncodedBody
from litestar.response import Redirect

from gateway.control_plane.catalog.elsewhere import PRICE_LISTS
from gateway.control_plane.catalog.listings import Listing, ListingNotFound, Shelf
from gateway.control_plane.pages.storefront.cost_table import cost_table, estimated_by, sizes
from gateway.control_plane.web import forms
from gateway.control_plane.web.csrf import ANYBODYS
from gateway.control_plane.web.forms import IN_PLACE, RefusedForm
from gateway.control_plane.web.rate_limits import Limit
from gateway.control_plane.web.rendering import Render, Renderer, answer, is_fragment
from gateway.data_plane.metering.quote import Uncountable, counter_of, quote
from gateway.data_plane.metering.tokens import TokenCounter
from gateway.errors import BadRequest
from gateway.settings import Settings

Counters = SkipValidation[Mapping[str, TokenCounter]]
"""What counts tokens, by the digest of the vocabulary."""

_TEXTS_MONTH_MAX = 10**10
_CHOICES_MAX = 50
_SUGGESTED_MAX = 1_000
_INPUTS = 1_000_000
_SAMPLE = (
    "Refunds are issued to the original payment method within five business days. If the order was "
    "paid with a gift card, the amount is returned to that card. Shipping costs are refunded only "
    "when the whole order is returned. To start a return, open the order in your account, choose "
    "the items, and print the label that we email you. Items must arrive within thirty days."
)
"""A passage as they are embedded for search."""


class CalculatorForm(msgspec.Struct, frozen=True):
    """What was typed."""

    model: str
    text: str = ""
    prompt: str = ""
    prompts_of: str = ""
    """The model whose prompts the form shows."""
    texts_month: str = ""
    across: str = ""
    """Says that all models are compared too, as on the calculator's own page."""


class Calculation(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens and cost of a text, and of many such texts a month."""

    tokens: int
    """Billed: prompt and special tokens included, after truncation."""
    tokens_full: int
    cost_nanos: int
    texts_month: int
    month_nanos: int
    is_counted: bool
    """Whether the model's own tokenizer counted; else it is an estimate."""


@get("/calculator")
async def show_calculator(
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    counters: NamedDependency[Counters],
    model: FromQuery[str] = "",
) -> Response[str]:
    """Show what a million inputs like a sample cost."""
    chosen = shelf.find(model) if model else shelf.first
    form = CalculatorForm(model=chosen.model.id, text=_SAMPLE, texts_month=f"{_INPUTS:,}")
    result = calculation(settings, counters, chosen, form) if counters else None
    return render(
        "calculator.html",
        **_across(counters, shelf, chosen, form, result),
        **shown(settings, chosen, form, result=result),
    )


@get("/pricing", sync_to_thread=False)
def show_pricing() -> Redirect:
    """Lead to the one page about prices."""
    return Redirect("/calculator", status_code=301)


@post("/calculator", status_code=200, opt={ANYBODYS: True})
async def calculate(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    renderer: NamedDependency[Renderer],
    shelf: NamedDependency[Shelf],
    counters: NamedDependency[Counters],
    calculation_limit: NamedDependency[Limit],
    origin: NamedDependency[str],
    data: URLEncodedBody[CalculatorForm],
) -> Response[str]:
    """Count and price: a fragment while typing, a whole page without JavaScript."""
    chosen = shelf.by_id.get(data.model) or shelf.first
    result = refused = None
    try:
        calculation_limit.take(origin)
        listing = shelf.find(data.model, param="model")
        result = calculation(settings, counters, listing, data)
    except (*IN_PLACE, ListingNotFound, Uncountable) as error:
        refused = RefusedForm("calculator", error, data)
    context = shown(settings, chosen, data, result=result)
    across = {}
    if data.across or not is_fragment(request):
        across = _across(counters, shelf, chosen, data, result)
    if not is_fragment(request):
        return render("calculator.html", refused=refused, **across, **context)
    context |= {"model": chosen.model, "refused": refused}
    html = renderer.html("calculator/result.html", **context)
    if data.prompts_of != chosen.model.id:
        html += renderer.html("calculator/prompts.html", anew=True, **context)
    if across and result:
        html += renderer.html("calculator/across.html", anew=True, **across, **context)
    return answer(html, refused=refused)


def shown(
    settings: Settings,
    chosen: Listing,
    form: CalculatorForm,
    *,
    result: Calculation | None = None,
) -> dict[str, Any]:
    """Return the form's context, for its own page and a model's."""
    return {
        "chosen": chosen,
        "form": form,
        "result": result,
        "characters_max": settings.calculator_characters_max,
    }


def calculation(
    settings: Settings,
    counters: Counters,
    listing: Listing,
    form: CalculatorForm,
) -> Calculation | None:
    """Count and price a text as the endpoint would; None for no text. Raises BadRequest."""
    characters_max = settings.calculator_characters_max
    if len(form.text) > characters_max:
        raise BadRequest(
            f"This input has {len(form.text):,} characters, and the calculator reads at most "
            f"{characters_max:,}. Shorten it.",
            param="text",
        )
    if not form.text:
        return None
    model = estimated_by(counters, listing.model)
    prompt = form.prompt if form.prompt in model.prompts else None
    quoted = quote(counter_of(counters, model), model, [form.text], prompt=prompt, truncate="end")
    texts_month = forms.whole(form.texts_month, _TEXTS_MONTH_MAX)
    if texts_month is None:
        raise BadRequest(
            "Inputs per month: a whole number, up to ten billion.", param="texts_month"
        )
    return Calculation(
        tokens=quoted.rows.tokens,
        tokens_full=quoted.rows.tokens_full[0],
        cost_nanos=quoted.cost_nanos,
        texts_month=texts_month,
        month_nanos=quoted.cost_nanos * texts_month,  # each rounded up, as the ledger does
        is_counted=model is listing.model,
    )


def _across(
    counters: Counters,
    shelf: Shelf,
    chosen: Listing,
    form: CalculatorForm,
    result: Calculation | None,
) -> dict[str, Any]:
    """Return what the page shows beside the result: all models, and sizes of vectors."""
    inputs = (result.texts_month if result else 0) or _INPUTS
    text = form.text if result else _SAMPLE
    return {
        "listings": _choices(shelf),
        "suggested": [listing.model.id for listing in shelf.listings[:_SUGGESTED_MAX]],
        "table": cost_table(counters, shelf, chosen, text, inputs),
        "read_in": sorted(PRICE_LISTS.values()),
        "sizes": sizes(chosen.model, inputs),
    }


def _choices(shelf: Shelf) -> Sequence[Listing]:
    """Return the models to choose from; none if they are too many to list."""
    return shelf.listings if len(shelf.listings) <= _CHOICES_MAX else ()
