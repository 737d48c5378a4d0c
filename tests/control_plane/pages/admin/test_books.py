"""The books in the back office: what the last audit saw, and what it found broken."""

from datetime import UTC, datetime

from sqlalchemy import delete, insert, update

from gateway.app.process import Process
from gateway.control_plane.billing.audit import audit
from gateway.storage.ledger import grants
from gateway.storage.tables import accounts, audit_runs, organizations, promotion_days
from testing.browsing import Browser, squeezed
from testing.operators import sign_in_operator


async def test_what_the_last_audit_saw(browser: Browser, gateway: Process, now: datetime):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    database = gateway.core.database
    assert "No audit has run yet" in (await browser.get("/admin/books")).text
    async with database.write() as connection:
        owner = await connection.scalar(organizations.select().limit(1))
        await grants.grant(connection, owner, 7_000_000_000, kind="paid", source_ref="a")
        await connection.execute(delete(promotion_days))
        day = str(now.date())
        await connection.execute(insert(promotion_days).values(day=day, granted_nanos=2 * 10**9))
    await audit(database)
    page = squeezed((await browser.get("/admin/books")).text)
    assert '<p class="value">$7.00</p>' in page  # unearned
    assert '<p class="value">$2.00</p>' in page  # free credit today
    assert "sum to zero" in page
    assert "do not" not in page
    csv = (await browser.get("/admin/books?format=csv")).text.splitlines()
    assert csv[1].endswith(",0")

    async with database.write() as connection:
        await connection.execute(
            update(accounts).where(accounts.c.id == owner).values(available_nanos=1)
        )
    await audit(database)
    page = squeezed((await browser.get("/admin/books")).text)
    assert "do not sum to zero" in page
    assert "<strong>balance-equals-ledger</strong> has been broken since" in page


async def test_an_audit_that_did_not_run(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    await audit(gateway.core.database)
    assert "on time; the last audit was at" not in (await browser.get("/admin/books")).text
    async with gateway.core.database.write() as connection:
        long_ago = datetime(2026, 1, 1, tzinfo=UTC)
        await connection.execute(update(audit_runs).values(due_at=long_ago))
    assert "on time; the last audit was at" in (await browser.get("/admin/books")).text
