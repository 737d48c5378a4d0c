"""What an intruder would do first is told to the people who can undo it."""

from collections.abc import AsyncIterator

import pytest
from litestar import Litestar
from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.mail.outbox import SentMail
from gateway.storage.tables import users
from testing.browsing import Browser, accept_invitation, sign_in_by_mail
from tests.control_plane.pages.conftest import SETTINGS

ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.fixture
async def bob(app: Litestar, browser: Browser, gateway: Process) -> AsyncIterator[Browser]:
    """A member of Ada's organization."""
    await sign_in_by_mail(browser, gateway, ADA)
    await browser.get(SETTINGS)
    await browser.submit(f"{SETTINGS}/invite", email=BOB)
    opened = Browser(app)
    await accept_invitation(opened, gateway, BOB)
    yield opened
    await opened.close()


async def told(gateway: Process) -> dict[str, SentMail]:
    """The mails about security, by recipient."""
    return {m.recipient: m for m in await gateway.services.outbox.listed() if m.kind == "security"}


async def test_a_new_key_is_told_to_the_owners_and_its_maker(bob: Browser, gateway: Process):
    await bob.get("/console/keys")
    await bob.submit("/console/keys", name="see evil.example/now")
    [key] = await gateway.services.keys.listed()
    mails = await told(gateway)
    assert mails.keys() == {ADA, BOB}
    text = mails[ADA].text
    assert f"{BOB} created the API key see evil example now (it ends with {key.last_four})" in text
    assert "Wasn't it you" in text
    assert "/console/keys" in text


@pytest.mark.usefixtures("bob")
async def test_a_new_owner_is_told_to_all_owners(browser: Browser, gateway: Process):
    async with gateway.core.database.read() as connection:
        user_id = await connection.scalar(select(users.c.id).where(users.c.email == BOB))
    await browser.get(SETTINGS)
    await browser.submit(f"{SETTINGS}/members/{user_id}/role", role="owner")
    mails = await told(gateway)
    assert mails.keys() == {ADA, BOB}
    assert f"{ADA} made {BOB} an owner of the organization ada" in mails[ADA].text
    for role in ("owner", "member"):
        await browser.get(SETTINGS)
        await browser.submit(f"{SETTINGS}/members/{user_id}/role", role=role)
    newest = {mail.id for mail in (await told(gateway)).values()}
    assert newest == {mail.id for mail in mails.values()}, "the same role, or less, is no news"
