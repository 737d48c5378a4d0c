"""What an intruder would do first is told to the people who can undo it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from litestar import Litestar
from sqlalchemy import insert, select

from gateway.app.process import Process
from gateway.control_plane.accounts import organizations, security_mails
from gateway.control_plane.mail.outbox import SentMail
from gateway.identifiers import new_id
from gateway.storage.tables import memberships, users
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
async def test_a_key_of_an_operator_is_told_to_the_oldest_owners_alone(
    gateway: Process, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(security_mails, "OWNERS_MAX", 2)
    database = gateway.core.database
    async with database.read() as connection:
        here = await connection.scalar(select(memberships.c.organization_id))
    async with database.write() as connection:
        there = await organizations.create(connection, "elsewhere")
        now = datetime.now(UTC)
        for name, organization, role, days in (
            ("first", here, "owner", 9), ("younger", here, "owner", -9),
            ("member", here, "member", 9), ("stranger", there.id, "owner", 9),
        ):  # fmt: skip
            user_id = new_id()
            await connection.execute(
                insert(users).values(
                    id=user_id, email=f"{name}@example.com", created_at=now, welcome="given"
                )
            )
            await connection.execute(
                insert(memberships).values(
                    organization_id=organization, user_id=user_id, role=role,
                    created_at=now - timedelta(days=days),
                )
            )  # fmt: skip
        await gateway.services.security_mails.key_made(
            connection, here, name="laptop", last_four="abcd", user_id=None
        )
    mails = await told(gateway)
    assert mails.keys() == {"first@example.com", ADA}
    assert "An operator created the API key laptop (it ends with abcd)" in mails[ADA].text


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
