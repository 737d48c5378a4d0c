"""An organization's requests for operators: what its console shows, found from the search too."""

import csv
import io
import re
from datetime import UTC, datetime

import pytest

from gateway.app.process import Process
from gateway.identifiers import made_at_ms, new_id
from gateway.storage.tables import trail_entries
from testing.back_office import ADMIN, owned_organization
from testing.browsing import Browser
from testing.operators import sign_in_operator
from tests.control_plane.conftest import rows
from tests.control_plane.pages.conftest import QUERIES_MAX, counted
from tests.control_plane.pages.console.test_requests import charge, log, shown, words

ADA = "ada@example.org"


@pytest.fixture
async def customer(gateway: Process, browser: Browser) -> str:
    return await owned_organization(gateway, browser, ADA)


@pytest.fixture
async def secret(gateway: Process, customer: str) -> str:
    return (await gateway.services.keys.create(customer, "production")).secret


@pytest.fixture
async def key(gateway: Process, secret: str) -> str:
    found = await gateway.services.keys.recognize(secret)
    assert found
    return found


async def test_an_operator_sees_what_the_console_shows_and_no_secret(
    gateway: Process, browser: Browser, customer: str, key: str, secret: str
):
    paid = await log(gateway, key)
    await charge(gateway, key, paid)
    await log(gateway, key, 402, "key_budget_exceeded", missed=3)
    await log(gateway, key, 503, "model_warming")
    lines = await shown(browser)
    before = await rows(gateway, trail_entries.select())
    await sign_in_operator(browser, gateway, "ops@example.org", "read")
    tab = f"{ADMIN}/{customer}/request-log"
    assert f'href="{tab}"' in (await browser.get(f"{ADMIN}/{customer}")).text
    with counted(gateway) as asked:
        found = await shown(browser, tab)
    assert len(asked) <= QUERIES_MAX + 3  # the head of the organization
    assert [row for row in found if len(row) > 1] == [row for row in lines if len(row) > 1]
    assert "3 more refused or failed requests" in words(browser.page.text)
    assert "/console/" not in browser.page.text.partition("<main")[2]
    assert f'href="{tab}/{paid}"' in browser.page.text
    assert secret not in browser.page.text
    # none of the lists that operators read is recorded
    assert len(await rows(gateway, trail_entries.select())) == len(before)


async def test_its_filters_and_csv_are_the_consoles(
    gateway: Process, browser: Browser, customer: str, key: str
):
    refused = await log(gateway, key, 402, "key_budget_exceeded")
    failed = await log(gateway, key, 503, "model_warming")
    served = await log(gateway, key)
    await sign_in_operator(browser, gateway, "ops@example.org", "read")
    tab = f"{ADMIN}/{customer}/request-log"
    for query, wanted in (
        ("outcome=5xx", [failed]),
        ("outcome=4xx", [refused]),
        ("outcome=errors", [failed, refused]),
        ("outcome=success", [served]),
        ("code=key_budget_exceeded", [refused]),
        (f"before={failed}", [refused]),
    ):
        found = [row[-1].split()[0][1:] for row in await shown(browser, f"{tab}?{query}")]
        assert found == [one[-8:] for one in wanted], query
        answer = await browser.get(f"{tab}?{query}&format=csv")
        listed = csv.DictReader(io.StringIO(answer.text))
        assert [one["request_id"] for one in listed] == wanted, query
    page = await browser.get(f"{tab}?outcome=4xx&code=&key=&model=&day=")
    assert str(page.url).endswith(f"{tab}?outcome=4xx")
    page = await browser.get(f"{tab}?code=invalid_api_key")
    assert f'No requests match. <a href="{tab}">' in page.text


async def test_a_request_says_what_to_tell_whoever_sent_it(
    gateway: Process, browser: Browser, customer: str, key: str
):
    logged, charged = await log(gateway, key, 402, "key_budget_exceeded"), new_id()
    await charge(gateway, key, charged)
    await sign_in_operator(browser, gateway, "ops@example.org", "read")
    tab = f"{ADMIN}/{customer}/request-log"
    page = await browser.get(f"{tab}?id=%20{logged.upper()}%20")
    assert str(page.url).endswith(f"{tab}/{logged}")
    said = words(page.text)
    assert "402 key_budget_exceeded" in said
    assert "What to do: Raise the key's budget in the console" in said
    assert f"production …{(await gateway.services.keys.listed(customer))[0].last_four}" in said
    assert "/console/" not in page.text.partition("<main")[2]
    assert f'href="{tab}?key={key}"' in page.text
    assert "$0.000000056" in words((await browser.get(f"{tab}/{charged}")).text)
    unknown = new_id()
    assert f"has the ID {unknown}" in words((await browser.get(f"{tab}?id={unknown}")).text)
    for path in (f"{tab}/{unknown}", f"{tab}/x", f"{ADMIN}/{new_id()}/request-log/{logged}",
                 f"{ADMIN}/{new_id()}/request-log", f"{ADMIN}/x/request-log"):  # fmt: skip
        assert (await browser.get(path)).status_code == 404, path


async def test_the_search_leads_to_it_charged_or_not(
    gateway: Process, browser: Browser, customer: str, key: str
):
    refused, charged = new_id(), new_id()
    began = datetime.fromtimestamp(made_at_ms(refused) / 1000, UTC)
    named = {"request_id": refused, "created_at": began, "model_id": ""}
    await log(gateway, key, 404, "model_not_found", **named)
    await charge(gateway, key, charged)
    await sign_in_operator(browser, gateway, "ops@example.org", "read")
    for request_id, note in ((refused, "404 model_not_found"), (charged, "7 tokens")):
        await browser.get("/admin")
        page = await browser.submit("/admin/search", q=request_id.upper())
        assert note in words(page.text)
        lead = re.search(r'<a href="([^"]+)" data-open', page.text)
        assert lead
        assert lead[1] == f"{ADMIN}/{customer}/request-log/{request_id}"
        assert (await browser.get(lead[1])).status_code == 200
    for nothing in (new_id(), "ffffffff-ffff-7fff-8fff-ffffffffffff"):
        assert 'class="hits"' not in (await browser.get(f"/admin/search?q={nothing}")).text
