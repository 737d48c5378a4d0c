"""What search engines read of a model, and that it is true."""

from datetime import date

import msgspec
import pytest

from gateway.app.process import Process
from gateway.control_plane.pages.storefront.structured_data import structured_data
from tests.control_plane.conftest import MINILM, STELLA

URL = "https://g.example"


@pytest.mark.parametrize(("model_id", "stock"), [(MINILM, "InStock"), (STELLA, "PreOrder")])
def test_a_model_is_described_as_it_is(gateway: Process, model_id: str, stock: str):
    listing = gateway.services.shelves().by_id[model_id]
    application, crumbs, questions = structured_data(URL, listing)
    author = model_id.partition("/")[0]
    assert application["url"] == f"{URL}/models/{model_id}"
    assert application["offers"]["availability"] == f"https://schema.org/{stock}"
    assert application["offers"]["price"] == "0.008"
    assert [(one["position"], one["item"]) for one in crumbs["itemListElement"]] == [
        (1, f"{URL}/models"),
        (2, f"{URL}/models/{author}"),
        (3, f"{URL}/models/{model_id}"),
    ]
    assert len(questions["mainEntity"]) == len(listing.page.faq)


def test_what_a_page_does_not_say_is_not_said(gateway: Process):
    listing = gateway.services.shelves().by_id[MINILM]
    written = {"license_url": "https://license.example", "published": date(2024, 2, 1), "faq": ()}
    for without in ({}, {"license_url": None}, {"published": None}):
        page = msgspec.structs.replace(listing.page, **written | without)
        application, *rest = structured_data(URL, msgspec.structs.replace(listing, page=page))
        assert application.get("license") == page.license_url
        assert application.get("datePublished") == (
            None if without == {"published": None} else "2024-02-01"
        )
        assert len(rest) == 1
