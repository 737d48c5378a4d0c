"""The pages of webhooks: addresses, secrets, and the log of what was sent."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.app.process import Process
from gateway.control_plane.alerts.endpoints import ENDPOINTS_MAX
from gateway.control_plane.alerts.notices import SUBSCRIBABLE
from gateway.identifiers import new_id
from gateway.storage import tables
from testing.browsing import Browser, sign_in, squeezed
from testing.webhooks import Receiver, Reply
from tests.control_plane.conftest import rows
from tests.control_plane.pages.conftest import QUERIES_MAX, Fields, counted
from tests.control_plane.pages.console.conftest import member_of, stranger_to

PATH = "/console/webhooks"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")


@pytest.fixture
def options() -> dict[str, Any]:
    return {"webhook_private_hosts": "127.0.0.1"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


@pytest.fixture
async def owner(gateway: Process, browser: Browser) -> Browser:
    await sign_in(browser, gateway, "ada@example.org")
    return browser


async def added(owner: Browser, url: str, *types: str) -> tuple[str, str]:
    """Add a webhook; return the path of its page and its secret."""
    await owner.get(PATH)
    chosen = list(types or SUBSCRIBABLE)
    data: dict[str, Any] = {"csrf_token": owner.token, "url": url, "types": chosen}
    page = owner.page = await owner.http.post(PATH, data=data)
    assert page.status_code == 200, page.text
    secret = SECRET.search(page.text)
    there = re.search(rf"{PATH}/[0-9a-f-]{{36}}", page.text)
    assert secret
    assert there
    return there[0], secret[0]


async def tried(gateway: Process, attempts: int = 1) -> Any:
    """Wait until the one delivery was tried so often, which a job does; return its row."""
    async with asyncio.timeout(30):
        while True:
            (delivery,) = await rows(gateway, select(tables.webhook_deliveries))
            if delivery.attempts >= attempts and delivery.attempted_at:
                return delivery
            await asyncio.sleep(0.05)  # it happens in a job, and has no event


async def test_the_secret_is_shown_once_and_when_asked_for(owner: Browser, receiver: Receiver):
    path, secret = await added(owner, receiver.url)
    assert owner.page.headers["cache-control"] == "private, no-store"
    for page in (PATH, path):
        assert secret not in (await owner.get(page)).text
    assert secret in (await owner.submit(f"{path}/reveal")).text
    rotated = (await owner.submit(f"{path}/rotate")).text
    fresh = SECRET.search(rotated)
    assert fresh
    assert fresh[0] != secret
    assert "The old one ends at" in (await owner.get(path)).text
    assert fresh[0] in (await owner.submit(f"{path}/reveal")).text
    await owner.get(path)
    again = await owner.submit(f"{path}/rotate")
    assert again.status_code == 400
    assert "Rotate again after" in Fields(again).said()


async def test_a_test_event_arrives_and_stands_in_the_log(
    gateway: Process, owner: Browser, receiver: Receiver
):
    path, secret = await added(owner, receiver.url)
    receiver.answer = lambda _: Reply(202, b"<b>taken</b>")
    page = await owner.submit(f"{path}/test")
    assert "A test event is on its way" in page.text
    delivery = await tried(gateway)
    (message,) = receiver.messages
    assert message.verified(secret)["type"] == "endpoint.ping"
    page = await owner.get(path)
    for words in ("Received", "endpoint.ping", "status 202", "&lt;b&gt;taken&lt;/b&gt;"):
        assert words in page.text
    await owner.submit(f"{path}/deliveries/{delivery.id}/replay")
    assert "The event is being sent again" in owner.page.text
    first, second = await asyncio.to_thread(receiver.wait, 2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_a_failure_is_told_with_what_was_answered(
    gateway: Process, owner: Browser, receiver: Receiver
):
    path, _ = await added(owner, receiver.url)
    receiver.answer = lambda _: Reply(500, b"out of paper")
    await owner.submit(f"{path}/test")
    await tried(gateway)
    page = squeezed((await owner.get(path)).text)
    assert "Retrying" in page
    assert "status 500" in page
    assert "out of paper" in page
    assert "next try" in page
    assert "Failing" in (await owner.get(PATH)).text


async def test_it_is_changed_switched_off_and_on_and_removed(
    gateway: Process, owner: Browser, receiver: Receiver
):
    path, _ = await added(owner, receiver.url)
    page = await owner.submit(path, url=f"{receiver.url}/new", types="balance.low")
    assert "Saved." in page.text
    assert f'value="{receiver.url}/new"' in page.text
    (subscribed,) = await rows(gateway, select(tables.webhook_subscriptions))
    assert subscribed.type == "balance.low"
    page = await owner.submit(f"{path}/disable")
    assert "It is switched off" in page.text
    assert "Send a test event" not in page.text
    refused = await owner.submit(f"{path}/test")  # of a page that was open before
    assert refused.status_code == 400
    assert "This webhook is off. Switch it on first." in Fields(refused).said()
    assert "Send a test event" in (await owner.submit(f"{path}/enable")).text
    page = await owner.submit(f"{path}/remove")
    assert page.url.path == PATH
    assert receiver.url not in page.text
    assert (await owner.get(path)).status_code == 404


@pytest.mark.parametrize("reason", ["failing", "gone", "unreadable"])
async def test_it_says_why_we_switched_it_off(
    gateway: Process, owner: Browser, receiver: Receiver, reason: str
):
    path, _ = await added(owner, receiver.url)
    async with gateway.core.database.write() as connection:
        await connection.execute(
            update(tables.webhook_endpoints).values(
                disabled_reason=reason, disabled_at=tables.webhook_endpoints.c.created_at
            )
        )
    words = {
        "failing": "It failed for days",
        "gone": "It answered 410 Gone",
        "unreadable": "We can no longer read its signing secret",
    }[reason]
    page = squeezed((await owner.get(path)).text)
    assert words in page
    assert "Events that happen while it is off are not sent." in page


async def test_addresses_that_are_refused_stay_in_the_form(gateway: Process, owner: Browser):
    await owner.get(PATH)
    for typed in ("", "nonsense", "http://example.com/", "https://10.0.0.1/", "https://[::1]/"):
        with counted(gateway) as statements:
            page = await owner.submit(PATH, url=typed, types="key.expiring")
        assert len(statements) <= QUERIES_MAX
        assert page.status_code == 400, typed
        found = Fields(page)
        assert found.values["url"] == typed
        assert "webhook-problem" in found.alerts
        assert 'value="key.expiring" checked' in squeezed(page.text)
    assert not await rows(gateway, select(tables.webhook_endpoints))


async def test_events_must_be_chosen(gateway: Process, owner: Browser, receiver: Receiver):
    await owner.get(PATH)
    page = await owner.submit(PATH, url=receiver.url)
    assert page.status_code == 400
    assert "at least one" in Fields(page).said()
    assert 'aria-describedby="webhook-problem"' in page.text
    path, _ = await added(owner, receiver.url)
    page = await owner.submit(path, url=receiver.url, types="no.such")
    assert page.status_code == 400
    assert len(await rows(gateway, select(tables.webhook_subscriptions))) == len(SUBSCRIBABLE)


async def test_there_is_a_most(owner: Browser, receiver: Receiver):
    for _ in range(ENDPOINTS_MAX):
        await added(owner, receiver.url, "balance.low")
    await owner.get(PATH)
    page = await owner.submit(PATH, url=receiver.url, types="balance.low")
    assert page.status_code == 400
    assert "at most" in Fields(page).said()


async def test_others_webhooks_are_not_there(gateway: Process, owner: Browser, receiver: Receiver):
    path, secret = await added(owner, receiver.url)
    await owner.submit(f"{path}/test")
    (delivery,) = await rows(gateway, select(tables.webhook_deliveries))
    eve = await stranger_to(gateway)
    await eve.get("/console/settings")
    token = eve.token
    replay = f"deliveries/{delivery.id}/replay"
    for action in ("reveal", "rotate", "test", "enable", "disable", "remove", replay):
        answer = await eve.submit(f"{path}/{action}", csrf=token)
        assert answer.status_code == 404, action
        assert secret not in answer.text
    answer = await eve.submit(path, csrf=token, url=receiver.url, types="balance.low")
    assert answer.status_code == 404
    for there in (path, f"{PATH}/{new_id()}", f"{PATH}/nonsense"):
        assert (await eve.get(there)).status_code == 404
    assert receiver.url not in (await eve.get(PATH)).text
    # a path that is no webhook's leads nowhere
    odd = await owner.submit(
        f"{PATH}/..%2fkeys%3f/{replay}", csrf=(await owner.get(PATH), owner.token)[1]
    )
    assert odd.status_code == 404
    # hers, with the delivery of somebody else
    own, _ = await added(eve, receiver.url)
    assert (await eve.submit(f"{own}/{replay}")).status_code == 404
    await eve.close()


async def test_members_look_and_owners_change(gateway: Process, owner: Browser, receiver: Receiver):
    path, secret = await added(owner, receiver.url)
    bob = await member_of(owner, gateway, "bob@example.org")
    await owner.submit(f"{path}/test")
    await tried(gateway)
    for there in (PATH, path):
        assert receiver.url in (await owner.get(there)).text
        assert receiver.url not in (await bob.get(there)).text
    assert ">127.0.0.1</th>" in (await bob.get(PATH)).text
    page = await bob.get(path)
    assert "Only owners and developers can change webhooks" in page.text
    assert "Received" in page.text
    assert "webhook-id" not in page.text  # the log, without what was sent and answered
    assert f'action="{PATH}' not in page.text
    token = (await bob.get("/console/settings"), bob.token)[1]
    for action in ("reveal", "rotate", "test", "enable", "disable", "remove"):
        answer = await bob.submit(f"{path}/{action}", csrf=token)
        assert answer.status_code == 404, action
        assert secret not in answer.text
    for there in (PATH, path):
        answer = await bob.submit(there, csrf=token, url=receiver.url, types="balance.low")
        assert answer.status_code == 404
    await bob.close()


async def test_a_form_of_another_site_changes_nothing(owner: Browser, receiver: Receiver):
    path, secret = await added(owner, receiver.url)
    for action in ("", "/reveal", "/rotate", "/test", "/disable", "/remove"):
        answer = await owner.submit(f"{path}{action}", csrf="0" * 64)
        assert answer.status_code == 403, action
        assert secret not in answer.text
    assert (await owner.get(path)).status_code == 200


async def test_tests_replays_and_addresses_are_limited(
    gateway: Process, owner: Browser, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    path, _ = await added(owner, receiver.url)
    monkeypatch.setattr(gateway.web.message_quota, "_limit", 2)
    monkeypatch.setattr(gateway.web.address_quota, "_limit", 2)
    await owner.submit(f"{path}/test")
    delivery = await tried(gateway)
    replay = f"{path}/deliveries/{delivery.id}/replay"
    assert (await owner.submit(replay)).status_code == 200
    await asyncio.to_thread(receiver.wait, 2)
    for action in (f"{path}/test", replay):
        refused = await owner.submit(action, csrf=owner.token)
        assert refused.status_code == 429
        assert "Too many requests" in Fields(refused).said()
    changed = await owner.submit(path, url=receiver.url, types="balance.low")
    assert changed.status_code == 200
    refused = await owner.submit(path, url=receiver.url, types="balance.low")
    assert refused.status_code == 429


async def test_the_log_has_pages(gateway: Process, owner: Browser, receiver: Receiver):
    path, _ = await added(owner, receiver.url)
    for _ in range(27):
        await owner.submit(f"{path}/test")
    with counted(gateway) as statements:
        page = await owner.get(path)
    assert len(statements) <= QUERIES_MAX
    assert page.text.count("webhook-id <code>") == 25
    older = re.search(rf'href="({path}\?before=[0-9a-f-]+)"', page.text)
    assert older
    last = await owner.get(older[1])
    assert last.text.count("webhook-id <code>") == 2
    assert "Older" not in last.text
    assert (await owner.get(f"{path}?before=nonsense")).status_code == 404
