"""The sign-in's forms, refused: on their own page, with what was typed and why."""

import pytest
from litestar import Litestar

from gateway.app.process import Process
from testing.browsing import Browser, field, mailed_link, sign_in, sign_in_by_mail
from tests.control_plane.pages.conftest import SETTINGS, Fields


@pytest.mark.parametrize("options", [{"sign_ins_per_hour": 1}])
async def test_signing_in(browser: Browser):
    await browser.get("/sign-in")
    page = await browser.submit("/sign-in", email="ada@nowhere", next="/models")
    assert page.status_code == 400
    assert Fields(page).blamed() == "email"
    page = await browser.submit("/sign-in", email="ada@example.org", next="/models")
    assert page.status_code == 429
    assert Fields(page).values == {"email": "ada@example.org"}
    assert "Too many requests" in Fields(page).said()
    assert 'name="next" value="/models"' in page.text


@pytest.mark.parametrize("options", [{"organization_members_max": 2}])
async def test_the_button_of_a_link(gateway: Process, browser: Browser, app: Litestar):
    await sign_in_by_mail(browser, gateway, "ada@example.org")
    guests = [Browser(app), Browser(app)]
    for guest in guests:
        await browser.get(SETTINGS)
        email = f"guest-{guests.index(guest)}@example.org"
        await browser.submit(f"{SETTINGS}/invite", email=email)
        await sign_in(guest, gateway, email, next_path=await mailed_link(gateway, email))
    tokens = [field(guest.page.text, "token") for guest in guests]
    await guests[0].submit("/sign-in/invitation", token=tokens[0])
    assert guests[0].page.url.path == "/console"

    refused = await guests[1].submit("/sign-in/invitation", token=tokens[1])
    assert refused.status_code == 400
    assert "at most 2 members" in Fields(refused).said()
    assert field(refused.text, "token") == tokens[1]  # it is not used up by that
    again = await guests[0].get("/sign-in/invitation?token=" + tokens[0])
    assert again.status_code == 400
    spent = await guests[1].submit("/sign-in/invitation", token=tokens[0])
    assert spent.status_code == 400
    assert "The person who invited you can send another" in spent.text
    for guest in guests:
        await guest.close()
