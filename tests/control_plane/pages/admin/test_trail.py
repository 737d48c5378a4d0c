"""The trail as operators read it: every filter is in the address, and the same as CSV."""

import csv
import io

import pytest

from gateway.app.process import Process
from gateway.control_plane.accounts import organizations
from gateway.control_plane.trail import entries
from gateway.control_plane.trail.audits import audit_trail
from gateway.control_plane.trail.entries import SYSTEM, Actor, Personal
from gateway.identifiers import new_id
from testing.browsing import Browser, squeezed
from testing.operators import sign_in_operator
from testing.tampering import tamper
from tests.control_plane.pages.conftest import QUERIES_MAX, counted

KEY = new_id()


@pytest.fixture
async def owner(browser: Browser, gateway: Process) -> str:
    return await sign_in_operator(browser, gateway, "ops@example.com", "read")


async def recorded(gateway: Process, owner: str, number: int) -> str:
    """Record what an operator, a member and a job did, so many times; return the organization."""
    async with gateway.core.database.write() as connection:
        acme = (await organizations.create(connection, "Acme & Co")).id
        for _ in range(number):
            await entries.record(
                connection,
                Actor(kind="operator", user_id=owner, origin="198.51.100.9"),
                "credit.granted",
                f"organization:{acme}",
                organization_id=acme,
                before={"available_nanos": 0, "kind": "promo"},
                after={"available_nanos": 25_000_000_000, "kind": "promo"},
                reason="=outage",
            )
            await entries.record(
                connection,
                Actor(kind="member", user_id=new_id(), origin="203.0.113.7"),
                "key.created",
                f"key:{KEY}",
                organization_id=acme,
                after={"name": Personal("<ci>")},
            )
            await entries.record(connection, SYSTEM, "key.revoked", f"key:{KEY}")
    return acme


async def shown(browser: Browser, query: str) -> list[str]:
    """The actions that a list shows, as its CSV has them."""
    answer = await browser.get(f"/admin/trail?format=csv&{query}")
    assert answer.headers["content-type"].startswith("text/csv")
    return [row["action"] for row in csv.DictReader(io.StringIO(answer.text))]


async def test_filters(browser: Browser, gateway: Process, owner: str):
    acme = await recorded(gateway, owner, 1)
    everything = ["key.revoked", "key.created", "credit.granted"]
    assert await shown(browser, "") == everything
    for query, found in {
        "actor=ops@example.com": ["credit.granted"],
        f"actor={owner}": ["credit.granted"],
        "actor=nobody@example.com": [],
        "actor=nonsense@": [],
        "kind=system": ["key.revoked"],
        "kind=nonsense": everything,
        "action=key": ["key.revoked", "key.created"],
        "action=key.created": ["key.created"],
        "action=ke": [],
        f"subject=key:{KEY}": ["key.revoked", "key.created"],
        f"organization={acme}": ["key.created", "credit.granted"],
        "organization=Acme+%26+Co": ["key.created", "credit.granted"],
        "organization=Other": [],
        "since=2026-01-01&until=9000-01-01": everything,
        "since=9000-01-01": [],
        "until=2020-01-01": [],
        "since=nonsense&until=9999-12-31": everything,
        "before=3": ["key.created", "credit.granted"],
    }.items():
        assert await shown(browser, query) == found, query


async def test_an_entry_says_all_of_it(browser: Browser, gateway: Process, owner: str):
    await recorded(gateway, owner, 1)
    page = squeezed((await browser.get("/admin/trail")).text)
    for said in (
        *("ops@example.com", "available: $0.00 → $25.00", "=outage", "198.51.100.9"),
        *("name: &lt;ci&gt;", "deleted account", "jobs", "Acme &amp; Co", "Not checked yet"),
    ):
        assert said in page
    assert "kind: promo" not in page, "what stayed the same is left out"
    table = (await browser.get("/admin/trail?format=csv")).text
    [granted] = [row for row in csv.DictReader(io.StringIO(table)) if row["kind"] == "operator"]
    assert (granted["before"], granted["after"]) == ("available: $0.00", "available: $25.00")
    assert granted["reason"] == "'=outage", "a spreadsheet would run it"


async def test_pages_follow_one_another(browser: Browser, gateway: Process, owner: str):
    await recorded(gateway, owner, 18)
    with counted(gateway) as statements:
        page = await browser.get(
            "/admin/trail?since=2026-01-01&until=9000-01-01&organization=Acme+%26+Co&actor="
        )
    assert len(statements) <= QUERIES_MAX, statements
    page = await browser.get("/admin/trail")
    assert page.text.count("<tr>") == 51
    older = await browser.get("/admin/trail?before=5")
    assert older.text.count("<tr>") == 5
    assert "Newest" in older.text
    assert 'rel="next" href="/admin/trail?before=5"' in page.text
    assert "No entries match" in (await browser.get("/admin/trail?action=no.such")).text


async def test_a_broken_chain_is_told(browser: Browser, gateway: Process, owner: str):
    await recorded(gateway, owner, 1)
    await audit_trail(gateway.core.database)
    assert "The chain holds" in (await browser.get("/admin/trail")).text
    async with gateway.core.database.write() as connection:
        await tamper(connection, "UPDATE trail_entries SET subject = 'key:x' WHERE number = 2")
    await audit_trail(gateway.core.database)
    page = squeezed((await browser.get("/admin/trail")).text)
    assert "<strong>trail-is-a-chain</strong> is broken by 2" in page


async def test_it_is_for_operators(browser: Browser):
    assert (await browser.get("/admin/trail")).status_code == 404
