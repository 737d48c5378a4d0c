"""The back office does not exist for anyone but operators who proved a second factor."""

from gateway.app.process import Process
from testing.browsing import Browser, sign_in
from testing.operators import sign_in_operator


async def test_operators_see_it(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@example.com", "read")
    page = await browser.get("/admin")
    assert page.status_code == 200
    assert "Needs attention" in page.text


async def test_others_find_nothing(browser: Browser, gateway: Process):
    unknown = await browser.get("/no-such-page")
    hidden = await browser.get("/admin")
    assert (hidden.status_code, unknown.status_code) == (404, 404)

    await sign_in(browser, gateway, "ada@example.com")
    hidden = await browser.get("/admin")
    assert hidden.status_code == 404
