"""The order of a list of models, the heads of its columns, and its pills, each as it is written."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from gateway.control_plane.catalog.content import Quality, plain
from gateway.control_plane.catalog.listings import Shelf, Shelves
from gateway.control_plane.pages.storefront import columns
from gateway.control_plane.pages.storefront.columns import COLUMNS, Measured
from gateway.control_plane.pages.storefront.pills import Pills
from gateway.control_plane.status.performance import Downtime, ModelPerformance, Performances
from gateway.snapshots import Catalog, ModelSnapshot, PriceSnapshot
from gateway.storage.database import Database

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
FACTS: dict[str, dict] = {
    "lab/Beta": {
        "state": "live", "price": PriceSnapshot("p", 8_000_000), "dimensions": (256, 1024),
        "tokens_max": 512, "license": "mit", "created": 3,
    },
    "lab/alpha": {
        "state": "coming_soon", "price": PriceSnapshot("p", 10_000_001), "dimensions": (768,),
        "tokens_max": 8_192, "license": "Apache-2.0", "created": 1,
    },
    "lab/gamma": {
        "state": "coming_soon", "price": PriceSnapshot("p", 10_000_000), "dimensions": (512,),
        "tokens_max": 256, "license": "Zlib", "created": 2,
    },
}  # fmt: skip


def quality(retrieval: float, benchmark: str = columns.BENCHMARK) -> Quality:
    read_on = NOW.date()
    return Quality(benchmark=benchmark, retrieval=retrieval, read_on=read_on, source="https://x")


@pytest.fixture
def shelf() -> Shelf:
    """What is known: of Beta all, of gamma all but what is measured; of alpha little."""
    models = [
        ModelSnapshot(id=name, dimensions_default=facts["dimensions"][0], **facts)
        for name, facts in FACTS.items()
    ]
    pages = {model.id: plain(model) for model in models}
    known = {
        "lab/Beta": {"parameters_total": 60_000_000, "quality": quality(50)},
        "lab/alpha": {"quality": quality(99, "another benchmark")},
        "lab/gamma": {"parameters_total": 50_000_000, "quality": quality(60)},
    }
    words = {name: msgspec.structs.replace(pages[name], **more) for name, more in known.items()}
    return Shelves(lambda: Catalog({model.id: model for model in models}), words)()


@pytest.fixture
def performances(tmp_path: Path) -> Performances:
    made = Performances(Database(f"sqlite:///{tmp_path}/never-opened.db"))
    made._known = {"lab/Beta": ModelPerformance(p50_ms=30)}
    return made


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("", "Beta gamma alpha"),  # live, then the most wanted
        ("newest", "Beta gamma alpha"),
        ("no-such", "Beta alpha gamma"),  # as they are
        ("name", "alpha Beta gamma"), ("-name", "gamma Beta alpha"),
        ("state", "Beta alpha gamma"), ("-state", "alpha gamma Beta"),
        ("price", "Beta gamma alpha"), ("-price", "alpha gamma Beta"),
        ("dimensions", "Beta alpha gamma"), ("-dimensions", "gamma alpha Beta"),
        ("tokens", "alpha Beta gamma"), ("-tokens", "gamma Beta alpha"),
        ("license", "alpha Beta gamma"), ("-license", "gamma Beta alpha"),
        ("votes", "Beta gamma alpha"), ("-votes", "alpha gamma Beta"),
        # what is not known is last in either direction
        ("retrieval", "gamma Beta alpha"), ("-retrieval", "Beta gamma alpha"),
        ("size", "gamma Beta alpha"), ("-size", "Beta gamma alpha"),
        ("p50", "Beta alpha gamma"), ("-p50", "Beta alpha gamma"),
    ],
)  # fmt: skip
def test_orders(shelf: Shelf, performances: Performances, sort: str, names: str):
    measured = Measured({"lab/gamma": 1}, performances)
    found = columns.ordered(shelf.listings, sort, measured)
    assert [listing.name for listing in found] == names.split()


def test_without_a_vote_models_are_as_they_are(shelf: Shelf, performances: Performances):
    assert columns.ordered(shelf.listings, "", Measured({}, performances)) == shelf.listings


def test_a_model_that_is_new_has_no_uptime_to_be_first_by(shelf: Shelf, performances: Performances):
    live = [
        msgspec.structs.replace(li, model=msgspec.structs.replace(li.model, state="live"))
        for li in shelf.listings
    ]
    outage = Downtime(NOW - timedelta(days=3), NOW - timedelta(days=2))
    old, new = NOW - timedelta(days=40), NOW - timedelta(hours=1)
    performances._known = {
        "lab/Beta": ModelPerformance(as_of=NOW, live_since=new),
        "lab/alpha": ModelPerformance(as_of=NOW, live_since=old, outages=(outage,)),
        "lab/gamma": ModelPerformance(as_of=NOW, live_since=old),
    }
    found = columns.ordered(live, "votes", Measured({}, performances))
    assert [listing.name for listing in found] == ["gamma", "alpha", "Beta"]


@pytest.mark.parametrize(
    ("sort", "slug", "leads_to", "said"),
    [
        ("", "price", "price", ""),
        ("retrieval", "price", "price", ""),
        ("price", "price", "-price", "ascending"),
        ("-price", "price", "price", "descending"),
        ("retrieval", "retrieval", "-retrieval", "descending"),
        ("-retrieval", "retrieval", "retrieval", "ascending"),
    ],
)
def test_heads(sort: str, slug: str, leads_to: str, said: str):
    query = {"q": "a b", "license": "", "sort": sort}
    found = {head.column.slug: head for head in columns.heads("/models", query, sort)}
    assert list(found) == [column.slug for column in COLUMNS]
    assert (found[slug].address, found[slug].sorted) == (f"/models?q=a+b&sort={leads_to}", said)


def test_pills_count_what_they_lead_to_and_none_leads_to_nothing(shelf: Shelf):
    found = {pill.name: pill.count for pill in Pills()(shelf)}
    assert found == {
        "All": 3, "Live": 1, "Coming soon": 2, "Long input": 1, "Small and fast": 1,
        "Matryoshka": 1, "≤ $0.01": 2,
    }  # fmt: skip
