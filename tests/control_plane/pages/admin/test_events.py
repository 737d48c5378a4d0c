"""The webhook inbox in the back office: what Stripe told, and another reading of one."""

from datetime import timedelta

import pytest

from gateway.app.process import Process
from gateway.control_plane.pages.admin import events as events_page
from gateway.control_plane.payments import stored_events
from testing.browsing import Browser
from testing.operators import sign_in_operator, trail_of
from tests.control_plane.back_office.test_events import an_event


async def test_an_event_that_was_given_up_is_replayed(
    browser: Browser, gateway: Process, monkeypatch: pytest.MonkeyPatch
):
    user_id = await sign_in_operator(browser, gateway, "ops@acme.example", "support")
    database = gateway.core.database
    await stored_events.put(database, an_event(1))
    monkeypatch.setattr(stored_events, "_GIVE_UP", timedelta(0))
    async with database.write() as connection:
        await stored_events.put_off(connection, "evt_1", "Stripe did not answer")
    listed = await browser.get("/admin/events?state=given_up")
    assert 'href="/admin/events/evt_1"' in listed.text
    assert "Stripe did not answer" in listed.text
    await browser.get("/admin/events/evt_1")
    done = await browser.submit("/admin/events/evt_1/replay", reason="Stripe is back")
    assert "It will be routed in a moment" in done.text
    assert "waiting" in done.text
    (entry,) = await trail_of(database, "event.replayed")
    assert (entry.actor_id, entry.subject) == (user_id, "event:evt_1")


async def test_who_only_reads_replays_nothing(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    await stored_events.put(gateway.core.database, an_event(1))
    page = await browser.get("/admin/events/evt_1")
    assert "Your role does not allow this." in page.text
    assert (await browser.submit("/admin/events/evt_1/replay")).status_code == 403


async def test_pages_filters_and_csv(
    browser: Browser, gateway: Process, monkeypatch: pytest.MonkeyPatch
):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    for number in range(3):
        await stored_events.put(gateway.core.database, an_event(number))
    monkeypatch.setattr(events_page, "ROWS", 2)
    first = await browser.get("/admin/events?about=pi_1")
    assert "evt_2" in first.text
    assert "evt_0" not in first.text
    older = first.text.partition("before=")[2].partition('"')[0]
    second = await browser.get(f"/admin/events?about=pi_1&before={older}")
    assert "evt_0" in second.text
    assert "evt_2" not in second.text
    csv = await browser.get("/admin/events?format=csv&about=ch_1")
    assert [line.split(",")[0] for line in csv.text.splitlines()] == ["id", "evt_1"]
    assert (await browser.get("/admin/events/nonsense")).status_code == 404
