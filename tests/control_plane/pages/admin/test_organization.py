"""An organization's page and its tabs: what stands there, for whom, and at what price."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from gateway.app.process import Process
from gateway.control_plane.pages.admin.sheets import SHEETS
from gateway.dates import moment_text
from gateway.storage.ledger.freezes import freeze_refused
from gateway.storage.tables import answer_hours
from testing.back_office import ADMIN, owned_organization, trail_of
from testing.browsing import Browser, sign_in, squeezed
from testing.operators import sign_in_operator
from tests.control_plane.pages.conftest import QUERIES_MAX, counted


@pytest.fixture
async def customer(gateway: Process, browser: Browser) -> str:
    """The organization of a customer who has a key; the browser is an owner of the service."""
    theirs = Browser(gateway.app, address="203.0.113.8")
    owner = await owned_organization(gateway, theirs, "ada@northwind.example")
    await theirs.get("/console/keys")
    await theirs.submit("/console/keys", name="laptop")
    await theirs.close()
    await sign_in_operator(browser, gateway, "ops@example.com", "owner")
    return owner


async def test_it_is_told_at_a_glance(browser: Browser, gateway: Process, customer: str):
    await browser.get("/admin")
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    async with gateway.core.database.write() as connection:
        for status_class, answered in ((2, 9), (5, 1)):
            await connection.execute(
                insert(answer_hours).values(
                    organization_id=customer, hour=hour, status_class=status_class, latency_ms=150,
                    answers=answered,
                )
            )  # fmt: skip
    with counted(gateway) as statements:
        page = squeezed((await browser.get(f"{ADMIN}/{customer}")).text)
    assert "150 ms" in page
    assert "1 of 10 failed" in page
    assert moment_text(hour) in page
    assert len(statements) <= QUERIES_MAX
    assert "$0.25" in page
    assert "ada@northwind.example" in page
    assert "free $0.25" in page
    assert "Active" in page


@pytest.mark.parametrize("tab", SHEETS)
async def test_each_tab_is_a_list_and_a_file(
    browser: Browser, gateway: Process, customer: str, tab: str
):
    told = {
        "lots": "signup:",
        "ledger": "grant",
        "holds": "Nothing here",
        "keys": "laptop",
        "members": "ada@northwind.example",
        "payments": "Nothing here",
        "mails": "security",
        "webhooks": "Nothing here",
        "trail": "key.created",
    }
    with counted(gateway) as statements:
        page = await browser.get(f"{ADMIN}/{customer}/{tab}")
    assert page.status_code == 200
    assert len(statements) <= QUERIES_MAX
    assert told[tab] in page.text
    file = await browser.get(f"{ADMIN}/{customer}/{tab}?format=csv")
    assert file.headers["content-type"].startswith("text/csv")
    lines = file.text.splitlines()
    assert len(lines[0].split(",")) >= 3
    assert (len(lines) > 1) == (told[tab] != "Nothing here")


@pytest.mark.parametrize("path", ["nonsense", "01a206dc-dbdd-7544-9d13-ce150f25679d"])
async def test_an_unknown_one_is_not_found(browser: Browser, customer: str, path: str):
    assert (await browser.get(f"{ADMIN}/{path}")).status_code == 404
    assert (await browser.get(f"{ADMIN}/{path}/ledger")).status_code == 404
    assert (await browser.get(f"{ADMIN}/{customer}/nonsense")).status_code == 404


async def test_nobody_else_sees_it(gateway: Process, customer: str):
    outsider = Browser(gateway.app, address="203.0.113.9")
    await sign_in(outsider, gateway, "eve@example.com")
    for path in ("", "/ledger", "/grant", "/suspend"):
        assert (await outsider.get(f"{ADMIN}/{customer}{path}")).status_code == 404
    await outsider.close()


async def test_what_the_ledger_refused_is_reviewed_and_goes_on(
    browser: Browser, gateway: Process, customer: str
):
    await freeze_refused(gateway.core.database, customer, "a constraint")
    page = await browser.get(f"{ADMIN}/{customer}")
    assert "Frozen: books" in page.text
    assert "End review" in page.text
    await browser.get(f"{ADMIN}/{customer}/unsuspend")
    page = await browser.submit(f"{ADMIN}/{customer}/unsuspend", words="its lots are mended")
    assert "Active" in page.text
    assert "End review" not in page.text
    (*_, last) = await trail_of(gateway.core.database)
    assert (last.action, last.reason) == ("account.unsuspended", "its lots are mended")


async def test_a_suspension_begins_and_ends(browser: Browser, gateway: Process, customer: str):
    await browser.get(f"{ADMIN}/{customer}/suspend")
    page = await browser.submit(f"{ADMIN}/{customer}/suspend", words="spam")
    assert "The account is suspended." in page.text
    assert "Frozen: operator" in page.text
    await browser.get(f"{ADMIN}/{customer}/unsuspend")
    page = await browser.submit(f"{ADMIN}/{customer}/unsuspend", words="cleared")
    assert "Active" in page.text
    acted = [(one.action, one.reason) for one in await trail_of(gateway.core.database)]
    assert acted[-2:] == [("account.suspended", "spam"), ("account.unsuspended", "cleared")]
    mails = [m.subject for m in await gateway.services.outbox.listed() if m.kind == "account"]
    assert mails == [
        "Your account is no longer suspended",
        "Your account was suspended, and its requests are refused",
    ]


async def test_a_key_is_limited_and_revoked(browser: Browser, gateway: Process, customer: str):
    (key,) = await gateway.services.keys.listed(customer)
    await browser.get(f"{ADMIN}/{customer}/budget?target={key.id}")
    page = await browser.submit(
        f"{ADMIN}/{customer}/budget", target=key.id, amount="5", period="total", words="leaked"
    )
    assert "limit is set" in page.text
    assert (await gateway.services.keys.budgets(customer))[key.id].limit_nanos == 5 * 10**9
    await browser.get(f"{ADMIN}/{customer}/revoke?target={key.id}")
    page = await browser.submit(f"{ADMIN}/{customer}/revoke", target=key.id, words="leaked")
    assert "The key is revoked." in page.text
    acted = [(one.action, one.subject, one.reason) for one in await trail_of(gateway.core.database)]
    assert acted[-2:] == [
        ("key.changed", f"key:{key.id}", "leaked"),
        ("key.revoked", f"key:{key.id}", "leaked"),
    ]


async def test_a_note_is_for_operators(browser: Browser, gateway: Process, customer: str):
    await browser.get(f"{ADMIN}/{customer}")
    page = await browser.submit(f"{ADMIN}/{customer}/note", words="Migrating 40M texts")
    assert "Migrating 40M texts" in page.text
    assert (await trail_of(gateway.core.database))[-1].action == "note.written"
    assert "note.written" not in (await browser.get(f"{ADMIN}/{customer}/trail")).text


async def test_a_reason_is_needed(browser: Browser, customer: str):
    await browser.get(f"{ADMIN}/{customer}/suspend")
    page = await browser.submit(f"{ADMIN}/{customer}/suspend", words=" ")
    assert page.status_code == 400
    assert "Say why" in page.text


@pytest.mark.parametrize("role", ["read", "support"])
async def test_a_role_that_may_not_is_told_so(
    browser: Browser, gateway: Process, customer: str, role
):
    await sign_in_operator(browser, gateway, "ops@example.com", role)
    page = await browser.get(f"{ADMIN}/{customer}/suspend")
    assert f"Your role, {role}, does not allow this." in page.text
    assert (await browser.submit(f"{ADMIN}/{customer}/suspend", words="x")).status_code == 403


async def test_it_may_have_more_requests_at_once(browser: Browser, gateway: Process, customer: str):
    page = await browser.get(f"{ADMIN}/{customer}")
    assert f"{ADMIN}/{customer}/requests" in page.text
    await browser.get(f"{ADMIN}/{customer}/requests")
    for amount, words in (("0", "Enter 1 to 100,000 requests"), ("many", "Enter 1 to")):
        page = await browser.submit(f"{ADMIN}/{customer}/requests", amount=amount, words="launch")
        assert (page.status_code, words in page.text) == (400, True)
    page = await browser.submit(f"{ADMIN}/{customer}/requests", amount="1,000", words="launch")
    assert "The limit is set." in page.text
    await gateway.data.organization_limits.refresh()
    lines = gateway.data.hot_path.in_flight.lines(customer)
    assert lines.startswith(b"x-ratelimit-limit-requests: 1000\r\n")
