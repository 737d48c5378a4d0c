"""What each role of a member sees and may do: the table of rights, held by every page."""

import pytest
from sqlalchemy import select, update

from gateway.app.process import Process
from gateway.control_plane.accounts.rights import RIGHTS, Role
from gateway.storage.tables import memberships
from testing.browsing import Browser, sign_in
from tests.control_plane.conftest import rows

_SEEN = {
    "/console/billing": "see_money",
    "/console/billing/payments": "see_money",
    "/console/ledger": "see_money",
    "/console": None,
    "/console/usage": None,
    "/console/keys": None,
    "/console/webhooks": None,
    "/console/alerts": None,
    "/console/settings": None,
}
"""Pages, and the right that each needs to be seen."""

_DONE = {
    "/console/keys": "keys",
    "/console/billing/buy": "buy",
    "/console/billing/portal": "buy",
    "/console/billing/auto-top-up": "buy",
    "/console/webhooks": "webhooks",
    "/console/alerts": "alerts",
    "/console/settings/name": "members",
    "/console/settings/keys": "members",
    "/console/settings/invite": "members",
}
"""Forms, and the right that each needs."""


@pytest.mark.parametrize("role", RIGHTS)
async def test_a_role_sees_and_does_what_it_has_a_right_to(
    browser: Browser, gateway: Process, role: Role
):
    await sign_in(browser, gateway, "ada@example.com")
    async with gateway.core.database.write() as connection:
        await connection.execute(update(memberships).values(role=role))
    for path, right in _SEEN.items():
        page = await browser.get(path)
        assert page.status_code == (200 if right is None or right in RIGHTS[role] else 404), path
        if page.status_code == 200:
            rail = page.text.partition('aria-label="Console"')[2].partition("</nav>")[0]
            assert ("/console/ledger" in rail) == ("see_money" in RIGHTS[role])
    keys = (await browser.get("/console/keys")).text
    assert ("/console/keys/new" in keys) == ("keys" in RIGHTS[role])
    for path, right in _DONE.items():
        await browser.get("/console/security")
        answer = await browser.submit(path)
        # what may be done at all is refused for what is missing in it
        assert (answer.status_code == 404) == (right not in RIGHTS[role]), path
    assert (role,) in await rows(gateway, select(memberships.c.role))
