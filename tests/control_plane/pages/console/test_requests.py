"""The console's requests: found by filters and by id, with what the ledger says that they cost."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import insert, select

from gateway.app.process import Process
from gateway.errors import documented
from gateway.identifiers import first_id, new_id
from gateway.storage.tables import (
    api_keys,
    credit_lots,
    error_hours,
    model_prices,
    organizations,
    request_log,
    usage_events,
)
from testing.browsing import Browser, sign_in, squeezed
from tests.control_plane.conftest import MINILM, rows
from tests.control_plane.pages.conftest import QUERIES_MAX, counted
from tests.control_plane.pages.console.conftest import member_of, stranger_to

NOW = datetime.now(UTC)
DASH = "\N{EN DASH}"
PATH = "/console/requests"


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is read here."""
    return database_url


@pytest.fixture
async def key(gateway: Process, browser: Browser) -> str:
    """Ada's key, with which nothing was asked for yet."""
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="production")
    ((found,),) = await rows(gateway, select(api_keys.c.id))
    return str(found)


async def log(gateway: Process, key: str, status: int = 200, code: str = "", **changes: Any) -> str:
    """Log a request, and return its id."""
    ((owner,),) = await rows(
        gateway, select(api_keys.c.organization_id).where(api_keys.c.id == key)
    )
    values = {
        "organization_id": owner, "request_id": new_id(), "key_id": key, "model_id": MINILM,
        "created_at": NOW, "status": status, "code": code, "latency_ms": 41, "tokens": 7,
        "original_id": None, "missed": 0, **changes,
    }  # fmt: skip
    async with gateway.core.database.write() as connection:
        await connection.execute(insert(request_log).values(**values))
    return str(values["request_id"])


async def charge(gateway: Process, key: str, request_id: str, charged_nanos: int = 56) -> None:
    """Have the ledger know a request."""
    ((owner,),) = await rows(
        gateway, select(api_keys.c.organization_id).where(api_keys.c.id == key)
    )
    (price, *_) = await rows(gateway, select(model_prices.c.id))
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(usage_events).values(
                request_id=request_id, organization_id=owner, key_id=key, model_id=MINILM,
                price_id=price.id, inputs=2, tokens=7, cost_nanos=56, charged_nanos=charged_nanos,
                created_at=NOW,
            )
        )  # fmt: skip


def words(html: str) -> str:
    """Return what a reader sees, roughly."""
    return squeezed(unescape(re.sub(r"<[^>]+>", " ", html)))


