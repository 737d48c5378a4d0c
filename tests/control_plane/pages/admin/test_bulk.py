"""Bulk actions: shown before they are done, with one entry of the trail for each line."""

from datetime import UTC, datetime
from typing import Any

import httpx
from sqlalchemy import insert, select

from gateway.app.process import Process
from gateway.identifiers import new_id
from gateway.storage.tables import api_keys, organizations, outbox, stripe_events, trail_entries
from testing.browsing import Browser, field, squeezed
from testing.operators import sign_in_operator
from tests.control_plane.conftest import rows
from tests.control_plane.pages.conftest import Fields

NOW = datetime.now(UTC)


async def send(browser: Browser, path: str, **fields: Any) -> httpx.Response:
    """Send a form whose fields may have many values."""
    browser.page = await browser.http.post(path, data={"csrf_token": browser.token, **fields})
    return browser.page


async def trail(gateway: Process, action: str) -> list[str]:
    query = select(trail_entries.c.subject).where(trail_entries.c.action == action)
    return [row.subject for row in await rows(gateway, query.order_by(trail_entries.c.number))]


async def keys(gateway: Process, count: int) -> list[str]:
    (owner,) = await rows(gateway, select(organizations.c.id))
    return [(await gateway.services.keys.create(owner.id, f"k{n}")).key.id for n in range(count)]


async def test_keys_are_shown_once_more_then_revoked_each_with_an_entry(
    browser: Browser, gateway: Process
):
    await sign_in_operator(browser, gateway, "ops@example.com", "support")
    ids = await keys(gateway, 3)
    await gateway.services.keys.revoke(ids[0])
    await browser.get("/admin/keys")
    page = await send(browser, "/admin/bulk", action="revoke-keys", ids=ids, back="/admin/keys?a=1")
    assert "Revoke 2 keys" in squeezed(page.text)
    assert "It is already revoked." in page.text
    assert await trail(gateway, "key.revoked") == []
    assert f'value="{ids[0]}"' not in page.text

    refused = await send(browser, "/admin/bulk/do", action="revoke-keys", ids=ids, reason=" ")
    assert (refused.status_code, Fields(refused).blamed()) == (400, "reason")
    assert Fields(refused).said().strip() == "Say why, in 1 to 500 characters."
    assert "Revoke 2 keys" in squeezed(refused.text)
    page = await send(browser, "/admin/bulk/do", action="revoke-keys", ids=ids[1:], reason="leaked")
    assert "Done for 2 keys" in squeezed(page.text)
    assert await trail(gateway, "key.revoked") == [f"key:{one}" for one in ids[1:]]
    left = select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None))
    assert await rows(gateway, left) == []


async def test_mails_and_events_are_sent_and_routed_again(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@example.com", "support")
    ids = [new_id(), new_id()]
    async with gateway.core.database.write() as connection:
        for mail_id, reason in zip(ids, ("refused", "unsubscribed before it left"), strict=True):
            await connection.execute(
                insert(outbox).values(
                    id=mail_id, ref=mail_id, kind="launch", recipient="a@example.com",
                    subject="Live", text="t", html="", unsubscribe_url="", state="failed",
                    attempts=1, created_at=NOW, due_at=NOW, give_up_at=NOW, reason=reason,
                )
            )  # fmt: skip
        await connection.execute(
            insert(stripe_events).values(
                id="evt_1", type="charge.updated", object_id="ch_1", created_at=NOW,
                received_at=NOW, due_at=None, attempts=1,
            )
        )  # fmt: skip
    await browser.get("/admin/mail")
    page = await send(browser, "/admin/bulk", action="resend-mails", ids=ids)
    assert "Its recipient has unsubscribed." in page.text
    page = await send(browser, "/admin/bulk/do", action="resend-mails", ids=ids, reason="up again")
    assert "Done for 1 mail" in squeezed(page.text)
    assert "its recipient has unsubscribed" in page.text
    assert await trail(gateway, "mail.resent") == [f"mail:{ids[0]}"]

    await browser.get("/admin/events")
    page = await send(browser, "/admin/bulk", action="replay-events", ids="evt_1")
    assert "Replay 1 event" in squeezed(page.text)
    await send(browser, "/admin/bulk/do", action="replay-events", ids="evt_1", reason="again")
    assert await trail(gateway, "event.replayed") == ["event:evt_1"]


async def test_it_leads_back_to_the_list_as_it_was(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@example.com", "support")
    (one,) = await keys(gateway, 1)
    sent = {"action": "revoke-keys", "ids": one}
    await browser.get("/admin/keys?state=in_use")
    browser.http.headers["referer"] = "http://127.0.0.1:8080/admin/keys?state=in_use"
    await send(browser, "/admin/bulk", **sent)
    assert field(browser.page.text, "back") == "/admin/keys?state=in_use"
    for given, back in (
        ("/admin/keys?state=in_use", "/admin/keys?state=in_use"),
        ("https://evil.example/admin/", "/admin/keys"),
        ("//evil.example/admin/", "/admin/keys"),
        ("/console/keys", "/admin/keys"),
        ("/admin/../x\\y", "/admin/keys"),
    ):
        page = await send(browser, "/admin/bulk", **sent, back=given)
        assert f'<a class="button" href="{back}">' in page.text
    await send(browser, "/admin/bulk/do", **sent, back="/admin/keys?a=1", reason="leaked")
    assert '<a class="button" href="/admin/keys?a=1">' in browser.page.text


async def test_who_only_reads_sees_and_does_nothing(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@example.com", "read")
    ids = await keys(gateway, 1)
    await browser.get("/admin/keys")
    page = await send(browser, "/admin/bulk", action="revoke-keys", ids=ids)
    assert "Your role does not allow this." in page.text
    refused = await send(browser, "/admin/bulk/do", action="revoke-keys", ids=ids, reason="why")
    assert refused.status_code == 403
    assert await trail(gateway, "key.revoked") == []


async def test_too_many_none_and_no_such_action(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@example.com", "support")
    await browser.get("/admin/keys?ends=none")
    token = {"csrf_token": browser.token}
    for ids in ([], [new_id() for _ in range(501)]):
        data = {**token, "action": "revoke-keys", "ids": ids}
        for path in ("/admin/bulk", "/admin/bulk/do"):
            page = await browser.http.post(path, data={**data, "reason": "why"})
            assert page.status_code == 400
            assert Fields(page).said().strip() == "Select from 1 to 500 lines."
    data = {**token, "action": "grant-credit", "ids": new_id()}
    assert (await browser.http.post("/admin/bulk", data=data)).status_code == 404
