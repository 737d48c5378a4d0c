"""What members do is recorded, and their organization reads and takes away its own trail."""

import csv
import io
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.trail import entries, reading
from gateway.control_plane.trail.entries import Actor
from gateway.control_plane.trail.reading import TrailEntry, TrailFilter
from gateway.control_plane.trail.verification import verify
from gateway.identifiers import new_id
from gateway.storage.tables import users
from testing.browsing import Browser, accept_invitation, sign_in, squeezed
from tests.control_plane.pages.conftest import QUERIES_MAX, SETTINGS, counted

ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.fixture
def options() -> dict[str, Any]:
    return {"webhook_private_hosts": "127.0.0.1"}


async def recorded(gateway: Process) -> list[TrailEntry]:
    async with gateway.core.database.read() as connection:
        return (await reading.page(connection, TrailFilter(), limit=100))[::-1]


async def newest(gateway: Process) -> tuple[str, dict[str, Any], dict[str, Any]]:
    entry = (await recorded(gateway))[-1]
    assert (entry.actor_kind, entry.actor, entry.origin) == ("member", ADA, "203.0.113.7")
    return entry.action, entry.before, entry.after


async def user_of(gateway: Process, email: str) -> str:
    async with gateway.core.database.read() as connection:
        return str(await connection.scalar(select(users.c.id).where(users.c.email == email)))


async def join(app: Litestar, gateway: Process, browser: Browser) -> Browser:
    """Have Bob join Ada's organization; return his browser, which acts for it."""
    await browser.get(SETTINGS)
    await browser.submit(f"{SETTINGS}/invite", email=BOB)
    bob = Browser(app, address="198.51.100.4")
    await accept_invitation(bob, gateway, BOB)
    return bob


async def test_keys_and_budgets(browser: Browser, gateway: Process):
    await sign_in(browser, gateway, ADA)
    await browser.get("/console/keys")
    await browser.submit("/console/keys", name="ci", budget="5")
    action, _, after = await newest(gateway)
    assert (action, after["budget_nanos"]) == ("key.created", 5 * 10**9)
    [key] = await gateway.services.keys.listed()
    await browser.get(f"/console/keys/{key.id}")
    await browser.submit(f"/console/keys/{key.id}", name="ci", budget="7")
    action, before, after = await newest(gateway)
    assert action == "key.changed"
    assert (before["budget_nanos"], after["budget_nanos"]) == (5 * 10**9, 7 * 10**9)
    await browser.get("/console/keys")
    await browser.submit(f"/console/keys/{key.id}/revoke")
    assert (await newest(gateway))[0] == "key.revoked"
    assert {entry.organization_id for entry in await recorded(gateway)} == {key.organization_id}


async def test_the_organization_and_its_members(app: Litestar, browser: Browser, gateway: Process):
    await sign_in(browser, gateway, ADA)
    await browser.get(SETTINGS)
    await browser.submit(f"{SETTINGS}/name", name=" Acme ")
    assert await newest(gateway) == ("organization.renamed", {"name": "ada"}, {"name": "Acme"})
    await browser.submit(f"{SETTINGS}/keys", integers="model", truncate="end")
    action, before, after = await newest(gateway)
    assert (action, before["truncate"], after["truncate"]) == ("key_defaults.changed", None, "end")
    await browser.submit(f"{SETTINGS}/invite", email="eve@example.com")
    assert await newest(gateway) == (
        "invitation.sent",
        {},
        {"address": "eve@example.com", "role": "member"},
    )
    await browser.get(SETTINGS)
    await browser.submit(f"{SETTINGS}/invitations/withdraw", email="eve@example.com")
    assert await newest(gateway) == ("invitation.withdrawn", {"address": "eve@example.com"}, {})

    await (await join(app, gateway, browser)).close()
    bob = await user_of(gateway, BOB)
    joined = (await recorded(gateway))[-1]
    assert (joined.action, joined.actor, joined.origin) == ("member.joined", BOB, "198.51.100.4")
    await browser.get(SETTINGS)
    await browser.submit(f"{SETTINGS}/members/{bob}/role", role="owner")
    changed = ("member.role_changed", {"role": "member"}, {"role": "owner"})
    assert await newest(gateway) == changed
    await browser.submit(f"{SETTINGS}/members/{bob}/role", role="owner")
    assert await newest(gateway) == changed, "the same role again is no change"
    await browser.submit(f"{SETTINGS}/members/{bob}/remove", revoke="yes")
    assert await newest(gateway) == ("member.removed", {"role": "owner"}, {"keys_revoked": 0})
    assert (await recorded(gateway))[-1].subject == f"user:{bob}"


