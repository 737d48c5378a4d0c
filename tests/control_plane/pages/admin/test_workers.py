"""Workers in the back office: pools, drain and undrain, quarantines."""

import time

import msgspec

from gateway.app.process import Process
from gateway.control_plane.workers.quarantines import QuarantineLog
from gateway.identifiers import new_id
from gateway.snapshots import WorkerChange, WorkerState
from gateway.storage.tables import worker_orders
from testing.browsing import Browser, squeezed
from testing.operators import sign_in_operator, trail_of
from testing.workers import a_view, report
from tests.control_plane.conftest import STELLA, rows

URL, OTHER = "http://10.0.0.1:8080", "http://10.0.0.2:8080"
PAGE = "/admin/workers/worker?url=http%3A%2F%2F10.0.0.1%3A8080"


async def test_the_pools_of_all_gateways(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    sick = msgspec.structs.replace(a_view(URL, WorkerState.QUARANTINED), reason="wrong vectors")
    await report(gateway.core.database, STELLA, a_view(URL), a_view(OTHER))
    await report(gateway.core.database, STELLA, sick, a_view(OTHER))
    page = squeezed((await browser.get("/admin/workers")).text)
    assert ">1 of 2</td>" in page
    assert "wrong vectors" in page
    assert "ready in 1 of 2 gateways" in page
    assert page.index(URL) < page.index(OTHER)  # what is not ready comes first


async def test_a_worker_is_drained_and_undrained(browser: Browser, gateway: Process):
    user_id = await sign_in_operator(browser, gateway, "ops@acme.example", "operator")
    await report(gateway.core.database, STELLA, a_view(URL))
    page = await browser.get(PAGE)
    assert "requests would get 503" in page.text
    done = await browser.submit(f"/admin/workers/drain?{PAGE.partition('?')[2]}", reason="new disk")
    assert "gets nothing new" in done.text
    (order,) = await rows(gateway, worker_orders.select())
    assert (order.model_id, order.url, order.wish) == (STELLA, URL, "drain")
    (entry,) = await trail_of(gateway.core.database, "worker.drained")
    assert (entry.actor_id, entry.subject) == (user_id, f"worker:{URL}")

    assert "Undrain it" in done.text
    silent = await browser.submit(f"/admin/workers/undrain?{PAGE.partition('?')[2]}")
    assert (silent.status_code, "Say why" in silent.text) == (400, True)
    await browser.submit(f"/admin/workers/undrain?{PAGE.partition('?')[2]}", reason="done")
    (order,) = await rows(gateway, worker_orders.select())
    assert order.wish == "serve"
    await browser.submit(f"/admin/workers/check?{PAGE.partition('?')[2]}", reason="sure?")
    (order,) = await rows(gateway, worker_orders.select())
    assert order.checks == 1


async def test_who_may_not_drains_nothing(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "finance")
    await report(gateway.core.database, STELLA, a_view(URL))
    page = await browser.get(PAGE)
    assert "Your role does not allow this." in page.text
    denied = await browser.submit(f"/admin/workers/drain?{PAGE.partition('?')[2]}")
    assert denied.status_code == 403
    assert await rows(gateway, worker_orders.select()) == []


async def test_what_is_not_there(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "operator")
    assert (await browser.get(PAGE)).status_code == 404
    await browser.get("/admin/workers")
    await report(gateway.core.database, STELLA, a_view(URL))
    await browser.get(PAGE)
    unknown = await browser.submit(f"/admin/workers/destroy?{PAGE.partition('?')[2]}")
    assert unknown.status_code == 404


async def test_quarantines_with_evidence(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    change = WorkerChange(time.monotonic(), WorkerState.QUARANTINED, "20 times slower")
    view = msgspec.structs.replace(a_view(URL), history=(change,), slowdown=20.0)
    await QuarantineLog(gateway.core.database, new_id()).write([(STELLA, view)])
    page = await browser.get("/admin/workers")
    assert "20.0\u00d7 slow" in page.text
    assert "20 times slower" in page.text
    csv = await browser.get("/admin/workers?format=csv")
    assert "20 times slower" in csv.text
