"""Pages stay quick: at most ten queries each. Their time: `python -m benchmarks.pages`."""

from gateway.app.process import Process
from testing import marketplace
from testing.browsing import Browser, sign_in_by_mail
from tests.control_plane.conftest import STELLA
from tests.control_plane.pages.conftest import QUERIES_MAX, counted


async def test_no_page_asks_the_database_more_than_ten_times(gateway: Process, browser: Browser):
    await sign_in_by_mail(browser, gateway, "ada@example.org")
    await gateway.services.outbox.deliver()
    size = marketplace.Size(
        models=60,
        votes=20,
        own_votes=5,
        requests=200,
        days=3,
        keys=3,
        shards=2,
        others=2,
        logged=60,
    )
    filled = await marketplace.fill(gateway, size)
    assert (filled["votes"], filled["requests of the visitor"]) == (25, 200)
    counts = {}
    for path in marketplace.PAGES:
        with counted(gateway) as statements:
            assert (await browser.get(path)).status_code == 200
        counts[path] = len(statements)
    assert max(counts.values()) <= QUERIES_MAX, counts
    few = {
        "/console": 7, "/console/errors": 3, "/console/keys": 7,
        "/console/requests": 5, "/console/usage?days=90": 4,
    }  # fmt: skip
    assert not {path: counts[path] for path, most in few.items() if counts[path] > most}
    assert counts["/console"] >= 1  # the counter counts


async def test_public_pages_ask_nothing_of_the_database(gateway: Process, browser: Browser):
    for path in ("/", "/models", f"/models/{STELLA}", "/compare", "/docs"):
        with counted(gateway) as statements:
            await browser.get(path)
        assert statements == []
