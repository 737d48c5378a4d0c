"""Traffic in the back office: from sums, live from reports."""

from datetime import datetime, timedelta

from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.status import traffic
from gateway.storage.tables import organizations
from testing.browsing import Browser, squeezed
from testing.operators import sign_in_operator
from testing.workers import a_view, report
from tests.control_plane.conftest import STELLA, rows
from tests.control_plane.status.test_traffic import answer, use

LIVE = {"hx-request": "true"}


async def test_sums_of_the_service(browser: Browser, gateway: Process, hour: datetime):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    database = gateway.core.database
    page = squeezed((await browser.get("/admin/traffic")).text)
    assert "No traffic in this period" in page
    (owner,) = await rows(gateway, select(organizations.c.id))
    await use(database, owner.id, hour, 200_000_000, STELLA)
    await use(database, owner.id, hour - timedelta(hours=24), 100_000_000, STELLA)
    await answer(database, hour, 2, 399)
    await answer(database, hour, 5, 1)
    await traffic.sum_up(database)
    await traffic.rank(database)
    page = squeezed((await browser.get("/admin/traffic?hours=24")).text)
    assert '<p class="value">$2.00</p>' in page
    assert "+100% than before" in page
    assert '<p class="value">0.25%</p>' in page
    assert '<p class="value">50 ms</p>' in page
    assert f'href="/admin/organizations/{owner.id}"' in page
    assert f'href="/models/{STELLA}"' in page
    csv = (await browser.get("/admin/traffic?hours=72&format=csv")).text.splitlines()
    assert csv[-1].endswith(",1,2,200000000,2000000000,399,0,1")
    assert len(csv) == 3


async def test_what_is_live(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    await report(gateway.core.database, STELLA, a_view("http://a:1"))
    part = squeezed((await browser.get("/admin/traffic", headers=LIVE)).text)
    assert "512 tokens in flight" in part
    assert "1 of 1 worker ready" in part
    assert "<html" not in part
