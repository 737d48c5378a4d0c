"""Sessions under requests that overtake one another: none makes an old cookie good again."""

from sqlalchemy import select, update

from gateway.app.process import Process
from gateway.control_plane.accounts import memberships, organizations
from gateway.control_plane.billing import credit
from gateway.storage.tables import accounts, sessions
from testing.browsing import Browser, sign_in
from tests.control_plane.conftest import rows


async def test_a_late_request_takes_back_nothing_that_a_newer_cookie_has_shown(
    browser: Browser, gateway: Process
):
    await sign_in(browser, gateway, "ada@example.com")
    (session,) = await rows(gateway, select(sessions))
    for generation in (3, 2):
        await gateway.services.sessions._see(session.id, generation)
    (session,) = await rows(gateway, select(sessions))
    assert session.seen == 3


async def test_of_two_requests_that_rotate_at_once_one_gets_a_cookie(
    browser: Browser, gateway: Process
):
    await sign_in(browser, gateway, "ada@example.com")
    (session,) = await rows(gateway, select(sessions))
    made = gateway.services.sessions
    read = await made.read(session.id, session.generation)
    assert read is not None
    asked = (read[0], session.generation, session.expires_at)
    assert await made._rotate(*asked)
    assert await made._rotate(*asked) is None
    (rotated,) = await rows(gateway, select(sessions))
    assert rotated.generation == session.generation + 1


async def test_a_visitor_comes_with_what_every_page_shows_of_their_organization(
    browser: Browser, gateway: Process
):
    await sign_in(browser, gateway, "ada@example.com")
    (session,) = await rows(gateway, select(sessions))
    read = await gateway.services.sessions.read(session.id, session.generation)
    assert read is not None
    assert (read[0].organizations, read[0].available_nanos) == (1, 250_000_000)
    async with gateway.core.database.write() as connection:
        await connection.execute(update(accounts).values(owed_nanos=100_000_000))
        balance = await credit.balance(connection, session.organization_id)
        await memberships.add(
            connection,
            session.user_id,
            (await organizations.create(connection, "second")).id,
            "member",
        )
    read = await gateway.services.sessions.read(session.id, session.generation)
    assert read is not None
    assert read[0].organizations == 2
    assert read[0].available_nanos == balance.available_nanos == 150_000_000