async def test_alerts_and_webhooks(browser: Browser, gateway: Process):
    await sign_in(browser, gateway, ADA)
    await browser.get("/console/alerts")
    await browser.submit("/console/alerts", low="other", dollars="3", mails="balance.low")
    action, before, after = await newest(gateway)
    assert (action, before["low_nanos"], after["low_nanos"]) == ("alerts.changed", None, 3 * 10**9)

    await browser.get("/console/webhooks")
    url = "https://127.0.0.1/secret-path"
    await browser.submit("/console/webhooks", url=url, types="balance.low")
    action, _, after = await newest(gateway)
    assert (action, after) == ("webhook.created", {"host": "127.0.0.1", "types": ["balance.low"]})
    endpoint = (await recorded(gateway))[-1].subject.removeprefix("webhook:")
    page = f"/console/webhooks/{endpoint}"
    for path, action in (
        (page, "webhook.changed"),
        (f"{page}/reveal", "webhook.secret_shown"),
        (f"{page}/rotate", "webhook.secret_rotated"),
        (f"{page}/disable", "webhook.disabled"),
        (f"{page}/enable", "webhook.enabled"),
        (f"{page}/remove", "webhook.removed"),
    ):
        await browser.get(page)
        await browser.submit(path, url=url, types="key.expiring")
        assert (await newest(gateway))[0] == action
    assert "secret-path" not in str(await recorded(gateway))


async def test_the_page_and_its_export(app: Litestar, browser: Browser, gateway: Process):
    await sign_in(browser, gateway, ADA)
    await (await join(app, gateway, browser)).close()
    bob = await user_of(gateway, BOB)
    organization = (await recorded(gateway))[-1].organization_id
    async with gateway.core.database.write() as connection:
        for owner, action in ((organization, "credit.granted"), (None, "worker.drained")):
            await entries.record(
                connection,
                Actor(kind="operator", user_id=new_id(), origin="192.0.2.99"),
                action,
                f"organization:{organization}",
                organization_id=owner,
                reason="=an outage",
            )
    with counted(gateway) as statements:
        page = squeezed((await browser.get("/console/trail")).text)
    assert len(statements) <= QUERIES_MAX, statements
    for said in ("invitation.sent", BOB, "198.51.100.4", "An operator", "=an outage"):
        assert said in page
    for hidden in ("192.0.2.99", "worker.drained"):
        assert hidden not in page
    table = await browser.get("/console/trail?format=csv")
    lines = list(csv.DictReader(io.StringIO(table.text)))
    assert [line["action"] for line in lines] == [
        "credit.granted", "member.joined", "invitation.sent",
    ]  # fmt: skip
    assert (lines[0]["who"], lines[0]["network"], lines[0]["reason"]) == (
        "An operator",
        "",
        "'=an outage",
    )
    only = (await browser.get(f"/console/trail?format=csv&who={bob}&what=member")).text
    assert len(only.splitlines()) == 2
    assert "No entries match" in (await browser.get("/console/trail?what=webhook")).text


async def test_members_do_not_read_it(app: Litestar, browser: Browser, gateway: Process):
    await sign_in(browser, gateway, ADA)
    member = await join(app, gateway, browser)
    assert (await member.get("/console/trail")).status_code == 404
    assert "/console/trail" not in (await member.get("/console/usage")).text
    await member.close()


async def test_who_leaves_for_good_is_forgotten(app: Litestar, browser: Browser, gateway: Process):
    await sign_in(browser, gateway, ADA)
    bob = await join(app, gateway, browser)
    await bob.get(SETTINGS)
    exported = (await bob.get(f"{SETTINGS}/export")).json()
    assert [done["action"] for done in exported["actions"]] == ["member.joined"]
    await bob.get(SETTINGS)
    await bob.submit(f"{SETTINGS}/delete", confirm=BOB)
    await bob.close()
    done = await recorded(gateway)
    assert [entry.action for entry in done] == [
        "invitation.sent", "member.joined", "organization.closed", "member.left", "account.deleted",
    ]  # fmt: skip
    assert BOB not in str(done)
    assert "198.51.100.4" not in str(done)
    assert "(forgotten)" in (await browser.get("/console/trail")).text
    async with gateway.core.database.read() as connection:
        assert (await verify(connection)).broken == {}
