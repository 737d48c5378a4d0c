"""What is written as TOML is read back the same."""

from datetime import date

import pytest

from gateway.control_plane.catalog import cards, content, edits, toml
from gateway.control_plane.catalog.cards import ModelCard
from gateway.control_plane.catalog.content import ModelPage, Question, Use


@pytest.mark.parametrize("model", cards.reviewed(), ids=lambda model: model.id)
def test_reviewed_cards(model: cards.ReviewedModel):
    card = cards.as_card(model)
    assert edits.read(toml.written(card), ModelCard, param="card") == card


@pytest.mark.parametrize("page", content.reviewed().values(), ids=lambda page: page.id)
def test_reviewed_pages(page: ModelPage):
    assert edits.read(toml.written(page), type(page), param="page") == page


def test_what_is_hard_to_quote():
    page = ModelPage(
        id="a/b",
        title='"quoted" \\ back\nnew line\ttab \x7f \u2028 ü 😀',
        description="x" * 200,
        published=date(2026, 1, 2),
        faq=(Question("a=b?", "[c]\r\n#d"),),
        best_for=tuple(Use(f"{n}" * 60, "'") for n in range(3)),
        languages=("x", ""),
    )
    assert edits.read(toml.written(page), ModelPage, param="page") == page
