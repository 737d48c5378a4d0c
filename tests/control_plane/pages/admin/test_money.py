"""Grants and takings in the browser: filled in, checked, posted once, recorded and mailed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from gateway.app.process import Process
from gateway.control_plane.billing import credit
from gateway.storage.tables import sessions
from testing.back_office import (
    ADMIN,
    check,
    ledger_of_organization,
    owned_organization,
    post,
    trail_of,
)
from testing.browsing import Browser, field, squeezed
from testing.operators import sign_in_operator

WHY = {"cause": "outage", "words": "Slow answers", "ticket": "4831"}
GRANT: dict[str, str] = {"amount": "50", "kind": "promo", "expires_days": "90", **WHY}


@pytest.fixture
async def customer(gateway: Process) -> AsyncIterator[str]:
    """The organization of a customer, with its welcome credit of 25 cents."""
    browser = Browser(gateway.app, address="203.0.113.8")
    yield await owned_organization(gateway, browser, "ada@northwind.example")
    await browser.close()


async def balance_of(gateway: Process, organization_id: str) -> credit.Balance:
    async with gateway.core.database.read() as connection:
        return await credit.balance(connection, organization_id)


async def test_a_grant_is_checked_posted_recorded_and_mailed(
    browser: Browser, gateway: Process, customer: str
):
    ops = await sign_in_operator(browser, gateway, "ops@example.com", "finance")
    path = f"{ADMIN}/{customer}/grant"
    checked = squeezed((await check(browser, path, **GRANT)).text)
    assert "+$50.00" in checked
    assert "Post +$50.00" in checked
    assert "from <code>promo_expense</code> \N{MINUS SIGN}$50.00" in checked
    assert "One email to ada@northwind.example" in checked
    assert "You&#39;re getting this email because you own the organization" in checked
    assert "This is not above it" in checked
    # nothing was done yet
    assert (await balance_of(gateway, customer)).available_nanos == 250_000_000

    done = await post(browser, path, **GRANT)
    assert "The credit is granted." in done.text
    assert (await balance_of(gateway, customer)).available_nanos == 50_250_000_000
    entries = await ledger_of_organization(gateway.core.database, customer)
    assert entries[-1] == ("grant", 50 * 10**9, "promo_expense")
    (entry,) = await trail_of(gateway.core.database)
    assert entry[:3] == (ops, "credit.granted", f"organization:{customer}")
    assert (entry.before["balance_nanos"], entry.after["balance_nanos"]) == (
        250_000_000,
        50_250_000_000,
    )
    assert entry.reason == "outage: Slow answers (4831)"
    mails = [m for m in await gateway.services.outbox.listed() if m.kind == "account"]
    assert [(m.recipient, m.subject) for m in mails] == [
        ("ada@northwind.example", "You received $50.00 of free credit; it expires in 90 days")
    ]


async def test_a_form_that_is_sent_twice_is_done_once(
    browser: Browser, gateway: Process, customer: str
):
    await sign_in_operator(browser, gateway, "ops@example.com", "finance")
    path = f"{ADMIN}/{customer}/grant"
    await check(browser, path, **GRANT)
    checked = browser.page
    await post(browser, path, **GRANT)
    browser.page = checked
    assert "nothing changed" in (await post(browser, path, **GRANT)).text
    assert (await balance_of(gateway, customer)).available_nanos == 50_250_000_000
    assert len(await trail_of(gateway.core.database)) == 1


async def test_an_account_that_changed_is_checked_again(
    browser: Browser, gateway: Process, customer: str
):
    await sign_in_operator(browser, gateway, "ops@example.com", "finance")
    path = f"{ADMIN}/{customer}/grant"
    await check(browser, path, **GRANT)
    async with gateway.core.database.write() as connection:
        await credit.grant(connection, customer, 10**9)
    again = await post(browser, path, **GRANT)
    assert "Someone acted on this account" in again.text
    assert (await balance_of(gateway, customer)).available_nanos == 1_250_000_000
    assert "The credit is granted." in (await post(browser, path, **GRANT)).text


async def test_a_refused_form_keeps_what_was_typed(
    browser: Browser, gateway: Process, customer: str
):
    await sign_in_operator(browser, gateway, "ops@example.com", "finance")
    path = f"{ADMIN}/{customer}/grant"
    page = await check(browser, path, **GRANT | {"amount": "much"})
    assert page.status_code == 400
    assert "is not an amount" in page.text
    assert "Slow answers" in page.text
    page = await check(browser, path, **GRANT | {"words": " "})
    assert "Say why" in page.text


async def test_credit_is_taken_back_from_its_lot(browser: Browser, gateway: Process, customer: str):
    ops = await sign_in_operator(browser, gateway, "ops@example.com", "owner")
    (lot,) = (await balance_of(gateway, customer)).lots
    fields = {"amount": "0.1", "lot": lot.id, **WHY}
    path = f"{ADMIN}/{customer}/take?lot={lot.id}"
    assert "Post \N{MINUS SIGN}$0.10" in squeezed((await check(browser, path, **fields)).text)
    assert "taken back" in (await post(browser, path, **fields)).text
    (entry,) = await trail_of(gateway.core.database)
    assert (entry.actor, entry.action) == (ops, "credit.taken")
    assert (await balance_of(gateway, customer)).available_nanos == 150_000_000
    page = await check(browser, path, **fields | {"amount": "9"})
    assert "is left of this grant" in page.text


async def test_a_grant_is_undone_from_its_line(browser: Browser, gateway: Process, customer: str):
    await sign_in_operator(browser, gateway, "ops@example.com", "finance")
    await check(browser, f"{ADMIN}/{customer}/grant", **GRANT)
    await post(browser, f"{ADMIN}/{customer}/grant", **GRANT)
    ledger = await browser.get(f"{ADMIN}/{customer}/ledger")
    entry = ledger.text.partition("undo?entry=")[2].partition('"')[0]  # the newest line
    path = f"{ADMIN}/{customer}/undo?entry={entry}"
    checked = squeezed((await check(browser, path, entry=entry, **WHY)).text)
    assert "grant: <strong>+$50.00</strong>" in checked
    assert "<code>takeback</code> \N{MINUS SIGN}$50.00" in checked
    assert "$50.00 of credit was taken back: organization" in checked  # the mail, whole
    assert (await balance_of(gateway, customer)).available_nanos == 50_250_000_000
    done = await post(browser, path, entry=entry, **WHY)
    assert "reversed by another one" in done.text
    assert (await balance_of(gateway, customer)).available_nanos == 250_000_000
    again = await check(browser, path, entry=entry, **WHY)
    assert (again.status_code, "already undone" in again.text) == (400, True)


@pytest.mark.parametrize("role", ["read", "support", "operator"])
async def test_who_may_not_move_money_sees_why(
    browser: Browser, gateway: Process, customer: str, role: Any
):
    await sign_in_operator(browser, gateway, "ops@example.com", role)
    path = f"{ADMIN}/{customer}/grant"
    page = await browser.get(path)
    assert f"Your role, {role}, does not allow this." in page.text
    refused = await check(browser, path, **GRANT)
    assert refused.status_code == 403
    assert (await balance_of(gateway, customer)).available_nanos == 250_000_000
    assert await trail_of(gateway.core.database) == []


async def test_an_old_proof_moves_nothing(browser: Browser, gateway: Process, customer: str):
    await sign_in_operator(browser, gateway, "ops@example.com", "finance")
    path = f"{ADMIN}/{customer}/grant"
    await browser.get(path)
    form = field(browser.page.text, "form")
    await _proved(gateway, timedelta(minutes=11))
    asked = await browser.submit(path, form=form, step="check", **GRANT)
    assert asked.status_code == 401
    assert "Confirm once more" in asked.text
    await browser.get(path)
    await _proved(gateway, timedelta(minutes=9))
    again = await browser.submit(path, form=form, step="check", **GRANT)
    assert "Post +$50.00" in squeezed(again.text)


async def _proved(gateway: Process, ago: timedelta) -> None:
    """Let every session's proof and sign-in be this long ago."""
    then = datetime.now(UTC) - ago
    async with gateway.core.database.write() as connection:
        await connection.execute(update(sessions).values(verified_at=then, created_at=then))
