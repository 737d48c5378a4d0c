"""Sessions under requests that overtake one another: none makes an old cookie good again."""

from sqlalchemy import select

from gateway.app.process import Process
from gateway.storage.tables import sessions
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
