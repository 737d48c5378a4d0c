"""The console: one's own things, and nobody else's."""

from litestar import Litestar
from sqlalchemy import select

from gateway.app.process import Process
from gateway.storage.tables import (
    api_keys,
    users,
)
from testing.browsing import Browser, field, sign_in
from tests.control_plane.conftest import rows
from tests.control_plane.pages.console.conftest import PAGES, SECRET, use


async def test_strangers_are_led_to_the_sign_in_and_back(browser: Browser):
    for path in [*PAGES, "/console/usage.csv", "/console/settings/export"]:
        answer = await browser.get(path)
        assert answer.url.path == "/sign-in", path
        assert answer.url.params["next"] == path


async def test_the_first_run_is_three_clicks(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")  # lands on the overview
    assert "Create my first key" in browser.page.text
    assert "$0.25" in browser.page.text
    page = await browser.submit("/console/keys", name="first key")
    secret = SECRET.search(page.text)
    assert secret
    assert f"Authorization: Bearer {secret[0]}" in page.text
    assert page.headers["cache-control"] == "private, no-store"
    answer = await browser.http.get("/v1/models", headers={"authorization": f"Bearer {secret[0]}"})
    assert answer.status_code == 200
    for path in PAGES:
        assert secret[0] not in (await browser.get(path)).text


async def test_signing_in_leads_to_the_page_that_was_asked_for(gateway: Process, browser: Browser):
    asked = await browser.get("/console/usage?days=7&by=model")
    assert asked.url.path == "/sign-in"
    await sign_in(browser, gateway, "ada@example.org", next_path=field(asked.text, "next"))
    assert str(browser.page.url).endswith("/console/usage?days=7&by=model")


async def test_what_belongs_to_others_is_not_there(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="hers")
    (key,) = await rows(gateway, select(api_keys))
    await use(gateway, 1_000)
    eve = Browser(app)
    await sign_in(eve, gateway, "eve@example.org")
    (ada,) = await rows(gateway, select(users).where(users.c.email == "ada@example.org"))
    home = "/console/settings"
    await eve.get(home)
    token = eve.token
    attempts = [
        (f"/console/keys/{key.id}", {"name": "mine"}),
        (f"/console/keys/{key.id}/revoke", {}),
        (f"{home}/members/{ada.id}/role", {"role": "member"}),
        (f"{home}/members/{ada.id}/remove", {}),
        (f"{home}/organization", {"organization": key.organization_id}),
        ("/console/keys/nonsense/revoke", {}),
        (f"{home}/members/%00/remove", {}),
    ]
    for path, fields in attempts:
        answer = await eve.submit(path, csrf=token, **fields)
        assert answer.status_code == 404, path
    assert (await eve.get(f"/console/keys/{key.id}")).status_code == 404
    assert "hers" not in (await eve.get("/console/keys")).text
    assert (await eve.get(f"/console/usage?key={key.id}")).text.count("1,000") == 0
    assert key.id not in (await eve.get(f"/console/usage.csv?by=key&key={key.id}")).text
    (kept,) = await rows(gateway, select(api_keys))
    assert (kept.name, kept.revoked_at) == ("hers", None)
    await eve.close()
