"""Orders that wait: asked for in one browser, decided in another, and mailed once they are done."""

from collections.abc import AsyncIterator

import pytest

from gateway.app.process import Process
from gateway.control_plane.billing import credit
from testing.back_office import ADMIN, check, owned_organization, post, trail_of
from testing.browsing import Browser, squeezed
from testing.operators import sign_in_operator
from tests.control_plane.pages.conftest import QUERIES_MAX, counted

LARGE = {
    "amount": "150", "kind": "paid", "expires_days": "", "cause": "contract", "words": "Invoice 7",
}  # fmt: skip
APPROVALS = "/admin/approvals"


@pytest.fixture
async def customer(gateway: Process) -> str:
    theirs = Browser(gateway.app, address="203.0.113.8")
    owner = await owned_organization(gateway, theirs, "ada@northwind.example")
    await theirs.close()
    return owner


@pytest.fixture
async def second(gateway: Process) -> AsyncIterator[Browser]:
    """The browser of another operator, an owner."""
    opened = Browser(gateway.app, address="203.0.113.9")
    await sign_in_operator(opened, gateway, "bo@example.com", "owner")
    yield opened
    await opened.close()


async def ordered(browser: Browser, gateway: Process, customer: str, role="finance") -> str:
    """Order more than one operator may grant, and return the order's id."""
    await sign_in_operator(browser, gateway, "mia@example.com", role)
    path = f"{ADMIN}/{customer}/grant"
    checked = squeezed((await check(browser, path, **LARGE)).text)
    assert "This needs a second operator." in checked
    assert "Ask to post +$150.00" in checked
    done = await post(browser, path, **LARGE)
    assert "It is waiting for a second operator" in done.text
    assert "Waiting for approval" in done.text
    requested = (await trail_of(gateway.core.database))[-1]
    assert requested.action == "approval.requested"
    return requested.subject.removeprefix("approval:")


async def dollars(gateway: Process, customer: str) -> int:
    async with gateway.core.database.read() as connection:
        return (await credit.balance(connection, customer)).available_nanos // 10**9


async def test_a_second_operator_approves(
    browser: Browser, gateway: Process, customer: str, second: Browser
):
    order_id = await ordered(browser, gateway, customer)
    assert await dollars(gateway, customer) == 0
    page = squeezed((await browser.get(APPROVALS)).text)
    assert "Your role, finance, does not allow this." in page
    assert (await browser.submit(f"{APPROVALS}/{order_id}/approve")).status_code == 403
    with counted(gateway) as statements:
        page = squeezed((await second.get(APPROVALS)).text)
    assert len(statements) <= QUERIES_MAX
    assert "Grant $150.00 (paid)" in page
    assert "contract: Invoice 7" in page
    page = await second.submit(f"{APPROVALS}/{order_id}/approve")
    assert "Nothing is waiting for approval." in page.text
    assert await dollars(gateway, customer) == 150
    subjects = [m.subject for m in await gateway.services.outbox.listed() if m.kind == "account"]
    assert subjects == ["You received $150.00 of credit"]


async def test_ones_own_can_not_be_approved_but_taken_back(
    browser: Browser, gateway: Process, customer: str, second: Browser
):
    assert second
    order_id = await ordered(browser, gateway, customer, "owner")
    assert (
        "You ordered this, so someone else must approve it." in (await browser.get(APPROVALS)).text
    )
    assert (await browser.submit(f"{APPROVALS}/{order_id}/approve")).status_code == 403
    await browser.get(APPROVALS)
    page = await browser.submit(f"{APPROVALS}/{order_id}/reject", words="typed wrong")
    assert "Nothing is waiting for approval." in page.text
    assert await dollars(gateway, customer) == 0


async def test_with_a_single_operator_it_says_when_it_is_done(
    browser: Browser, gateway: Process, customer: str
):
    await sign_in_operator(browser, gateway, "mia@example.com", "owner")
    checked = await check(browser, f"{ADMIN}/{customer}/grant", **LARGE)
    assert "it is carried out in 24 hours" in squeezed(checked.text)


async def test_the_list_is_a_file_too(browser: Browser, gateway: Process, customer: str):
    await ordered(browser, gateway, customer)
    file = await browser.get(f"{APPROVALS}?format=csv")
    assert file.headers["content-type"].startswith("text/csv")
    assert "Grant $150.00 (paid)" in file.text
