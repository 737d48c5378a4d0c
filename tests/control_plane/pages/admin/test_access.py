"""The back office does not exist for anyone but operators who proved a second factor."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.app.process import Process
from gateway.control_plane.web.verification import VERIFIED
from gateway.fake_stripe.store import SECRET_KEY
from testing.browsing import Browser, sign_in
from testing.enrolling import enroll, grow_old
from testing.operators import sign_in_operator

EVE = "eve@example.com"


async def test_operators_see_it(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@example.com", "read")
    page = await browser.get("/admin")
    assert page.status_code == 200
    assert "Needs attention" in page.text


async def test_others_find_nothing(browser: Browser, gateway: Process):
    for who in ("nobody", "a member", "one whose session has ended"):
        if who == "a member":
            await sign_in(browser, gateway, "ada@example.com")
        elif who != "nobody":
            await grow_old(gateway, "ada@example.com", revoked_at=datetime.now(UTC))
        unknown = await browser.get("/no-such-page")
        assert unknown.status_code == 404
        for path in ("/admin", "/admin/verify", "/admin/enroll", "/admin/enroll?token=x"):
            for hidden in (await browser.get(path), await browser.http.post(path, data={"a": "b"})):
                assert hidden.status_code == 404, (path, hidden.request.method)
                assert hidden.text == unknown.text
                assert hidden.headers == unknown.headers


@pytest.mark.parametrize(
    "options",
    [
        {
            "public_url": "https://gateway.example",
            "stripe_secret_key": SECRET_KEY,
            "stripe_api_url": "http://127.0.0.1:1",
            "support": "help@gateway.example",
        }
    ],
)
async def test_nor_by_a_header_that_only_some_gateways_send(browser: Browser):
    unknown, hidden = await browser.get("/no-such-page"), await browser.get("/admin")
    assert "strict-transport-security" in unknown.headers
    assert (hidden.status_code, hidden.headers) == (404, unknown.headers)


async def test_an_operator_without_a_proof_is_asked_for_one(browser: Browser, gateway: Process):
    phone = await enroll(browser, gateway, EVE)
    page = await browser.get("/admin")
    assert page.url.path == "/admin"

    await grow_old(gateway, EVE, verified_at=datetime.now(UTC) - VERIFIED)
    asked = await browser.get("/admin?filter=1")
    assert (asked.url.path, asked.status_code) == ("/admin/verify", 200)
    refused = await browser.submit(
        "/admin/verify", factor_code="000000", factor_next="/admin?filter=1"
    )
    assert "not the code" in refused.text
    assert (await browser.get("/admin")).url.path == "/admin/verify"
    await browser.submit("/admin/verify", factor_code=phone.code(), factor_next="/admin?filter=1")
    assert str(browser.page.url).endswith("/admin?filter=1")
    assert browser.page.status_code == 200


async def test_an_operator_without_a_factor_gets_no_further(browser: Browser, gateway: Process):
    await enroll(browser, gateway, "owner@example.com")
    await browser.http.post("/sign-out", headers={"sec-fetch-site": "same-origin"})
    await sign_in_operator(browser, gateway, EVE, "support")
    await grow_old(gateway, EVE, verified_at=datetime.now(UTC) - timedelta(days=1))
    page = await browser.get("/admin")
    assert page.url.path == "/admin/verify"
    assert f"gateway operators reset {EVE}" in page.text
    assert "factor_code" not in page.text
    assert "Email me a link" not in page.text


async def test_an_enrollment_is_used_once_and_by_its_operator(browser: Browser, gateway: Process):
    await enroll(browser, gateway, EVE)
    path = browser.page.history[0].url.path if browser.page.history else "/admin/enroll"
    assert path == "/admin/enroll"
    again = await browser.get("/admin/enroll?token=anything")
    assert again.status_code == 404
