"""The ledger's page: the amount before the reference, and the balance after each entry."""

import re

import pytest
from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.billing import credit
from gateway.storage.tables import organizations
from testing.browsing import Browser, sign_in
from tests.control_plane.conftest import rows

_ROW = re.compile(r'"Amount">(.*?)</td>.*?"Balance after">(.*?)</td>', re.DOTALL)


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


async def test_each_entry_has_the_balance_after_it(
    gateway: Process, browser: Browser, monkeypatch: pytest.MonkeyPatch
):
    await sign_in(browser, gateway, "ada@example.org")
    ((owner,),) = await rows(gateway, select(organizations.c.id))
    async with gateway.core.database.write() as connection:
        for n in range(1, 60):
            await credit.grant(connection, owner, n * 1_000, source_ref=f"t:{n}")
        lot = await connection.scalar(select(credit.credit_lots.c.id).limit(1))
        await credit.take(connection, owner, str(lot), 7, reason="a mistake")
    page = (await browser.get("/console/ledger")).text
    assert page.index("Amount</th>") < page.index("Reference</th>")
    lines = _ROW.findall(page)
    assert lines[0] == ("−$0.000000007", "$0.251769993")  # noqa: RUF001
    assert lines[1] == ("+$0.000059000", "$0.251770000")
    assert len(lines) == 50
    older = re.search(r'href="(/console/ledger\?before=\d+)"', page)
    assert older
    lines = _ROW.findall((await browser.get(older[1])).text)
    assert lines[-1] == ("+$0.250000", "$0.250000")  # the welcome credit, and nothing before it
    assert lines[0] == ("+$0.000010", "$0.250055")
    monkeypatch.setattr(credit, "NEWER_MAX", 3)
    page = (await browser.get(older[1])).text
    assert "Balance after" not in page
    assert "Balances are shown only for the newest 3 entries." in page


@pytest.mark.sqlite
async def test_a_reference_is_short_and_copied_whole(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    page = (await browser.get("/console/ledger")).text
    ((owner,),) = await rows(gateway, select(organizations.c.id))
    async with gateway.core.database.read() as connection:
        (entry,) = await credit.ledger(connection, owner)
    assert f">…{entry.ref[-8:]}</span>" in page
    assert f'id="ref-{entry.id}">{entry.ref}</span>' in page
    assert f'data-copy="ref-{entry.id}"' in page
