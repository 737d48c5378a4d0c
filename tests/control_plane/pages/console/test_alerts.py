"""The page of alerts: when a balance is low, and what is mailed."""

from typing import Any

import pytest
from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.alerts.notices import OPTIONAL
from gateway.control_plane.alerts.preferences import AlertPreferences
from gateway.storage import tables
from testing.browsing import Browser, sign_in, squeezed
from tests.control_plane.conftest import rows
from tests.control_plane.pages.conftest import QUERIES_MAX, Fields, counted
from tests.control_plane.pages.console.conftest import member_of, use

PATH = "/console/alerts"


async def saved(gateway: Process) -> AlertPreferences:
    (owner,) = await rows(gateway, select(tables.organizations.c.id))
    async with gateway.core.database.read() as connection:
        return await gateway.services.preferences.read(connection, owner.id)


def ticked(page: Any) -> list[str]:
    """Return the types whose boxes are ticked."""
    parts = squeezed(page.text).split('name="mails" value="')[1:]
    return [part.partition('"')[0] for part in parts if "checked" in part.partition(">")[0]]


async def test_everything_is_mailed_until_somebody_chooses(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    page = await browser.get(PATH)
    assert ticked(page) == list(OPTIONAL)
    assert 'value="days" checked' in squeezed(page.text)
    # none, one and several boxes come as three different things
    for chosen in ([], ["balance.empty"], ["balance.low", "key.expiring"]):
        await browser.get(PATH)
        data: dict[str, Any] = {"csrf_token": browser.token, "low": "days", "mails": chosen}
        page = await browser.http.post(PATH, data=data)
        assert "Saved." in page.text
        assert ticked(page) == chosen
        assert (await saved(gateway)).mails == tuple(chosen)


async def test_a_fixed_limit_is_kept_and_shown(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get(PATH)
    page = await browser.submit(PATH, low="other", dollars="$12.5", mails="balance.low")
    assert (await saved(gateway)).low_nanos == 12_500_000_000
    assert 'value="other" checked' in squeezed(page.text)
    assert Fields(page).values["dollars"] == "12.50"
    await browser.submit(PATH, low="days", dollars="12.50", mails="balance.low")
    assert (await saved(gateway)).low_nanos is None


async def test_a_limit_that_is_none_stays_in_the_form(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get(PATH)
    for typed in ("", "0", "much", "9" * 12):
        with counted(gateway) as statements:
            page = await browser.submit(PATH, low="other", dollars=typed, mails="key.expiring")
        assert len(statements) <= QUERIES_MAX
        assert page.status_code == 400, typed
        found = Fields(page)
        assert found.blamed() == "dollars"
        assert found.values["dollars"] == typed
        assert ticked(page) == ["key.expiring"]
    assert await saved(gateway) == AlertPreferences()


async def test_types_that_do_not_exist_are_refused(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get(PATH)
    assert (await browser.submit(PATH, low="days", mails="balance.high")).status_code == 400
    assert await saved(gateway) == AlertPreferences()


async def test_it_says_how_long_the_credit_lasts(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    assert "Nothing was used in the last 7 days." in (await browser.get(PATH)).text
    await browser.submit("/console/keys", name="mine")
    await use(gateway, 875_000)  # a thousandth of a dollar a day
    assert "About 250 days of use left" in (await browser.get(PATH)).text
    assert "About 250 days of use left" in (await browser.get("/console/billing")).text
    await use(gateway, 87_500_000)  # the tenth part of a dollar
    assert "About 2 days of use left" in (await browser.get(PATH)).text
    await use(gateway, 875_000_000)
    assert "Less than a day of use is left" in (await browser.get(PATH)).text


async def test_members_look_and_owners_choose(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    bob = await member_of(browser, gateway, "bob@example.org")
    page = await bob.get(PATH)
    assert "Only owners, and members for billing, can change these" in page.text
    assert "disabled" in page.text
    assert (await bob.submit(PATH, low="days")).status_code == 404
    await browser.get(PATH)
    assert (await browser.submit(PATH, csrf="0" * 64, low="days")).status_code == 403
    await bob.close()


@pytest.mark.parametrize("low", ["never", ""])
async def test_a_rule_that_does_not_exist_is_refused(gateway: Process, browser: Browser, low: str):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get(PATH)
    assert (await browser.submit(PATH, low=low)).status_code == 400
