"""Demand in the back office: what is wanted, whether it pays, and votes that are set aside."""

from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.demand import asks
from gateway.storage.tables import demand_votes, set_aside_votes, trail_entries
from testing.browsing import Browser, squeezed
from testing.operators import sign_in_operator
from tests.control_plane.conftest import STELLA, rows

PAGE = f"/admin/demand/{STELLA}"


async def test_what_is_asked_for_and_not_there_is_listed(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "support")
    assert "not in the catalog" not in (await browser.get("/admin/demand")).text
    async with gateway.core.database.write() as connection:
        await asks.record(connection, {("BAAI/bge-m4", "search"): 3, ("BAAI/bge-m4", "call"): 9})
    text = squeezed((await browser.get("/admin/demand")).text)
    assert '<th scope="row">BAAI/bge-m4</th>' in text
    assert 'data-label="API calls">9<' in text


async def vote(browser: Browser, **said: str) -> None:
    await browser.get(f"/models/{STELLA}")
    answer = await browser.submit("/vote", model=STELLA, **said)
    assert answer.status_code == 200


async def test_a_vote_is_set_aside_and_counts_again(browser: Browser, gateway: Process):
    user_id = await sign_in_operator(browser, gateway, "ops@acme.example", "support")
    await vote(browser, volume="20000", price="0.02")
    (cast,) = await rows(gateway, select(demand_votes))
    assert gateway.core.demand_counts.votes(STELLA) == 1
    page = await browser.get(PAGE)
    assert "ops@acme.example" in page.text
    assert "2B tokens" in squeezed(page.text)  # a tenth of what an organization's domain claims

    aside = {"action": "set-aside-votes", "ids": cast.id}
    check = await browser.submit("/admin/bulk", **aside)
    assert "ops@acme.example" in check.text
    refused = await browser.submit("/admin/bulk/do", **aside, reason="  ")
    assert refused.status_code == 400
    assert await rows(gateway, select(set_aside_votes)) == []

    await browser.get(PAGE)
    await browser.submit("/admin/bulk/do", **aside, reason="one person")
    page = await browser.get(PAGE)
    assert "one person" in page.text
    await gateway.core.demand_counts.refresh()
    assert gateway.core.demand_counts.votes(STELLA) == 0

    # casting it anew does not bring it back
    await browser.get(f"/models/{STELLA}")
    await browser.submit("/vote/withdraw", model=STELLA)
    await vote(browser)
    assert gateway.core.demand_counts.votes(STELLA) == 0
    (again,) = await rows(gateway, select(demand_votes))
    await browser.get(PAGE)
    back = {"action": "restore-votes", "ids": again.id, "reason": "a colleague"}
    await browser.submit("/admin/bulk/do", **back)
    await gateway.core.demand_counts.refresh()
    assert gateway.core.demand_counts.votes(STELLA) == 1
    trail = await rows(gateway, select(trail_entries).order_by(trail_entries.c.number))
    told = [(e.action, e.subject) for e in trail if e.action.startswith("vote.")]
    assert told == [("vote.set_aside", f"vote:{cast.id}"), ("vote.restored", f"vote:{again.id}")]
    assert {e.actor_id for e in trail if e.action.startswith("vote.")} == {user_id}


async def test_a_role_that_only_reads_sets_nothing_aside(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    await vote(browser)
    (cast,) = await rows(gateway, select(demand_votes))
    page = await browser.get(PAGE)
    assert "can&#39;t set votes aside" in page.text
    aside = {"action": "set-aside-votes", "ids": cast.id, "reason": "why"}
    refused = await browser.submit("/admin/bulk/do", **aside)
    assert refused.status_code == 403
    assert await rows(gateway, select(set_aside_votes)) == []


async def test_the_list_and_its_csv(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    await vote(browser, volume="100000", price="0.01")
    await gateway.services.standings.compute()
    page = await browser.get("/admin/demand")
    assert f'href="{PAGE}"' in page.text
    csv = await browser.get("/admin/demand?format=csv&pays=no")
    header, *others = csv.text.splitlines()
    (row,) = [row for row in others if STELLA in row]
    told = dict(zip(header.split(","), row.split(","), strict=True))
    # 100,000 M x 10 % at $0.008: $80 a month, and a GPU costs $1,460
    assert (told["votes"], told["expected_tokens"]) == ("1", str(10**10))
    assert (told["revenue_nanos"], told["cost_nanos"]) == (str(80 * 10**9), str(1_460 * 10**9))
    assert (await browser.get("/admin/demand?format=csv&pays=yes")).text.count("\n") == 1


async def test_votes_as_csv_hold_no_formula(browser: Browser, gateway: Process):
    await sign_in_operator(browser, gateway, "ops@acme.example", "read")
    await vote(browser, use_case="=HYPERLINK(1)")
    csv = await browser.get(f"{PAGE}?format=csv")
    assert "'=HYPERLINK" in csv.text
    assert (await browser.get(f"{PAGE}?format=csv&q=other.example")).text.count("\n") == 1
