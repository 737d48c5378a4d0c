"""Launches in the back office: a preview, going live, a pause, and who may."""

import pytest
from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.catalog import golden
from gateway.control_plane.demand import launch_progress, waitlist
from gateway.storage.tables import launches, models, outbox, trail_entries
from testing.browsing import Browser, squeezed
from testing.operators import sign_in_operator
from tests.control_plane.conftest import STELLA, rows

PAGE = f"/admin/launches/{STELLA}"


@pytest.fixture
async def wanted(gateway: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that two people wait for, with a ready worker whose revision is pinned."""
    async with gateway.core.database.write() as connection:
        await golden.pin(connection, STELLA, "pinned", [])
        for name in ("ada@one.example", "bob@two.example"):
            await waitlist.join(connection, STELLA, Address(name), None)

    async def ready(_connection: object, _model_id: str) -> set[str]:
        return {"pinned"}

    monkeypatch.setattr(launch_progress, "ready_revisions", ready)


@pytest.mark.usefixtures("wanted")
async def test_a_launch_is_checked_and_done_and_paused(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "operator")
    preview = await browser.get(f"{PAGE}?price=0.009")
    assert "Launch at $0.009, mail 2 people" in squeezed(preview.text)
    assert "ada@one.example" in preview.text
    assert "is live. You asked us to let you know" in preview.text

    refused = await browser.submit(PAGE, price="0.009", flex="1", reason="x")
    assert refused.status_code == 400
    assert "can&#39;t cost more" in refused.text

    page = await browser.submit(PAGE, price="0.009", reason="214 people wait")
    assert page.status_code == 200
    assert "Mailing" in page.text
    (state,) = await rows(gateway, select(models.c.state).where(models.c.id == STELLA))
    assert state.state == "live"
    again = await browser.submit(PAGE, price="0.009", reason="x")
    assert "already live" in again.text

    refused = await browser.submit(f"{PAGE}/pause", reason="")
    assert (refused.status_code, "Say why" in refused.text) == (400, True)
    page = await browser.submit(f"{PAGE}/pause", reason="a typo in the mail")
    assert "Paused" in page.text
    await gateway.services.launches.announce()
    assert await rows(gateway, select(outbox).where(outbox.c.kind == "launch")) == []
    await browser.submit(f"{PAGE}/resume", reason="mended")
    (launch,) = await rows(gateway, select(launches))
    assert launch.paused_at is None
    trail = await rows(gateway, select(trail_entries).order_by(trail_entries.c.number))
    told = [e.action for e in trail if e.subject == f"model:{STELLA}"]
    assert told == ["model.launched", "launch.paused", "launch.resumed"]
    listed = await browser.get("/admin/launches")
    assert f'href="{PAGE}"' in listed.text


@pytest.mark.usefixtures("wanted")
@pytest.mark.parametrize("role", ["read", "support", "finance"])
async def test_other_roles_see_it_and_do_nothing(browser: Browser, gateway: Process, role):
    await sign_in_operator(browser, gateway, "ops@acme.example", role)
    page = await browser.get(PAGE)
    assert "can't launch a model" in page.text
    assert (await browser.submit(PAGE)).status_code == 403
    assert await rows(gateway, select(launches)) == []


async def test_what_is_missing_is_said(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "operator")
    page = await browser.get(PAGE)
    assert "no worker is ready" in page.text
    refused = await browser.submit(PAGE, reason="x")
    assert (refused.status_code, "no ready worker" in refused.text) == (400, True)
