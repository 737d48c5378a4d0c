"""The catalog's check: the files pass it, and each thing that is wrong is told."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gateway.control_plane.catalog import cards, collections, content, elsewhere, review
from gateway.control_plane.catalog.content import AtDimension, Quality, Related
from gateway.control_plane.catalog.elsewhere import ProviderOffer
from gateway.control_plane.catalog.estimates import estimate_nanos
from gateway.control_plane.catalog.listings import Shelves
from gateway.snapshots import Catalog, ModelSnapshot, PriceSnapshot
from testing.gateways import MODEL, STELLA

NOMIC = "nomic-ai/nomic-embed-text-v1.5"
GEMMA = "google/embeddinggemma-300m"
DAY = date(2026, 11, 30)


def test_the_files_pass():
    assert list(review.problems()) == []


def test_what_may_not_be_sold_is_not_listed():
    listed = {model.id for model in cards.reviewed()}
    assert len(listed) == 29
    assert GEMMA not in listed  # docs/decisions/0053-which-models.md
    for model in cards.reviewed():
        assert model.license in {"MIT", "Apache-2.0"}


def test_no_two_pages_read_alike():
    """The same sentence on two pages is a mold, but for what a family has in common."""
    pages = content.reviewed().values()
    for field in ("tagline", "description"):
        assert len({getattr(page, field) for page in pages}) == len(pages)
    paragraphs = [paragraph for page in pages for paragraph in page.about]
    assert len(set(paragraphs)) == len(paragraphs)
    answers = [item.answer for page in pages for item in page.faq]
    assert len(set(answers)) >= len(answers) - 2


PAGES: dict[str, tuple[str, dict[str, Any], str]] = {
    "license": (NOMIC, {"commercial_use": False}, "does not let us sell"),
    "faq": (NOMIC, {"faq": ()}, "faq has fewer than 3"),
    "sources": (NOMIC, {"sources": ()}, "sources has fewer than 1"),
    "itself": (NOMIC, {"related": (Related(NOMIC, "why"),)}, "not another model"),
    "a stranger": (NOMIC, {"related": (Related("no/such", "why"),)}, "not another model"),
    "downloads": (NOMIC, {"downloads_month": 1}, "no date"),
    "other versions": (
        NOMIC,
        {
            "quality": Quality(
                benchmark="MTEB English v1", mean=1.0, read_on=DAY, source="https://x"
            )
        },
        "MTEB English v1 can't stand beside",
    ),
    "shares": (
        NOMIC,
        {
            "quality": Quality(
                benchmark="MTEB English v2", mean=0.0, read_on=DAY, source="https://x"
            )
        },
        "not points",
    ),
    "chart": (NOMIC, {"by_dimension_source": None}, "no benchmark or no source"),
    "chart's dimension": (NOMIC, {"by_dimension": (AtDimension(dimensions=3),)}, "at 3 dimensions"),
    "prompt": (NOMIC, {"tagline": "Send prompt_name s2p_query."}, "the prompt s2p_query"),
    "tokens": (NOMIC, {"description": "English of up to 512 tokens"}, "says 512 tokens"),
    "dimensions": (
        NOMIC,
        {"description": "into 64 or 1024 dimensions"},
        "says ['1024'] dimensions",
    ),
    "parameters": (NOMIC, {"parameters": "1.5B"}, "does not stand for 136,731,648"),
    "address": (
        NOMIC,
        {"sources": (content.FactSource("what", "the web", DAY),)},
        "is not the address of a source",
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_is_wrong(monkeypatch: pytest.MonkeyPatch, name: str):
    model_id, change, told = PAGES[name]
    pages = dict(content.reviewed())
    pages[model_id] = structs.replace(pages[model_id], **change)
    monkeypatch.setattr(content, "reviewed", lambda: pages)
    (found,) = review.problems()
    assert found.startswith(f"{model_id}: ")
    assert told in found


CARDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "an estimate of one's own": (
        NOMIC,
        {"nanos_per_million_tokens": 8_000_000, "flex_nanos_per_million_tokens": 4_000_000},
        "is not 5000000",
    ),
    "flex": (NOMIC, {"flex_nanos_per_million_tokens": 1}, "flex is not half"),
    "live without golden vectors": (STELLA, {"state": "live"}, "no golden vectors"),
}


@pytest.mark.parametrize("name", CARDS)
def test_an_entry_that_is_wrong(monkeypatch: pytest.MonkeyPatch, name: str):
    model_id, change, told = CARDS[name]
    models = [structs.replace(m, **change) if m.id == model_id else m for m in cards.reviewed()]
    monkeypatch.setattr(cards, "reviewed", lambda: models)
    (found,) = review.problems()
    assert found.startswith(f"{model_id}: ")
    assert told in found


def test_a_model_that_nobody_wrote_about_and_a_page_of_none(monkeypatch: pytest.MonkeyPatch):
    pages = {name: page for name, page in content.reviewed().items() if name != MODEL}
    pages["no/such"] = structs.replace(pages[NOMIC], id="no/such")
    monkeypatch.setattr(content, "reviewed", lambda: pages)
    assert list(review.problems()) == [
        f"{MODEL}: nobody has written its page: content/ has no file for it",
        "no/such: content/ has a page for a model that models.toml does not name",
    ]


def test_a_field_that_is_not_known_is_refused(tmp_path: Path):
    file = next(Path(content._FOLDER).glob("bge-m3.toml"))
    (tmp_path / file.name).write_text(file.read_text() + '\ncolor = "blue"\n')
    with pytest.raises(ValueError, match="color"):
        content.read(tmp_path)


def test_an_offer_that_is_wrong(monkeypatch: pytest.MonkeyPatch):
    wrong = ProviderOffer(
        provider="P", model="m", same_as="no/such", nanos_per_million_tokens=1,
        source="hearsay", read_on=DAY,
    )  # fmt: skip
    monkeypatch.setattr(elsewhere, "offers", lambda: (wrong,))
    assert list(review.problems()) == [
        "P m: no/such is not a model of the catalog",
        "P m: hearsay is not the address of a source",
    ]


def test_estimates_rise_with_the_parameters():
    found = [
        estimate_nanos(n) for n in (1, 2 * 10**8, 4 * 10**8, 10**9, 15 * 10**8, 4 * 10**9, 10**10)
    ]
    assert found == sorted(found)
    assert estimate_nanos(435_000_000) == 8_000_000


def test_collections_are_of_facts():
    def snapshot(model: cards.ReviewedModel) -> ModelSnapshot:
        return ModelSnapshot(
            id=model.id, state=model.state, price=PriceSnapshot("p", 1), license=model.license,
            dimensions=tuple(model.dimensions), dimensions_default=model.dimensions_default,
            tokens_max=model.tokens_max,
        )  # fmt: skip

    catalog = Catalog({model.id: snapshot(model) for model in cards.reviewed()})
    shelf = Shelves(lambda: catalog, content.reviewed())()
    held = {
        one.slug: {li.model.id for li in shelf.listings if one.holds(li)}
        for one in collections.COLLECTIONS
    }
    assert all(2 <= len(found) < len(shelf.listings) for found in held.values())
    assert {"BAAI/bge-m3", "infgrad/Jasper-Token-Compression-600M"} < held["multilingual"]
    assert not {STELLA, MODEL, "Alibaba-NLP/gte-modernbert-base"} & held["multilingual"]
    assert "Alibaba-NLP/gte-modernbert-base" in held["code"] & held["long-input"]
    assert {MODEL, "MongoDB/mdbr-leaf-mt"} < held["small-and-fast"]
    assert STELLA in held["matryoshka"]
    assert collections.collection("code") is collections.COLLECTIONS[2]
    assert collections.collection("none") is None
