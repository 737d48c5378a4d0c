"""The first page of the back office: needs, and what is done about them."""

import html
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, update

from gateway.app.process import Process
from gateway.control_plane.attention.needs import NEEDS_MAX
from gateway.dates import day_text
from gateway.storage.tables import (
    accounts,
    snoozes,
    traffic_answers,
    traffic_hours,
    trail_entries,
)
from testing.browsing import Browser, squeezed
from testing.operators import sign_in_operator
from tests.control_plane.conftest import rows
from tests.control_plane.pages.conftest import QUERIES_MAX, counted

KEY = "owing:{}"


async def owing(gateway: Process) -> str:
    """Let the operator's own organization owe something; return the need's key."""
    async with gateway.core.database.write() as connection:
        owes = update(accounts).values(owed_nanos=1_500_000_000).returning(accounts.c.id)
        key = KEY.format((await connection.scalars(owes)).first())
    gateway.services.attention.forget()
    return key


async def test_nothing_needs_anyone(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@example.com", "read")
    page = await browser.get("/admin")
    assert "Nothing needs your attention. Last check" in page.text
    assert "needs attention:" not in page.text


async def test_a_need_is_shown_on_each_page_counted_and_within_few_queries(
    browser: Browser, gateway: Process
):
    await sign_in_operator(browser, gateway, "ops@example.com", "support")
    await owing(gateway)
    await gateway.services.attention.look()
    with counted(gateway) as asked:
        page = await browser.get("/admin")
    assert len(asked) <= QUERIES_MAX
    assert "owes $1.50 and is frozen until that is paid" in page.text
    assert "needs attention: </span>1" in (await browser.get("/admin/snoozed")).text


async def test_htmx_gets_the_list_alone(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@example.com", "read")
    part = await browser.get("/admin", headers={"hx-request": "true"})
    assert part.text.lstrip().startswith('<p class="empty">')


async def test_a_need_is_put_off_with_a_reason_and_shown_again(browser: Browser, gateway: Process):
    user_id = await sign_in_operator(browser, gateway, "ops@example.com", "support")
    key = await owing(gateway)
    await browser.get("/admin/snooze", params={"key": key})
    refused = await browser.submit("/admin/snooze", key=key, hours="4", reason="  ")
    assert refused.status_code == 400
    assert "Say why it can wait" in refused.text
    refused = await browser.submit("/admin/snooze", key=key, hours="9999", reason="pays tomorrow")
    assert "at most 30 days" in refused.text
    assert 'value="pays tomorrow"' in refused.text

    page = await browser.submit("/admin/snooze", key=key, hours="4", reason="pays tomorrow")
    assert page.url.path == "/admin"
    assert "Nothing needs you" in page.text
    (kept,) = await rows(gateway, select(snoozes))
    assert (kept.key, kept.user_id, kept.reason) == (key, user_id, "pays tomorrow")
    assert 3.9 < (kept.until - datetime.now(UTC)).total_seconds() / 3_600 <= 4
    assert "pays tomorrow" in (await browser.get("/admin/snoozed")).text

    page = await browser.submit("/admin/snooze/end", key=key)
    assert "Nothing is snoozed." in page.text
    assert "owes $1.50" in (await browser.get("/admin")).text
    trail = await rows(gateway, select(trail_entries).order_by(trail_entries.c.number))
    assert [(entry.action, entry.subject) for entry in trail][-2:] == [
        ("need.snoozed", f"need:{key}"),
        ("need.unsnoozed", f"need:{key}"),
    ]


async def test_who_only_reads_puts_nothing_off(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@example.com", "read")
    key = await owing(gateway)
    page = await browser.get("/admin/snooze", params={"key": key})
    assert "Your role does not allow this." in squeezed(page.text)
    refused = await browser.submit("/admin/snooze", key=key, hours="4", reason="no")
    assert refused.status_code == 403
    assert await rows(gateway, select(snoozes)) == []


async def test_a_need_that_is_gone_is_not_put_off(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@example.com")
    assert (await browser.get("/admin/snooze", params={"key": "owing:x"})).status_code == 404


@pytest.mark.usefixtures("now")
async def test_the_numbers_stand_beside_those_of_the_same_weekday(
    browser: Browser, gateway: Process
):
    await sign_in_operator(browser, gateway, "ops@example.com", "read")
    page = await browser.get("/admin")
    assert "No requests in this time." in page.text
    assert "not audited" in page.text
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    async with gateway.core.database.write() as connection:
        for hour, nanos in ((midnight, 3 * 10**9), (midnight - timedelta(days=7), 2 * 10**9)):
            used = {"requests": 1, "inputs": 1, "tokens": 5_000, "charged_nanos": nanos}
            await connection.execute(insert(traffic_hours).values(hour=hour, model_id="m", **used))
        for status_class, answers in ((2, 97), (4, 2), (5, 1)):
            said = {"status_class": status_class, "latency_ms": 150, "answers": answers}
            await connection.execute(insert(traffic_answers).values(hour=midnight, **said))
    await gateway.services.attention.look()
    with counted(gateway) as asked:
        page = await browser.get("/admin")
    assert len(asked) <= QUERIES_MAX
    text = squeezed(page.text)
    assert "$3.00" in text
    assert f"+50% on last {midnight:%a}" in text
    assert "1.00%" in text
    assert "150 ms" in text
    assert f"{day_text(midnight)}, 00:00: 100 responses, 3 failed" in text


async def test_the_rules_say_when_something_is_told(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@example.com", "read")
    assert 'href="/admin/rules"' in (await browser.get("/admin")).text
    page = html.unescape(squeezed((await browser.get("/admin/rules")).text))
    for name, rule in gateway.services.attention.rules.items():
        assert f"{name[0].upper()}{name[1:]}</th>" in page
        assert rule in page
    assert "5 or more new accounts of one domain" in page
    assert "Credit that runs dry" in page
    assert f"{NEEDS_MAX} are shown" in page
