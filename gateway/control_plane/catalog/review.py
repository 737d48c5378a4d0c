"""The check that the catalog's data files must pass before they ship.

Every model needs words that somebody wrote and reviewed, facts with sources, a license that lets us
sell it, and the same numbers in its words as in the API. `gateway models check` and the tests run
this check.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain

from gateway.control_plane.catalog import cards, content, elsewhere, golden
from gateway.control_plane.catalog.cards import ReviewedModel
from gateway.control_plane.catalog.content import ModelPage, Quality
from gateway.control_plane.catalog.elsewhere import ProviderOffer
from gateway.control_plane.catalog.estimates import estimate_nanos

BENCHMARKS = ("MTEB English v2",)
"""Benchmarks whose scores pages show: each version counts as its own benchmark."""

_DESCRIPTION_CHARACTERS_MAX = 180
"""Search engines cut what is longer."""
_LEAST = {"about": 2, "best_for": 2, "not_for": 1, "faq": 3, "sources": 1}
_ROUNDED = 0.1
"""How far off a short figure may be, as a share of the parameters: Stella calls its 435M 400M."""
_POINTS_MAX = 100
_UNITS = {"M": 10**6, "B": 10**9}
_PROMPT = re.compile(r"prompt_name (\w+)")
_TOKENS = re.compile(r"(?:up to|reads|of) ([\d,]+) tokens")
_DIMENSIONS = re.compile(r"(?:(\d+) (?:to|or) )?(\d+) dimensions")


def problems() -> Iterator[str]:
    """Check the files; yield each problem, beginning with its model."""
    models, pages = {model.id: model for model in cards.reviewed()}, content.reviewed()
    for model_id in sorted(models.keys() - pages.keys()):
        yield f"{model_id}: nobody has written its page: content/ has no file for it"
    for model_id in sorted(pages.keys() - models.keys()):
        yield f"{model_id}: content/ has a page for a model that models.toml does not name"
    pinned = {file.model for file in golden.reviewed()}
    for model_id in sorted(models.keys() & pages.keys()):
        model, page = models[model_id], pages[model_id]
        yield from (
            f"{model_id}: {wrong}"
            for wrong in chain(
                _of_model(model, page, pinned),
                _of_page(page, models),
                _of_scores(model, page),
                _of_words(model, page),
            )
        )
    yield from _of_offers(elsewhere.offers(), models)


def _of_model(model: ReviewedModel, page: ModelPage, pinned: Collection[str]) -> Iterator[str]:
    if not page.commercial_use:
        yield "its license does not let us sell it"
    if model.state == "live" and model.id not in pinned:
        yield "it is live and has no golden vectors"
    assert page.parameters_total is not None
    estimate = estimate_nanos(page.parameters_total)
    if model.state == "coming_soon" and model.nanos_per_million_tokens != estimate:
        yield f"its estimated price is not {estimate}, as it must be for its parameters"
    if model.flex_nanos_per_million_tokens * 2 != model.nanos_per_million_tokens:
        yield "flex is not half of its price"


def _of_page(page: ModelPage, known: Collection[str]) -> Iterator[str]:
    for field, least in _LEAST.items():
        if len(getattr(page, field)) < least:
            yield f"{field} has fewer than {least}"
    if len(page.description) > _DESCRIPTION_CHARACTERS_MAX:
        yield f"its description is longer than {_DESCRIPTION_CHARACTERS_MAX} characters"
    for related in page.related:
        if related.id == page.id or related.id not in known:
            yield f"it is related to {related.id}, which is not another model of the catalog"
    if (page.downloads_month is None) != (page.downloads_read_on is None):
        yield "its downloads have no date"
    for source in page.sources:
        if not source.url.startswith("https://"):
            yield f"{source.url} is not the address of a source"


def _of_scores(model: ReviewedModel, page: ModelPage) -> Iterator[str]:
    quality = page.quality
    if quality:
        yield from _of_quality(quality)
    if page.by_dimension and not (page.by_dimension_benchmark and page.by_dimension_source):
        yield "its scores by dimension have no benchmark or no source"
    for score in page.by_dimension:
        if score.dimensions not in model.dimensions:
            yield f"it has a score at {score.dimensions} dimensions, which it does not have"


def _of_quality(quality: Quality) -> Iterator[str]:
    if quality.benchmark not in BENCHMARKS:
        yield f"{quality.benchmark} can't stand beside {', '.join(BENCHMARKS)}"
    scores = [score for score in (quality.mean, quality.retrieval) if score is not None]
    if not scores or not all(0 < score <= _POINTS_MAX for score in scores):
        yield f"its scores {scores} are not points of {_POINTS_MAX}"
    if not quality.source.startswith("https://"):
        yield f"{quality.source} is not the address of a source"


def _of_words(model: ReviewedModel, page: ModelPage) -> Iterator[str]:
    """Compare the numbers and names in the words with those of the API."""
    words = _prose(page)
    for name in _PROMPT.findall(words):
        if name not in model.prompts:
            yield f"its words name the prompt {name}, which it does not have"
    for figure in _TOKENS.findall(page.description):
        if int(figure.replace(",", "")) != model.tokens_max:
            yield f"its description says {figure} tokens, and it reads {model.tokens_max:,}"
    for pair in _DIMENSIONS.findall(page.description):
        unknown = [length for length in pair if length and int(length) not in model.dimensions]
        if unknown:
            yield f"its description says {unknown} dimensions, which it does not have"
    if not _is_short_for(page.parameters or "", page.parameters_total or 0):
        yield f"{page.parameters} does not stand for {page.parameters_total:,} parameters"


def _prose(page: ModelPage) -> str:
    said = [page.tagline, page.description, *page.about, *page.not_for]
    said += [use.why for use in page.best_for] + [item.answer for item in page.faq]
    return "\n".join(said)


def _is_short_for(figure: str, total: int) -> bool:
    unit = _UNITS.get(figure[-1:])
    return unit is not None and abs(float(figure[:-1]) * unit / total - 1) <= _ROUNDED


def _of_offers(offers: Sequence[ProviderOffer], known: Collection[str]) -> Iterator[str]:
    for offer in offers:
        name = f"{offer.provider} {offer.model}"
        if offer.same_as is not None and offer.same_as not in known:
            yield f"{name}: {offer.same_as} is not a model of the catalog"
        if not offer.source.startswith("https://"):
            yield f"{name}: {offer.source} is not the address of a source"
        if offer.quality:
            yield from (f"{name}: {wrong}" for wrong in _of_quality(offer.quality))
