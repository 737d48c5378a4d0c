"""Sessions by browser and network, an authenticator app, and proofs before what is dangerous."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.web.verification import FRESH
from gateway.storage.tables import trail_entries
from testing.browsing import Browser, field, sign_in
from testing.enrolling import Phone, grow_old
from testing.operators import sign_in_operator
from tests.control_plane.conftest import rows

ADA = "ada@example.com"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
LONG_AGO = timedelta(hours=1)


async def set_up_app(browser: Browser) -> Phone:
    page = await browser.get("/console/security/app")
    phone = Phone(page.text)
    sealed = field(page.text, "sealed")
    refused = await browser.submit("/console/security/app", sealed=sealed, factor_code="000000")
    assert refused.status_code == 400
    assert Phone(refused.text).code() == Phone(page.text).code()  # the same secret again
    await browser.submit("/console/security/app", sealed=sealed, factor_code=phone.code())
    assert "Set up on" in browser.page.text
    return phone


async def test_each_session_is_told_by_browser_and_network_and_ended(gateway: Process):
    here = Browser(gateway.app)
    there = Browser(gateway.app, address="198.51.100.4")
    there.http.headers["user-agent"] = FIREFOX
    await sign_in(here, gateway, ADA)
    await sign_in(there, gateway, ADA)
    page = await here.get("/console/security")
    assert "198.51.100.4" in page.text
    assert "Firefox on Linux" in page.text
    assert page.text.count("(this one)") == 1

    others = [
        part.partition("/end")[0]
        for part in page.text.split('action="/console/security/sessions/')[1:]
    ]
    mine = [one for one in others if one in page.text.partition("(this one)")[2][:2000]]
    (other,) = set(others) - set(mine[:1])
    stranger = Browser(gateway.app)
    await sign_in(stranger, gateway, "mallory@example.com")
    await stranger.get("/console/security")
    refused = await stranger.submit(f"/console/security/sessions/{other}/end")
    assert refused.status_code == 404
    assert (await there.get("/console")).url.path == "/console"

    await here.submit(f"/console/security/sessions/{other}/end")
    assert (await there.get("/console")).url.path == "/sign-in"
    assert (await here.get("/console")).url.path == "/console"
    for one in (here, there, stranger):
        await one.close()


async def test_an_old_session_proves_itself_and_loses_nothing(browser: Browser, gateway: Process):
    await sign_in(browser, gateway, ADA)
    phone = await set_up_app(browser)
    await grow_old(gateway, ADA, created_at=datetime.now(UTC) - LONG_AGO)
    await browser.get("/console/settings")
    asked = await browser.submit("/console/settings/delete", confirm=ADA)
    assert asked.status_code == 401
    assert "What you typed is kept" in asked.text

    kept = {"factor_next": "/console/settings/delete", "factor_resend": "yes", "confirm": ADA}
    wrong = await browser.submit("/sign-in/verify", factor_code="000000", **kept)
    assert "not the code" in wrong.text
    assert f'name="confirm" value="{ADA}"' in wrong.text
    done = await browser.submit("/sign-in/verify", factor_code=phone.code(), **kept)
    assert "Your account is deleted" in done.text


async def test_a_person_without_a_factor_signs_in_anew(browser: Browser, gateway: Process):
    await sign_in(browser, gateway, ADA)
    await grow_old(gateway, ADA, created_at=datetime.now(UTC) - FRESH)
    await browser.get("/console/settings")
    asked = await browser.submit("/console/settings/delete", confirm=ADA)
    assert asked.status_code == 401
    assert "factor_code" not in asked.text
    assert "Email me a link" in asked.text

    await browser.http.post("/sign-out", headers={"sec-fetch-site": "same-origin"})
    await sign_in(browser, gateway, ADA)
    await browser.get("/console/settings")
    done = await browser.submit("/console/settings/delete", confirm=ADA)
    assert "Your account is deleted" in done.text


async def test_changes_of_factors_are_in_the_trail(browser: Browser, gateway: Process):
    await sign_in(browser, gateway, ADA)
    await set_up_app(browser)
    await browser.submit("/console/security/app/remove")
    query = select(trail_entries.c.action).where(trail_entries.c.action.like("sign_in_method.%"))
    found = [row.action for row in await rows(gateway, query)]
    assert found == ["sign_in_method.added", "sign_in_method.removed"]
    (mail,) = [m for m in await gateway.services.outbox.listed() if m.kind == "security"]
    assert mail.recipient == ADA
    assert "An authenticator app was added to your account" in mail.text


async def test_an_operators_first_factor_needs_an_enrollment(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, ADA, "owner")
    refused = await browser.get("/console/security/app")
    assert refused.status_code == 400
    assert "You are an operator" in refused.text


async def test_an_operator_is_removed_before_they_go(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, ADA, "owner")
    await browser.get("/console/settings")
    refused = await browser.submit("/console/settings/delete", confirm=ADA)
    assert refused.status_code == 400
    assert "remove you first" in refused.text
