"""View as: an operator sees the console as a customer does, is told so, and changes nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from gateway.app.process import Process
from gateway.storage.tables import operator_views
from testing.back_office import ADMIN, owned_organization, trail_of
from testing.browsing import Browser
from testing.operators import sign_in_operator
from tests.control_plane.conftest import STELLA


@pytest.fixture
async def customer(gateway: Process) -> str:
    theirs = Browser(gateway.app, address="203.0.113.8")
    owner = await owned_organization(gateway, theirs, "ada@northwind.example")
    await theirs.get("/console/keys")
    await theirs.submit("/console/keys", name="laptop")
    await theirs.close()
    return owner


async def view(browser: Browser, customer: str):
    await browser.get(f"{ADMIN}/{customer}")
    return await browser.submit(f"{ADMIN}/{customer}/view")


async def test_it_shows_what_the_customer_sees_and_is_recorded(
    browser: Browser, gateway: Process, customer: str
):
    ops = await sign_in_operator(browser, gateway, "ops@example.com", "support")
    page = await view(browser, customer)
    assert page.url.path == "/console"
    assert "You are viewing this as" in page.text
    assert "laptop" in (await browser.get("/console/keys")).text
    entry = (await trail_of(gateway.core.database))[-1]
    assert entry[:3] == (ops, "organization.viewed", f"organization:{customer}")

    page = await browser.submit("/console/view/end")
    assert page.url.path == f"{ADMIN}/{customer}"
    assert (await trail_of(gateway.core.database))[-1].action == "view.ended"
    assert "laptop" not in (await browser.get("/console/keys")).text


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/console/keys", {"name": "mine"}),
        ("/console/billing/buy", {"amount": "25"}),
        ("/console/settings/leave", {}),
        (f"/playground/{STELLA}", {"text": "hello"}),
    ],
)
async def test_nothing_can_be_made_or_spent(
    browser: Browser, gateway: Process, customer: str, path: str, fields: dict[str, str]
):
    await sign_in_operator(browser, gateway, "ops@example.com", "owner")
    await view(browser, customer)
    before = await gateway.services.keys.listed()
    refused = await browser.submit(path, **fields)
    assert refused.status_code == 403
    assert "so nothing was done" in refused.text
    assert await gateway.services.keys.listed() == before


async def test_it_ends_by_itself_and_with_the_role(
    browser: Browser, gateway: Process, customer: str
):
    await sign_in_operator(browser, gateway, "ops@example.com", "owner")
    await view(browser, customer)
    async with gateway.core.database.write() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(operator_views).values(ends_at=past))
    page = await browser.get("/console/keys")
    assert "You are viewing this as" not in page.text
    assert "laptop" not in page.text


async def test_a_role_without_support_can_not(browser: Browser, gateway: Process, customer: str):
    await sign_in_operator(browser, gateway, "ops@example.com", "read")
    assert (await view(browser, customer)).status_code == 403
    assert "You are viewing this as" not in (await browser.get("/console")).text