async def shown(browser: Browser, address: str = PATH) -> list[list[str]]:
    """Return the cells of the page's rows as words."""
    page = (await browser.get(address)).text
    body = page.partition('rows requests">')[2].partition("</table>")[0]
    return [
        [
            squeezed(re.sub(r"<[^>]+>", " ", cell))
            for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr.*?</tr>", body.partition("<tbody>")[2], re.DOTALL)
    ]


async def test_each_request_says_how_it_ended_and_what_the_ledger_charged(
    gateway: Process, browser: Browser, key: str
):
    paid = await log(gateway, key)
    await charge(gateway, key, paid)
    lost = await log(gateway, key)
    await charge(gateway, key, lost, charged_nanos=0)
    pending = await log(gateway, key, tokens=9)
    replay = await log(gateway, key, original_id=paid, model_id="", tokens=None)
    refused = await log(gateway, key, 402, "key_budget_exceeded", latency_ms=1)
    left = await log(gateway, key, 499, "client_closed")
    await charge(gateway, key, left)
    found = {row[-1].split()[0]: row[1:-1] for row in await shown(browser)}
    named = f"production · {MINILM.rpartition('/')[2]}"
    assert found == {
        "…" + left[-8:]: ["499 client_closed", named, "41 ms", "7", "$0.000000056"],
        "…" + refused[-8:]: ["402 key_budget_exceeded", named, "1 ms", "7", DASH],
        "…" + replay[-8:]: ["200 replayed", "production", "41 ms", DASH, "free"],
        "…" + pending[-8:]: ["200", named, "41 ms", "9", "pending"],
        "…" + lost[-8:]: ["200", named, "41 ms", "7", "free"],
        "…" + paid[-8:]: ["200", named, "41 ms", "7", "$0.000000056"],
    }


async def test_filters_are_in_the_address_and_say_only_what_was_asked(
    gateway: Process, browser: Browser, key: str
):
    await browser.submit("/console/keys", name="batch")
    (other,) = {str(one) for (one,) in await rows(gateway, select(api_keys.c.id))} - {key}
    yesterday = NOW - timedelta(days=1)
    refused = await log(gateway, key, 402, "key_budget_exceeded")
    missing = await log(gateway, other, 404, "model_not_found", model_id="")
    old = await log(
        gateway, key, created_at=yesterday, request_id=first_id(yesterday)[:-12] + "00000000000a"
    )
    ids = {one[-8:]: one for one in (refused, missing, old)}

    async def asked(**parameters: str) -> set[str]:
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return {ids[row[-1].split()[0][1:]] for row in await shown(browser, f"{PATH}?{query}")}

    assert await asked(outcome="errors") == {refused, missing}
    assert await asked(outcome="success") == {old}
    assert await asked(outcome="4xx") == {refused, missing}
    assert await asked(outcome="5xx") == set()
    assert await asked(code="model_not_found") == {missing}
    assert await asked(key=key) == {refused, old}
    assert await asked(model=MINILM) == {refused, old}
    assert await asked(day=f"{yesterday:%Y-%m-%d}") == {old}
    assert await asked(key=key, outcome="errors") == {refused}
    assert await asked(key=other, code="key_budget_exceeded") == set()
    assert "No requests match." in browser.page.text
    # a form sends its empty fields too
    page = await browser.get(f"{PATH}?outcome=errors&code=&key=&model=&day=")
    assert str(page.url).endswith(f"{PATH}?outcome=errors")
    assert 'value="errors" selected' in page.text
    choices = re.findall(r"<option >([^<]*)<", page.text)
    assert choices == ["key_budget_exceeded", "model_not_found", MINILM]


NONSENSE = [
    "outcome=all", "day=tomorrow", "day=0001-01-01", "day=9999-12-31", "key=x", "key=%00",
    "before=x", "before=%00", "model=%00", "code=%00", "code=%27%3B--", "id=%00",
    "id=%3Cscript%3E", "model=" + "x" * 5_000, "unknown=1",
]  # fmt: skip


async def test_nonsense_finds_nothing_and_breaks_nothing(
    gateway: Process, browser: Browser, key: str
):
    await log(gateway, key)
    for query in NONSENSE:
        page = await browser.get(f"{PATH}?{query}")
        assert page.status_code == (400 if "%00" in query else 200), query
        assert "<script>" not in page.text, query
    for wanted in ("x", "%00", new_id(), "not/a/path"):
        assert (await browser.get(f"{PATH}/{wanted}")).status_code == 404


async def test_pages_continue_where_the_last_ended(gateway: Process, browser: Browser, key: str):
    ids = [await log(gateway, key) for _ in range(60)]
    first = await shown(browser)
    older = re.search(r'rel="next" href="([^"]+)"', browser.page.text)
    assert older
    second = await shown(browser, older[1])
    assert [row[-1].split()[0][1:] for row in first + second] == [one[-8:] for one in ids[::-1]]
    assert 'rel="next"' not in browser.page.text
    assert "Newest" in browser.page.text


async def test_what_was_not_recorded_is_said_where_it_is_missing(
    gateway: Process, browser: Browser, key: str
):
    await log(gateway, key, missed=1_204)
    await log(gateway, key, 429, "too_many_in_flight", missed=1)
    found = [row[0] for row in await shown(browser) if len(row) == 1]
    assert found[0].startswith("1 more refused or failed request, with any key, just before")
    assert found[1].startswith("1,204 more successful requests, with any key, just before")


async def test_a_request_is_found_by_its_id_and_a_charge_even_without_the_log(
    gateway: Process, browser: Browser, key: str
):
    logged, charged = await log(gateway, key, 402, "key_budget_exceeded"), new_id()
    await charge(gateway, key, charged)
    page = await browser.get(f"{PATH}?id=%20{logged.upper()}%20")
    assert str(page.url).endswith(f"{PATH}/{logged}")
    said = words(page.text)
    assert "The key's own budget does not cover this request; your credit may." in said
    assert "Raise the key's budget in the console" in said
    assert "Nothing: errors are not charged." in said
    assert 'href="/docs/errors#key_budget_exceeded"' in page.text
    assert f'href="/console/keys/{key}"' in page.text
    page = await browser.get(f"{PATH}?id={charged}")
    said = words(page.text)
    assert str(page.url).endswith(f"{PATH}/{charged}")
    assert "$0.000000056" in said
    assert "7 in 2 inputs" in said
    assert "This request is not in the log" in said
    page = await browser.get(f"{PATH}?id={new_id()}")
    assert "No request of this organization has the ID" in page.text


async def test_a_charge_that_was_credited_back_says_so(
    gateway: Process, browser: Browser, key: str
):
    request_id, other = await log(gateway, key, 503, "charge_unknown"), await log(gateway, key)
    await charge(gateway, key, request_id)
    await charge(gateway, key, other)
    ((owner,),) = await rows(gateway, select(organizations.c.id))
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(credit_lots).values(
                id=new_id(), organization_id=owner, kind="promo", amount_nanos=56,
                remaining_nanos=56, burned_nanos=0, source_ref=f"request:{request_id}",
                created_at=NOW,
            )
        )  # fmt: skip
    assert [row[-2] for row in await shown(browser)] == [
        "$0.000000056", "$0.000000056 credited back",
    ]  # fmt: skip
    page = await browser.get(f"{PATH}/{request_id}")
    assert "charged, and credited back" in words(page.text)


