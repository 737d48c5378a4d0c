"""The console's forms, refused: on their own page, with what was typed and why."""

import pytest
from sqlalchemy import select

from gateway.app.process import Process
from gateway.storage.tables import api_keys, users
from testing.browsing import Browser, sign_in
from tests.control_plane.conftest import rows
from tests.control_plane.pages.conftest import QUERIES_MAX, SETTINGS, Fields, counted


@pytest.mark.parametrize("options", [{"invitations_per_hour": 1}])
async def test_the_settings(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get(SETTINGS)
    invite = {"email": "bob@nowhere"}
    for form, name, typed, status in [
        ("name", "name", {"name": " "}, 400),
        ("name", "name", {"name": "x" * 201}, 400),
        ("invite", "email", invite, 400),
        ("delete", "confirm", {"confirm": "eve@example.org"}, 400),
    ]:
        with counted(gateway) as statements:
            page = await browser.submit(f"{SETTINGS}/{form}", **typed)
        assert len(statements) <= QUERIES_MAX, form
        assert page.status_code == status, form
        found = Fields(page)
        assert found.blamed() == name
        assert found.values[name] == typed[name]
        assert list(found.alerts) == [f"{form}-problem"]
        others = {"name": "ada", "email": "", "confirm": ""}
        del others[name]
        assert {other: found.values[other] for other in others} == others
    await browser.submit(f"{SETTINGS}/invite", email="bob@example.org")
    await browser.get(SETTINGS)
    page = await browser.submit(f"{SETTINGS}/invite", email="carol@example.org")
    assert page.status_code == 429
    assert Fields(page).values["email"] == "carol@example.org"
    assert "Too many requests" in Fields(page).said()


@pytest.mark.parametrize("options", [{"organization_members_max": 1}])
async def test_nobody_is_invited_to_what_is_full(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get(SETTINGS)
    page = await browser.submit(f"{SETTINGS}/invite", email="bob@example.org")
    assert page.status_code == 400
    assert Fields(page).values["email"] == "bob@example.org"
    assert "maximum number of members" in Fields(page).said()


async def test_the_last_owner_is_told_beside_the_members(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    (ada,) = await rows(gateway, select(users))
    await browser.get(SETTINGS)
    for path, fields in [
        (f"members/{ada.id}/role", {"role": "member"}),
        (f"members/{ada.id}/remove", {}),
        ("leave", {}),
    ]:
        page = await browser.submit(f"{SETTINGS}/{path}", **fields)
        assert page.status_code == 400, path
        assert "needs an owner" in Fields(page).said()
        assert 'id="invite"' in page.text


@pytest.mark.parametrize(
    ("wrong", "blamed"),
    [({"name": " "}, "name"), ({"budget": "1e3"}, "budget"), ({"budget": "9" * 12}, "budget")],
)
async def test_a_key(gateway: Process, browser: Browser, wrong: dict[str, str], blamed: str):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/keys")
    typed = {"name": "production", "budget": "5"}
    await browser.submit("/console/keys", **typed)
    (key,) = await rows(gateway, select(api_keys))
    for path in ("/console/keys", f"/console/keys/{key.id}"):
        await browser.get(path)
        with counted(gateway) as statements:
            page = await browser.submit(path, **(typed | wrong))
        assert len(statements) <= QUERIES_MAX
        assert page.status_code == 400
        found = Fields(page)
        assert found.blamed() == blamed
        assert found.values == typed | wrong
        assert "budget-hint" in found.fields["budget"]["aria-describedby"]
