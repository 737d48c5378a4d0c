"""Launches: only with ready workers, once, and at a price that flex never exceeds."""

import asyncio

import pytest
from sqlalchemy import select

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.catalog import catalog, golden
from gateway.control_plane.demand import launches, votes, waitlist
from gateway.control_plane.demand.launches import CannotLaunch, ModelUnknown
from gateway.control_plane.demand.votes import NotComing, Vote
from gateway.storage.database import Database
from gateway.storage.tables import (
    demand_votes,
    model_prices,
    outbox,
)
from tests.control_plane.conftest import STELLA
from tests.control_plane.demand.conftest import account, announcements, launch, rows


@pytest.mark.parametrize(
    ("given", "prices"),
    [
        ((3_000_000, None), (3_000_000, 1_500_000)),  # in the estimate's proportion: 8 to 4
        ((None, None), (8_000_000, 4_000_000)),
        ((9_000_001, None), (9_000_001, 4_500_000)),
        ((9_000_000, 9_000_000), (9_000_000, 9_000_000)),
        ((0, None), (0, 0)),
        ((3_000_000, 3_000_001), None),
        ((None, 9_000_000), None),
    ],
)
@pytest.mark.sqlite
async def test_flex_never_costs_more(
    seeded: Database,
    given: tuple[int | None, int | None],
    prices: tuple[int, int] | None,
):
    async def go_live() -> None:
        async with seeded.write() as connection:
            await launches.launch(
                connection, STELLA, ready=["pinned"],
                nanos_per_million_tokens=given[0], flex_nanos_per_million_tokens=given[1],
            )  # fmt: skip

    if prices is None:
        with pytest.raises(CannotLaunch, match="cost more"):
            await go_live()
    else:
        await go_live()
    async with seeded.read() as connection:
        model = (await catalog.snapshot(connection)).models[STELLA]
    found = tuple(model.price_of(tier).nanos_per_million_tokens for tier in ("default", "flex"))
    assert found == (prices or (8_000_000, 4_000_000))
    assert model.state == ("live" if prices else "coming_soon")


@pytest.mark.sqlite
async def test_a_model_without_a_ready_worker_stays_where_it_is(seeded: Database):
    with pytest.raises(CannotLaunch, match="no ready worker"):
        await launch(seeded, ready=())
    async with seeded.read() as connection:
        model = (await catalog.snapshot(connection)).models[STELLA]
    assert (model.state, model.price.nanos_per_million_tokens) == ("coming_soon", 8_000_000)


@pytest.mark.sqlite
async def test_a_model_whose_workers_nobody_vouched_for_stays_where_it_is(seeded: Database):
    with pytest.raises(CannotLaunch, match=f"gateway workers pin {STELLA}"):
        await launch(seeded, ready=("another",))
    await launch(seeded, ready=("another", "pinned"))


async def test_it_happens_once_and_fixes_the_price(seeded: Database):
    await launch(seeded)
    with pytest.raises(CannotLaunch, match="already live"):
        await launch(seeded, nanos=1)
    async with seeded.read() as connection:
        model = (await catalog.snapshot(connection)).models[STELLA]
    assert (model.state, model.price.nanos_per_million_tokens) == ("live", 9_000_000)
    prices = await rows(
        seeded,
        select(model_prices).where(
            model_prices.c.model_id == STELLA, model_prices.c.tier == "default"
        ),
    )
    assert len(prices) == 2
    async with seeded.write() as connection:
        with pytest.raises(ModelUnknown):
            await launches.launch(connection, "no/such", ready=["x"], nanos_per_million_tokens=1)


@pytest.mark.parametrize("joins_first", [True, False])
async def test_who_joins_at_the_moment_of_a_launch_is_told_or_refused(
    seeded: Database, *, joins_first: bool
):
    """Two transactions at once: whichever comes second sees what the first one did."""
    ada = await account(seeded, "ada@example.org")
    halfway, go_on = asyncio.Event(), asyncio.Event()

    async def join() -> None:
        async with seeded.write() as connection:
            await votes.cast(connection, ada, Vote(model_id=STELLA))
            await waitlist.join(connection, STELLA, Address(ada.email), ada.user_id)
            if joins_first:
                halfway.set()
                await go_on.wait()

    async def go_live() -> None:
        async with seeded.write() as connection:
            await launches.launch(connection, STELLA, ready=["pinned"], nanos_per_million_tokens=1)
            if not joins_first:
                halfway.set()
                await go_on.wait()

    first, second = (join, go_live) if joins_first else (go_live, join)
    tasks = [asyncio.create_task(first())]
    await halfway.wait()
    tasks.append(asyncio.create_task(second()))
    done, _ = await asyncio.wait(tasks[1:], timeout=0.3)
    assert not done, "the second one did not wait"
    go_on.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await announcements(seeded).announce()
    mails = await rows(seeded, select(outbox))
    if joins_first:
        assert outcomes == [None, None]
        assert [mail.recipient for mail in mails] == [ada.email]
    else:
        assert isinstance(outcomes[1], NotComing)
        assert "is live" in outcomes[1].message
        assert (mails, await rows(seeded, select(demand_votes))) == ([], [])


@pytest.mark.sqlite
async def test_a_model_whose_tokens_nobody_can_count_stays_coming(seeded: Database):
    async with seeded.write() as connection:
        await golden.pin(connection, "BAAI/bge-m3", "pinned", [])
        with pytest.raises(CannotLaunch, match="vocabulary_sha256"):
            await launches.launch(connection, "BAAI/bge-m3", ready=["pinned"])