async def test_everybody_who_belongs_sees_requests_and_nobody_else(
    gateway: Process, browser: Browser, key: str
):
    request_id = await log(gateway, key)
    member = await member_of(browser, gateway, "bob@example.org")
    assert len(await shown(member)) == 1
    assert (await member.get(f"{PATH}/{request_id}")).status_code == 200
    stranger = await stranger_to(gateway)
    assert await shown(stranger) == []
    assert "No requests yet." in stranger.page.text
    assert (await stranger.get(f"{PATH}/{request_id}")).status_code == 404
    assert "No request of this organization" in (await stranger.get(f"{PATH}?id={request_id}")).text
    assert (await stranger.get(f"{PATH}?format=csv")).text.count("\n") == 1
    for one in (member, stranger):
        await one.close()


async def test_the_csv_is_the_filtered_list_with_exact_amounts(
    gateway: Process, browser: Browser, key: str
):
    paid = await log(gateway, key)
    await charge(gateway, key, paid)
    await log(gateway, key, 402, "key_budget_exceeded", missed=3)
    answer = await browser.get(f"{PATH}?format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    refused, charged = csv.DictReader(io.StringIO(answer.text))
    assert (charged["request_id"], charged["charged_nanos"], charged["tokens"]) == (paid, "56", "7")
    assert (refused["status"], refused["code"]) == ("402", "key_budget_exceeded")
    assert (refused["charged_nanos"], refused["not_recorded_before"]) == ("", "3")
    assert datetime.fromisoformat(charged["time"]).tzinfo
    answer = await browser.get(f"{PATH}?outcome=success&format=csv")
    assert [one["request_id"] for one in csv.DictReader(io.StringIO(answer.text))] == [paid]


async def test_a_page_asks_the_database_as_often_for_fifty_requests_as_for_one(
    gateway: Process, browser: Browser, key: str
):
    for _ in range(50):
        await charge(gateway, key, await log(gateway, key))
    with counted(gateway) as asked:
        await browser.get(PATH)
    assert len(asked) <= QUERIES_MAX


async def test_errors_are_listed_by_code_and_key_and_lead_to_their_requests(
    gateway: Process, browser: Browser, key: str, hour: datetime
):
    assert "No errors in 30 days." in (await browser.get("/console/errors")).text
    ((owner,),) = await rows(gateway, select(organizations.c.id))
    async with gateway.core.database.write() as connection:
        for code, status, errors, days in (
            ("key_budget_exceeded", 402, 26, 0), ("model_not_found", 404, 29, 0),
            ("model_warming", 503, 5, 60),
        ):  # fmt: skip
            await connection.execute(
                insert(error_hours).values(
                    organization_id=owner, hour=hour - timedelta(days=days), key_id=key,
                    model_id="", status=status, code=code, errors=errors,
                )
            )  # fmt: skip
    page = await browser.get("/console/errors")
    said = words(page.text)
    assert "55 errors in 30 days" in said
    assert "402 key_budget_exceeded production" in said
    assert "47.3%" in said
    assert f'href="{PATH}?code=model_not_found&amp;key={key}"' in page.text
    assert "model_warming" not in said
    assert "55 errors today" in (await browser.get("/console/errors?days=1")).text
    assert (await browser.get("/console/errors?days=1000000")).status_code == 200


async def test_every_code_leads_to_its_words(
    gateway: Process, browser: Browser, key: str, hour: datetime
):
    ((owner,),) = await rows(gateway, select(organizations.c.id))
    logged = {(kind.status, kind.code or kind.type) for kind in documented()}
    logged |= {(499, "client_closed"), (418, "of_an_old_release")}
    sums = {"organization_id": owner, "hour": hour, "key_id": key, "model_id": "", "errors": 1}
    async with gateway.core.database.write() as connection:
        for status, code in logged:
            await connection.execute(insert(error_hours).values(status=status, code=code, **sums))
    page = (await browser.get("/console/errors")).text
    leads = dict(re.findall(r'<a class="mono" href="(/docs/errors[^"]*)">(\w+)</a>', page))
    assert set(leads.values()) == {code for _, code in logged}
    assert leads.pop("/docs/errors") == "of_an_old_release"
    manual = (await browser.get("/docs/errors")).text
    anchors = {lead.partition("#")[2] for lead in leads}
    assert anchors <= set(re.findall(r'id="([\w-]+)"', manual))
    assert len(anchors) == len(logged) - 1
    for status, code in ((400, "invalid_request_error"), (499, "client_closed")):
        request_id = await log(gateway, key, status, code)
        page = (await browser.get(f"{PATH}/{request_id}")).text
        (lead,) = (lead for lead, name in leads.items() if name == code)
        assert f'<a href="{lead}">More about this error</a>' in page


async def test_a_key_whose_budget_is_used_up_says_how_many_were_refused_today(
    gateway: Process, browser: Browser, hour: datetime
):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="production", budget="0.000005")
    ((key, owner),) = await rows(gateway, select(api_keys.c.id, api_keys.c.organization_id))
    assert "refused today" not in (await browser.get("/console/keys")).text
    async with gateway.core.database.write() as connection:
        for at, errors in ((hour, 26), (hour - timedelta(days=1), 100)):
            await connection.execute(
                insert(error_hours).values(
                    organization_id=owner, hour=at, key_id=key, model_id=MINILM, status=402,
                    code="key_budget_exceeded", errors=errors,
                )
            )  # fmt: skip
    page = await browser.get("/console/keys")
    assert "Used up: 26 refused today" in words(page.text)
    lead = f'href="{PATH}?code=key_budget_exceeded&amp;key={key}"'
    assert lead in page.text
    page = await browser.get(f"/console/keys/{key}")
    assert "Budget used up: 26 requests refused today" in words(page.text)
    assert lead in page.text
