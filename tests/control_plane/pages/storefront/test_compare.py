"""The rows of a comparison: what each says of a model, and which is best."""

import re
from datetime import timedelta
from typing import Any

import msgspec

from gateway import wall
from gateway.app.process import Process
from gateway.control_plane.pages.storefront import columns, compare
from gateway.control_plane.pages.storefront.columns import Measured
from gateway.control_plane.pages.storefront.compare import ComparedRow
from gateway.control_plane.status.performance import Downtime, ModelPerformance
from testing.browsing import Browser
from tests.control_plane.conftest import MINILM, STELLA


def rows(gateway: Process, **measured: Any) -> dict[str, ComparedRow]:
    shelf = gateway.services.shelves()
    of: Any = Measured(
        measured.get("votes", {}), measured.get("performances", gateway.services.performances)
    )
    listings = [shelf.by_id[MINILM], shelf.by_id[STELLA]]
    return {row.name: row for row in compare._rows(listings, of, shelf)}


def test_each_row_says_what_is_true_of_its_model(gateway: Process):
    found = rows(gateway, votes={STELLA: 3, MINILM: 9})
    minilm, stella = (gateway.services.shelves().by_id[one] for one in (MINILM, STELLA))
    values = {name: list(row.values) for name, row in found.items()}
    assert values["State"] == ["live", "coming_soon"]
    assert values["Price per 1M tokens"] == [8_000_000, 8_000_000]
    assert values["A million inputs of 100 tokens"] == [800_000_000, 800_000_000]
    assert values["A million vectors"] == [384 * 4 * 10**6, 1024 * 4 * 10**6]
    assert values["Votes"] == [None, 3]  # what is live needs none
    assert values["Prompts"] == ["none", ", ".join(stella.model.prompts)]
    assert values["Best for"] == [one.page.best_for[0].what for one in (minilm, stella)]
    assert values["Dimensions"][0] == "384"
    assert found["A million vectors"].best == {0}
    assert found["Input tokens"].best == {
        list(values["Input tokens"]).index(max(values["Input tokens"]))
    }
    assert found["Votes"].best == frozenset()
    assert rows(gateway, votes={STELLA: 0})["Votes"].values == [None, None]


def test_the_cheapest_is_first_by_price(gateway: Process):
    shelf = gateway.services.shelves()
    prices = sorted(one.model.price.nanos_per_million_tokens for one in shelf.listings)
    rank = prices.index(8_000_000) + 1
    assert rows(gateway)["Price rank"].values == [f"{rank} of {len(prices)}"] * 2


def test_a_mean_is_of_the_one_benchmark(gateway: Process):
    shelf = gateway.services.shelves()
    stella = shelf.by_id[STELLA]
    quality = stella.page.quality
    assert quality
    for benchmark, mean in ((columns.BENCHMARK, quality.mean), ("another", None)):
        page = msgspec.structs.replace(
            stella.page, quality=msgspec.structs.replace(quality, benchmark=benchmark)
        )
        other = msgspec.structs.replace(stella, page=page)
        measured = Measured({}, gateway.services.performances)
        found = {row.name: row for row in compare._rows([other], measured, shelf)}
        assert found["Mean of all tasks"].values == [mean]


def test_what_a_page_does_not_say_is_not_known(gateway: Process):
    minilm = gateway.services.shelves().by_id[MINILM]
    measured = Measured({}, gateway.services.performances)
    best_for = minilm.page.best_for
    for languages, reasons, said in (
        ((), (), (None, None)),
        (("en", "de"), best_for, ("en, de", best_for[0].what)),
    ):
        page = msgspec.structs.replace(minilm.page, languages=languages, best_for=reasons)
        other = msgspec.structs.replace(minilm, page=page)
        rows_of = compare._rows([other], measured, gateway.services.shelves())
        found = {row.name: row.values[0] for row in rows_of}
        assert (found["Languages"], found["Best for"]) == said


def test_the_quickest_and_the_steadiest_are_best(gateway: Process):
    now = wall.now()
    outage = Downtime(now - timedelta(days=2), now - timedelta(days=1))

    class Seen:
        def of(self, model_id: str) -> ModelPerformance:
            is_first = model_id == MINILM
            return ModelPerformance(
                as_of=now, live_since=now - timedelta(days=90), p50_ms=10 if is_first else 9,
                p95_ms=20 if is_first else 21, outages=() if is_first else (outage,),
            )  # fmt: skip

    found = rows(gateway, performances=Seen())
    assert found["Latency, p50"].best == {1}
    assert found["Latency, p95"].best == {0}
    assert found["Uptime, 30 days"].best == {0}


async def test_where_nothing_is_named_nothing_is_left_out(browser: Browser):
    assert "left out" not in (await browser.get("/compare")).text


async def test_what_stands_there_is_not_suggested(gateway: Process, browser: Browser):
    page = (await browser.get(f"/compare?model={MINILM}")).text
    suggested = re.findall(r'<option value="([^"]+)"', page.partition("<datalist")[2])
    others = {listing.model.id for listing in gateway.services.shelves().listings} - {MINILM}
    assert set(suggested) == others
