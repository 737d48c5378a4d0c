"""New keys: one click for the first, a small form for others, and the first call with one."""

import re
from typing import Any

import pytest
from sqlalchemy import insert, select

from gateway import wall
from gateway.app.process import Process
from gateway.control_plane.pages.console.new_keys import LOOKS_MAX, LOOKS_OFTEN
from gateway.data_plane.metering.port import Charge
from gateway.identifiers import new_id
from gateway.storage.tables import api_keys, request_log
from testing.browsing import Browser, sign_in, squeezed
from testing.gateways import settled
from tests.control_plane.conftest import MINILM, rows
from tests.control_plane.pages.conftest import Fields
from tests.control_plane.pages.console.conftest import member_of, sent


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


@pytest.mark.sqlite
async def test_the_first_key_is_one_click_wherever_keys_are_asked_for(
    gateway: Process, browser: Browser
):
    await sign_in(browser, gateway, "ada@example.org")
    for path in ("/console", "/console/keys"):
        assert "Create my first key" in (await browser.get(path)).text
    reader = await member_of(browser, gateway, "bob@example.org")
    (bob,) = [m for m in re.findall(r"members/([0-9a-f-]{36})/role", (
        await browser.get("/console/settings")).text) if m][:1] or [""]  # fmt: skip
    await browser.submit(f"/console/settings/members/{bob}/role", role="read_only")
    assert "Create my first key" not in (await reader.get("/console/keys")).text
    assert "Ask an owner" in reader.page.text
    await reader.close()
    await browser.get("/console/keys")
    await browser.submit("/console/keys", name="first key")
    page = (await browser.get("/console/keys")).text
    assert "Create my first key" not in page
    assert 'href="/console/keys/new"' in page
    assert set(Fields(await browser.get("/console/keys/new")).fields) == {"name", "budget"}


@pytest.mark.sqlite
async def test_a_refused_form_opens_the_options_that_are_not_as_they_were(
    gateway: Process, browser: Browser
):
    await sign_in(browser, gateway, "ada@example.org")
    assert '<details class="more" >' in (await browser.get("/console/keys/new")).text
    page = await browser.submit("/console/keys", name="k", budget="1e3")
    assert '<details class="more" open>' in page.text
    assert Fields(page).blamed() == "budget"


async def test_a_page_waits_for_the_first_call_and_shows_it(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    page = (await browser.submit("/console/keys", name="first key")).text
    (key,) = await rows(gateway, select(api_keys))
    path = f"/console/keys/{key.id}/first-call"
    assert f'hx-get="{path}?look=1" hx-trigger="load delay:2s"' in page
    await browser.get("/console/keys/new")
    assert "first-call" not in (await browser.submit("/console/keys", name="second")).text
    line = (await browser.get(f"{path}?look=1", headers={"hx-request": "true"})).text
    assert "Waiting for your first call" in line
    assert "<html" not in line
    assert "look=2" in line
    assert (await browser.get(path)).text.count("Check again") == 1  # without a script
    often = (await browser.get(f"{path}?look={LOOKS_OFTEN}")).text
    assert "delay:10s" in often
    assert "hx-get" not in (await browser.get(f"{path}?look={LOOKS_MAX}")).text
    assert (await browser.get(f"{path}?look={LOOKS_MAX + 1}")).status_code == 400
    charge = Charge(
        request_id=new_id(), organization_id=key.organization_id, key_id=key.id,
        model_id=MINILM, price_id=new_id(), inputs=1, tokens=5, cost_nanos=40,
    )  # fmt: skip
    await gateway.data.credit.reserve(charge)
    await gateway.data.credit.settle(charge)
    await settled(gateway)
    done = (await browser.get(path, headers={"hx-request": "true"})).text
    assert "Your first call: 200</strong>, 5 tokens, $0.00000004." in done
    assert "hx-get" not in done
    assert (await browser.get(f"/console/keys/{new_id()}/first-call")).status_code == 404


async def test_while_a_page_waits_it_tells_what_the_last_call_got(
    gateway: Process, browser: Browser
):
    await sign_in(browser, gateway, "ada@example.org")
    for name in ("first key", "second"):
        await browser.submit("/console/keys", name=name)
    first, second = await rows(gateway, select(api_keys).order_by(api_keys.c.name))
    path = f"/console/keys/{first.id}/first-call"

    async def refuse(key: Any, request_id: str, status: int, code: str) -> None:
        async with gateway.core.database.write() as connection:
            await connection.execute(
                insert(request_log).values(
                    organization_id=key.organization_id, request_id=request_id, key_id=key.id,
                    model_id="", created_at=wall.now(), status=status, code=code, latency_ms=3,
                    missed=0,
                )
            )  # fmt: skip

    async def line(query: str = "") -> str:
        answer = await browser.get(f"{path}?{query}", headers={"hx-request": "true"})
        return squeezed(answer.text)

    await refuse(second, new_id(), 429, "too_many_requests")
    await refuse(first, new_id(), 200, "")
    waiting = await line()
    assert "Waiting for your first call…" in waiting
    assert "A call that got a <a" in waiting  # a 401 is nobody's
    assert "role=" not in waiting
    await refuse(first, new_id(), 400, "invalid_input")
    newest = new_id()
    await refuse(first, newest, 404, "model_not_found")
    told = await line("look=3")
    assert "Your last call: 404</strong> <code>model_not_found</code>, not charged." in told
    assert "<code>GET /v1/models</code>" in told
    assert f'href="/console/requests/{newest}">See this request</a>' in told
    assert "Waiting for your first successful call" in told
    assert f'first-call?look=4&amp;seen={newest}" hx-trigger="load delay:2s"' in told
    assert 'role="status"' in told
    assert "role=" not in await line(f"look=4&seen={newest}")  # it is announced once
    assert "A call that got" not in told
    assert "See this request" in (await browser.get(path)).text  # without a script


@pytest.mark.sqlite
async def test_a_key_is_revoked_on_a_page_of_its_own(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="old worker")
    (key,) = await rows(gateway, select(api_keys))
    page = (await browser.get("/console/keys")).text
    assert 'Revoke<span class="visually-hidden"> key old worker</span>' in page
    assert 'Change<span class="visually-hidden"> key old worker</span>' in page
    page = (await browser.get(f"/console/keys/{key.id}/revoke")).text
    assert "Revoke old worker?" in page
    assert '<a class="button" href="/console/keys">Cancel</a>' in page
    answer = await sent(browser, f"/console/keys/{key.id}/revoke")
    assert answer.headers["location"] == "/console/keys"
    assert (await browser.get(f"/console/keys/{key.id}/revoke")).status_code == 404
