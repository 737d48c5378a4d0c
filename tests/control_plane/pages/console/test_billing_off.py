"""Without Stripe's keys: pages say that nothing can be bought, and whom to ask."""

import pytest
from sqlalchemy import select

from gateway.app.process import Process
from gateway.storage.tables import auto_top_ups, payments
from testing.browsing import Browser, sign_in, squeezed
from tests.control_plane.conftest import rows

PATH = "/console/billing"


async def test_it_says_that_buying_is_off(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    page = await browser.get(PATH)
    assert page.status_code == 200
    assert "Buying is off here" in page.text
    assert "gateway credits grant" in page.text
    assert "$0.25" in page.text
    assert "no money moves" not in page.text
    assert f'action="{PATH}' not in page.text
    assert "form-action 'self';" in page.headers["content-security-policy"]


@pytest.mark.parametrize("options", [{"support": "help@gateway.example"}])
async def test_it_says_whom_to_ask(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    page = squeezed((await browser.get(PATH)).text)
    assert '<a href="mailto:help@gateway.example">Ask us</a> for credit' in page
    overview = squeezed((await browser.get("/console")).text)
    assert "Buy more" not in overview
    assert "Contact us</a> for more" in overview


async def test_forms_that_were_open_before_buy_nothing(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    token = browser.token
    rules = {"threshold": "5", "amount": "25", "month": "100", "enabled": "yes"}
    for form in ("buy", "portal", "auto-top-up"):
        answer = await browser.submit(f"{PATH}/{form}", csrf=token, preset="25", **rules)
        assert answer.status_code == 503, form
    for table in (payments, auto_top_ups):
        assert not await rows(gateway, select(table))


async def test_the_storefront_sells_nothing(browser: Browser):
    home = await browser.get("/")
    assert "never an invoice" in squeezed(home.text)
    assert "How do I pay?" not in (await browser.get("/models/NovaSearch/stella_en_400M_v5")).text
