"""Votes and the waitlist: one a person, taken back at will, confirmed by mail, counted."""

import re
from collections import Counter
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import Table, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.app.process import Process
from gateway.control_plane.back_office import vote_reviews
from gateway.control_plane.catalog import catalog, golden
from gateway.control_plane.demand import counts, events, launch_mails, launches
from gateway.control_plane.mail import unsubscribe
from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.storage.tables import (
    demand_events,
    demand_votes,
    set_aside_votes,
    unsubscriptions,
    waitlist_entries,
)
from testing.browsing import Browser, field, mailed_link, sign_in, sign_in_by_mail
from testing.front_door import posted
from tests.control_plane.conftest import MINILM, STELLA, rows

PATH = f"/models/{STELLA}"


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


async def test_a_vote_is_counted_once_changed_and_withdrawn(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    assert "Be the first to vote." in browser.page.text
    await browser.submit(
        "/vote", model=STELLA, volume="1,250", price="0.01", use_case="<b>search</b>"
    )
    assert "1 verified vote" in browser.page.text
    assert "You voted" in browser.page.text
    await browser.submit("/vote", model=STELLA, volume="2")
    (vote,) = await rows(gateway, select(demand_votes))
    assert (vote.volume_million_tokens, vote.price_max_nanos, vote.use_case) == (2, None, "")
    await browser.submit("/vote", model=STELLA, use_case="<b>search</b>", price="0.01")
    page = (await browser.get("/console/votes")).text
    assert "&lt;b&gt;search&lt;/b&gt;" in page
    assert "$0.01" in page
    await browser.submit("/vote/withdraw", model=STELLA, back="/console/votes")
    assert "not voted yet" in browser.page.text
    assert "Be the first to vote." in (await browser.get(PATH)).text
    kinds = Counter(row.kind for row in await rows(gateway, select(demand_events)))
    assert (kinds["vote"], kinds["withdraw"]) == (1, 1)


async def test_a_count_that_began_before_a_vote_does_not_hide_it(
    gateway: Process, browser: Browser, monkeypatch: pytest.MonkeyPatch
):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    read = counts._counts

    async def voting(connection: AsyncConnection, table: Table, *conditions: Any) -> dict[str, int]:
        found = await read(connection, table, *conditions)
        if table is demand_votes:
            await browser.submit("/vote", model=STELLA)
        return found

    monkeypatch.setattr(counts, "_counts", voting)
    await gateway.core.demand_counts.refresh()
    assert "1 verified vote" in (await browser.get(PATH)).text
    monkeypatch.setattr(counts, "_counts", read)
    await gateway.core.demand_counts.refresh()
    assert "1 verified vote" in (await browser.get(PATH)).text


async def test_one_vote_for_all_spellings_of_a_mailbox(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in(browser, gateway, "ada.l@gmail.com", next_path=PATH)
    await browser.submit("/vote", model=STELLA)
    other = Browser(app)
    await sign_in(other, gateway, "adal+x@gmail.com", next_path=PATH)
    await other.submit("/vote", model=STELLA)
    await other.close()
    assert len(await rows(gateway, select(demand_votes))) == 1


async def test_another_spelling_is_another_account_that_reads_and_changes_nothing(
    gateway: Process, browser: Browser, app: Litestar
):
    """Some servers give spellings of one mailbox to different people."""
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    await browser.submit("/vote", model=STELLA, volume="7", use_case="our secret plan")
    await browser.submit("/waitlist", model=STELLA)
    mine = await rows(gateway, select(demand_votes)), await rows(gateway, select(waitlist_entries))
    assert list(map(len, mine)) == [1, 1]

    eve = Browser(app)
    await sign_in_by_mail(eve, gateway, "ada+x@example.org", next_path=PATH)
    assert "Withdraw your vote" not in eve.page.text
    assert "We will email you when it launches" not in eve.page.text
    token = eve.token
    refused = await eve.submit("/vote", csrf=token, model=STELLA, use_case="hers")
    assert refused.status_code == 409
    assert "another spelling" in refused.text
    await eve.submit("/vote/withdraw", csrf=token, model=STELLA)
    await eve.submit("/waitlist/leave", csrf=token, model=STELLA)
    for path in (PATH, "/console/votes", "/console/settings/export"):
        page = await eve.get(path)
        assert page.status_code == 200, path
        assert "our secret plan" not in page.text, path
    assert (await eve.get("/console/settings/export")).json()["waitlist"] == []
    assert "not voted yet" in (await eve.get("/console/votes")).text

    async with gateway.core.database.write() as connection:
        await vote_reviews.set_aside(connection, COMMAND_LINE, mine[0][0].id, reason="a robot")
    await eve.get("/console/settings")
    await eve.submit("/console/settings/delete", confirm="ada+x@example.org")
    assert "Your account is deleted" in eve.page.text
    assert len(await rows(gateway, select(set_aside_votes))) == 1
    await eve.close()
    found = await rows(gateway, select(demand_votes)), await rows(gateway, select(waitlist_entries))
    assert found == mine
    assert "Leave the waitlist" in (await browser.get("/console/votes")).text


@pytest.mark.sqlite
async def test_only_models_that_are_coming_can_be_voted_for(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    token = browser.token
    for model, status in ((MINILM, 409), ("no/such", 404), ("", 404), ("../../etc", 404)):
        for path in ("/vote", "/waitlist"):
            answer = await browser.submit(path, csrf=token, model=model)
            assert answer.status_code == status, (path, model)


@pytest.mark.parametrize("options", [{"votes_per_hour": 7}])
async def test_votes_have_bounds_and_a_rate(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    token = browser.token
    for said in (
        {"volume": "-1"}, {"volume": "1" * 12}, {"volume": "0"}, {"price": "much"},
        {"price": "9007200"}, {"use_case": "x" * 501}, {"use_case": "\0"},
    ):  # fmt: skip
        answer = await browser.submit("/vote", csrf=token, model=STELLA, **said)
        assert answer.status_code == 400, said
    assert (await browser.submit("/vote", csrf=token, model=STELLA)).status_code == 200
    assert (await browser.submit("/vote", csrf=token, model=STELLA)).status_code == 429


@pytest.mark.sqlite
async def test_a_vote_needs_an_account(browser: Browser):
    await browser.get(PATH)
    answer = await browser.submit("/vote", model=STELLA)
    assert answer.url.path == "/sign-in"


async def test_nobody_is_put_on_the_list_by_another(gateway: Process, browser: Browser):
    await browser.get(PATH)
    await browser.submit("/waitlist", model=STELLA, email="ada@example.org")
    assert "One more step" in browser.page.text
    assert await rows(gateway, select(waitlist_entries)) == []
    await browser.get(await mailed_link(gateway, "ada@example.org"))
    assert await rows(gateway, select(waitlist_entries)) == []
    token = field(browser.page.text, "token")
    await browser.submit("/waitlist/confirm", token=token)
    assert "You're on the waitlist" in browser.page.text
    (entry,) = await rows(gateway, select(waitlist_entries))
    assert (entry.email, entry.user_id) == ("ada@example.org", None)
    await browser.get(PATH)
    again = await browser.submit("/waitlist/confirm", token=token)  # as reloading does
    assert "You're on the waitlist" in again.text
    assert len(await rows(gateway, select(waitlist_entries))) == 1
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    assert "We will email you when it launches" in browser.page.text
    (entry,) = await rows(gateway, select(waitlist_entries))
    assert entry.user_id is not None
    await browser.submit("/waitlist/leave", model=STELLA)
    replay = await browser.submit("/waitlist/confirm", token=token)
    assert replay.status_code == 400
    assert "no longer works" in replay.text
    assert await rows(gateway, select(waitlist_entries)) == []


@pytest.mark.sqlite
async def test_one_click_with_an_account(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    await browser.submit("/waitlist", model=STELLA)
    assert "We will email you when it launches" in browser.page.text
    await browser.get("/console/votes")
    await browser.submit("/waitlist/leave", model=STELLA, back="//evil.example")
    assert browser.page.url.path == "/console"
    assert await rows(gateway, select(waitlist_entries)) == []


async def test_what_went_live_elsewhere_is_said_at_once(gateway: Process, browser: Browser):
    """This process may show it as coming for seconds more: the database knows better."""
    await browser.get(PATH)
    await browser.submit("/waitlist", model=STELLA, email="new@example.org")
    await browser.get(await mailed_link(gateway, "new@example.org"))
    token = field(browser.page.text, "token")
    async with gateway.core.database.write() as connection:
        await golden.pin(connection, STELLA, "pinned", [])
        await launches.launch(connection, STELLA, ready=["pinned"], nanos_per_million_tokens=1)
    said = await browser.submit("/waitlist/confirm", token=token)
    assert said.status_code == 409  # by the snapshot, or by the database before it
    assert "is live" in said.text
    assert await rows(gateway, select(waitlist_entries)) == []


@pytest.mark.sqlite
async def test_a_link_to_the_waitlist_leads_to_a_model_that_is_live_by_now(
    gateway: Process, browser: Browser
):
    await browser.get(PATH)
    await browser.submit("/waitlist", model=STELLA, email="new@example.org")
    link = await mailed_link(gateway, "new@example.org")
    async with gateway.core.database.write() as connection:
        await catalog.set_state(connection, STELLA, "live")
    await gateway.core.catalog.refresh()
    assert (await browser.get(link)).url.path == PATH


@pytest.mark.sqlite
async def test_what_is_retired_can_be_taken_back(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    await browser.submit("/vote", model=STELLA)
    await browser.submit("/waitlist", model=STELLA)
    async with gateway.core.database.write() as connection:
        await catalog.set_state(connection, STELLA, "retired")
    await gateway.core.catalog.refresh()
    page = await browser.get("/console/votes")
    assert f'href="{PATH}"' not in page.text, "there is no such page any more"
    for path in ("/vote/withdraw", "/waitlist/leave"):
        done = await browser.submit(path, model=STELLA, back="/console/votes")
        assert done.status_code == 200
    assert await rows(gateway, select(demand_votes)) == []
    assert await rows(gateway, select(waitlist_entries)) == []


@pytest.mark.sqlite
async def test_a_model_that_costs_nothing_can_come_too(gateway: Process, browser: Browser):
    async with gateway.core.database.write() as connection:
        await catalog.set_price(connection, STELLA, nanos_per_million_tokens=0)
    await gateway.core.catalog.refresh()
    assert (await browser.get(PATH)).status_code == 200


async def test_of_two_spellings_the_one_that_asked_last_is_written_to(
    gateway: Process, browser: Browser
):
    """She unsubscribed one of them, and then asks by the other: a mail must come."""
    await browser.get(PATH)
    await browser.submit("/waitlist", model=STELLA, email="ada+news@example.org")
    await browser.get(await mailed_link(gateway, "ada+news@example.org"))
    await browser.submit("/waitlist/confirm", token=field(browser.page.text, "token"))
    async with gateway.core.database.write() as connection:
        await unsubscribe.add(connection, "ada+news@example.org")
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    assert "We will email you when it launches" not in browser.page.text
    await browser.submit("/waitlist", model=STELLA)
    assert "We will email you when it launches" in browser.page.text
    async with gateway.core.database.read() as connection:
        (person,) = await launch_mails.unwritten(connection, STELLA, 9)
    assert person.email == "ada@example.org"
    (entry,) = await rows(gateway, select(waitlist_entries))
    assert entry.user_id is not None
    kinds = Counter(row.kind for row in await rows(gateway, select(demand_events)))
    assert kinds["waitlist"] == 1


async def test_who_unsubscribed_and_asks_again_hears_again(gateway: Process, browser: Browser):
    async with gateway.core.database.write() as connection:
        for email in ("ada@example.org", "new@example.org"):
            await unsubscribe.add(connection, email)
    await browser.get(PATH)
    await browser.submit("/waitlist", model=STELLA, email="new@example.org")
    await browser.get(await mailed_link(gateway, "new@example.org"))
    assert len(await rows(gateway, select(unsubscriptions))) == 2  # asking proves nothing yet
    await browser.submit("/waitlist/confirm", token=field(browser.page.text, "token"))
    (left,) = await rows(gateway, select(unsubscriptions))
    assert left.email == "ada@example.org"

    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    await browser.submit("/vote", model=STELLA)
    assert "You unsubscribed from our email" in browser.page.text  # a vote asks for no mail
    await browser.submit("/waitlist", model=STELLA)
    assert "we will email you when it launches" in browser.page.text
    assert "unsubscribed" not in browser.page.text
    assert await rows(gateway, select(unsubscriptions)) == []

    async with gateway.core.database.write() as connection:
        await unsubscribe.add(connection, "ada@example.org")
    assert "we will email you when it launches" not in (await browser.get(PATH)).text
    page = (await browser.get("/console/votes")).text
    assert "We'll email you when these launch" not in page
    assert "won't send" in page


async def test_a_call_to_a_model_that_is_coming_counts_and_says_where_to_vote(
    gateway: Process, browser: Browser
):
    await sign_in(browser, gateway, "ada@example.org")
    page = (await browser.submit("/console/keys", name="k")).text
    secret = re.search(r"sk-[0-9A-Za-z]{46}", page)
    assert secret
    for _ in range(3):
        answer = await posted(
            gateway,
            "/v1/embeddings",
            json={"model": STELLA, "input": "hi"},
            headers={"authorization": f"Bearer {secret[0]}"},
        )
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (404, "model_coming_soon")
        assert f"http://127.0.0.1:8080{PATH}" in error["message"]
    await browser.get(PATH)
    await gateway.core.demand_counts.flush()
    async with gateway.core.database.read() as connection:
        counts = await events.funnel(connection, STELLA)
    assert counts["call"] == 3
    assert counts["view"] == 1


async def test_what_could_not_be_written_is_not_lost(gateway: Process):
    gateway.core.demand_counts.viewed(STELLA)
    await rename(gateway, "demand_events", "away")
    with pytest.raises(DBAPIError):
        await gateway.core.demand_counts.flush()
    await rename(gateway, "away", "demand_events")
    await gateway.core.demand_counts.flush()
    (event,) = await rows(gateway, select(demand_events))
    assert (event.kind, event.count, event.organization_id) == ("view", 1, None)


async def rename(gateway: Process, table: str, name: str) -> None:
    async with gateway.core.database.write() as connection:
        await connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")
