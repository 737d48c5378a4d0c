"""A person in the console: votes, sessions, and the data held about them."""

import re
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import select, update

from gateway.app.process import Process
from gateway.control_plane.mail import unsubscribe
from gateway.storage.tables import (
    api_keys,
    metadata,
    models,
    users,
)
from testing.browsing import Browser, sign_in, sign_in_by_mail
from tests.control_plane.conftest import STELLA, rows
from tests.control_plane.pages.console.conftest import SECRET


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


async def test_signing_out_everywhere_ends_a_session_that_was_left_behind(
    gateway: Process, browser: Browser, app: Litestar
):
    laptop, eve = Browser(app), Browser(app)
    await sign_in(laptop, gateway, "ada@example.org")
    await sign_in(eve, gateway, "eve@example.org")
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/sessions/end")
    for signed_out in (browser, laptop):
        assert "/sign-in" in str((await signed_out.get("/console")).url)
    assert (await eve.get("/console")).url.path == "/console"
    await laptop.close()
    await eve.close()


async def test_what_is_live_is_waited_for_no_more(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    for path in ("/vote", "/waitlist"):
        await browser.get(f"/models/{STELLA}")
        await browser.submit(path, model=STELLA, email="ada@example.org")
    page = (await browser.get("/console/votes")).text
    assert "We'll email you when these launch" in page
    assert "Leave the waitlist" in page
    assert "Withdraw" in page
    assert "Live now" not in page
    async with gateway.core.database.write() as connection:
        await connection.execute(update(models).where(models.c.id == STELLA).values(state="live"))
    await gateway.core.catalog.refresh()
    page = (await browser.get("/console/votes")).text
    assert "We'll email you when these launch" not in page
    assert "Leave the waitlist" not in page
    assert "Withdraw" not in page
    live = page.partition("Live now")[2]
    assert live.count(f'href="/models/{STELLA}"') == 1


async def test_ones_data_is_given_and_forgotten(gateway: Process, browser: Browser):
    await sign_in_by_mail(browser, gateway, "ada@example.org", next_path=f"/models/{STELLA}")
    await browser.submit("/vote", model=STELLA, use_case="search")
    await browser.get("/console")
    secret = SECRET.search((await browser.submit("/console/keys", name="k")).text)
    held: dict[str, Any] = (await browser.get("/console/settings/export")).json()
    assert held["email"] == "ada@example.org"
    assert held["votes"][0]["use_case"] == "search"
    assert held["free_credit"] == "granted"
    assert [mail["kind"] for mail in held["mails"]] == ["sign_in", "security"]
    assert len(held["sessions"]) == 1
    async with gateway.core.database.write() as connection:
        await unsubscribe.add(connection, "ada@example.org")
    await browser.get("/console/settings")
    wrong = await browser.submit("/console/settings/delete", confirm="eve@example.org")
    assert wrong.status_code == 400
    await browser.get("/console/settings")
    await browser.submit("/console/settings/delete", confirm="ada@example.org")
    assert "Your account is deleted" in browser.page.text
    assert "Sign out" not in browser.page.text
    (user,) = await rows(gateway, select(users))
    assert (user.email, user.address_key) == (None, None)
    for table in metadata.sorted_tables:  # nowhere, under no name
        left = await rows(gateway, select(table))
        # as a word of its own: an id in hexadecimal may well have these letters in it
        assert not [row for row in left if re.search(r"\bada\b", str(row))], table.name
    (key,) = await rows(gateway, select(api_keys))
    assert key.revoked_at is not None
    assert secret
    await sign_in(browser, gateway, "ada@example.org")  # may come back, without a second credit
    assert "$0.00" in browser.page.text
