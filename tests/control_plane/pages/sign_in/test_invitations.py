"""An invitation grants a place in one organization, to whoever reads the invited mailbox."""

import pytest
from litestar import Litestar
from sqlalchemy import select

from gateway.app.process import Process
from gateway.storage.tables import memberships, organizations, users
from testing.browsing import (
    Browser,
    accept_invitation,
    field,
    mailed_link,
    sign_in,
    sign_in_by_mail,
)
from tests.control_plane.conftest import rows
from tests.control_plane.pages.conftest import SETTINGS

ADA, BOB, EVE = "ada@example.org", "bob@example.org", "eve@example.org"


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


async def invitation(gateway: Process, owner: Browser, email: str) -> str:
    """Have an owner invite somebody; return the link's path."""
    await owner.get(SETTINGS)
    await owner.submit(f"{SETTINGS}/invite", email=email)
    return await mailed_link(gateway, email)


async def members_of(gateway: Process, name: str) -> dict[str, str]:
    """The addresses of an organization's members, and their roles."""
    query = (
        select(users.c.email, memberships.c.role)
        .join(memberships, memberships.c.user_id == users.c.id)
        .join(organizations, organizations.c.id == memberships.c.organization_id)
        .where(organizations.c.name == name)
    )
    return {row.email: row.role for row in await rows(gateway, query)}


async def test_it_signs_nobody_in(gateway: Process, browser: Browser, app: Litestar):
    await sign_in(browser, gateway, ADA)
    bob = Browser(app)
    await sign_in(bob, gateway, BOB)
    path = await invitation(gateway, browser, BOB)

    mallory = Browser(app, address="203.0.113.66")  # the mail was forwarded to them
    page = await mallory.get(path)
    assert "This invitation is for <strong>bob@example.org</strong>" in page.text
    sent = await mallory.submit("/sign-in/invitation", token=field(page.text, "token"))
    assert "Check your email" in sent.text
    assert (await mallory.get("/console")).url.path == "/sign-in"
    assert await members_of(gateway, "ada") == {ADA: "owner"}

    # Bob's sign-in link, which went to Bob, leads back to the invitation
    opened = Browser(app)
    await opened.get(await mailed_link(gateway, BOB))
    await opened.submit("/sign-in/link", token=field(opened.page.text, "token"))
    assert "Joining as <strong>bob@example.org</strong>" in opened.page.text
    await opened.submit("/sign-in/invitation", token=field(opened.page.text, "token"))
    assert '<p class="eyebrow">ada</p>' in opened.page.text
    assert await members_of(gateway, "ada") == {ADA: "owner", BOB: "member"}
    assert (await bob.get(path)).status_code == 400  # it works once
    for visitor in (bob, mallory, opened):
        await visitor.close()


async def test_somebody_else_who_is_signed_in_does_not_join(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in(browser, gateway, ADA)
    path = await invitation(gateway, browser, BOB)
    eve = Browser(app)
    await sign_in(eve, gateway, EVE, next_path=path)
    sent = await eve.submit("/sign-in/invitation", token=field(eve.page.text, "token"))
    assert "Check your email" in sent.text
    assert await members_of(gateway, "ada") == {ADA: "owner"}
    assert '<p class="eyebrow">eve</p>' in (await eve.get("/console")).text
    await eve.close()


@pytest.mark.sqlite
async def test_the_link_of_an_older_mail_leads_to_the_same_page(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in_by_mail(browser, gateway, ADA)
    _, _, token = (await invitation(gateway, browser, BOB)).partition("token=")
    bob = Browser(app)
    page = await bob.get(f"/sign-in/link?purpose=invitation&token={token}")
    assert "Join ada" in page.text
    await bob.close()


@pytest.mark.sqlite
@pytest.mark.parametrize("options", [{"sign_ins_per_hour": 2}])
async def test_it_mails_no_more_than_signing_in_does(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in(browser, gateway, ADA)
    path = await invitation(gateway, browser, BOB)
    mallory = Browser(app, address="203.0.113.66")
    statuses = []
    for _ in range(3):
        page = await mallory.get(path)
        answer = await mallory.submit("/sign-in/invitation", token=field(page.text, "token"))
        statuses.append(answer.status_code)
    assert statuses == [200, 200, 429]
    await mallory.close()


@pytest.mark.parametrize("ends", ["removed", "demoted", "left", "deleted"])
async def test_it_ends_with_the_right_of_who_made_it(
    gateway: Process, browser: Browser, app: Litestar, ends: str
):
    await sign_in(browser, gateway, ADA)
    await invitation(gateway, browser, BOB)
    bob = Browser(app)
    await accept_invitation(bob, gateway, BOB)
    query = select(users.c.id).where(users.c.email == BOB)
    ((user_id,),) = await rows(gateway, query)
    await browser.get(SETTINGS)
    await browser.submit(f"{SETTINGS}/members/{user_id}/role", role="owner")
    his = await invitation(gateway, bob, EVE)
    hers = await invitation(gateway, browser, "carol@example.org")
    await browser.get(SETTINGS)
    await bob.get(SETTINGS)
    match ends:
        case "removed":
            await browser.submit(f"{SETTINGS}/members/{user_id}/remove")
        case "demoted":
            await browser.submit(f"{SETTINGS}/members/{user_id}/role", role="developer")
        case "left":
            await bob.submit(f"{SETTINGS}/leave")
        case "deleted":
            await bob.submit(f"{SETTINGS}/delete", confirm=BOB)
    assert BOB not in await members_of(gateway, "ada") or ends == "demoted"
    eve = Browser(app)
    await sign_in(eve, gateway, EVE)
    assert (await eve.get(his)).status_code == 400
    assert "Join ada" in (await eve.get(hers)).text
    assert EVE not in (await browser.get(SETTINGS)).text
    for visitor in (bob, eve):
        await visitor.close()
