"""Launches: only with ready workers, once, and one mail and one credit for each who asked."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, update

from gateway.app import Gateway
from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing.promotions import Gift
from gateway.control_plane.catalog import catalog, golden
from gateway.control_plane.demand import events, launch_mails, launches, report, votes, waitlist
from gateway.control_plane.demand.events import Event
from gateway.control_plane.demand.launch_mails import LaunchMails, LaunchTerms
from gateway.control_plane.demand.launches import CannotLaunch, ModelUnknown
from gateway.control_plane.demand.votes import NotComing, Vote
from gateway.control_plane.mail import unsubscribe
from gateway.control_plane.mail.messages import MailWriter
from gateway.control_plane.mail.outbox import Lifetimes, Outbox
from gateway.control_plane.mail.smtp import LogSender
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.control_plane.pages import marketplace
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger import grants, invariants, postings, reading
from gateway.storage.tables import (
    credit_lots,
    demand_events,
    demand_months,
    demand_votes,
    model_prices,
    organizations,
    outbox,
    usage_hours,
)
from gateway.storage.tables import launches as launch_rows
from tests.control_plane.conftest import MINILM, STELLA

URL = "https://g.example"
LIVES = Lifetimes(link_seconds=60, invitation_seconds=60, once_seconds=60)


class Crash(Exception):
    """The process ends here."""


@pytest.fixture
async def seeded(database: Database) -> Database:
    async with database.write() as connection:
        await catalog.seed(connection)
        await golden.pin(connection, STELLA, "pinned", [])
    return database


def announcements(
    database: Database,
    *,
    wave_mails: int = 2,
    live: bool = True,
    credit: int = 7,
    day_nanos: int = 10**6,
    pending_max: int = 1000,
) -> LaunchMails:
    box = Outbox(database, LogSender(), pending_max=9, lifetimes=LIVES, host="g.example")
    return LaunchMails(
        database, box, MailWriter({"brand": "B", "public_url": URL}),
        Unsubscriptions(secret="s", public_url=URL),
        LaunchTerms(
            gift=Gift(nanos=credit, days=30, day_nanos=day_nanos),
            wave_mails=wave_mails, wave_seconds=60, pending_max=pending_max,
        ),
        is_live=lambda _model: live, titles={STELLA: "Stella"}, public_url=URL,
    )  # fmt: skip


async def launch(
    database: Database, *, ready: tuple[str, ...] = ("pinned",), nanos: int = 9_000_000
) -> None:
    async with database.write() as connection:
        await launches.launch(connection, STELLA, ready=ready, nanos_per_million_tokens=nanos)


async def account(database: Database, email: str, *, vote: Vote | None = None) -> Visitor:
    address = Address(email)
    async with database.write() as connection:
        user = await users.find_or_create(connection, address)
        visitor = Visitor(
            session_id="", user_id=user.id, email=email, address_key=address.key, role="owner",
            organization_id=user.organization_id, organization_name="o",
        )  # fmt: skip
        if vote:
            await votes.cast(connection, visitor, vote)
    return visitor


async def rows(database: Database, query):
    async with database.read() as connection:
        return (await connection.execute(query)).all()


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


async def test_a_model_without_a_ready_worker_stays_where_it_is(seeded: Database):
    with pytest.raises(CannotLaunch, match="no ready worker"):
        await launch(seeded, ready=())
    async with seeded.read() as connection:
        model = (await catalog.snapshot(connection)).models[STELLA]
    assert (model.state, model.price.nanos_per_million_tokens) == ("coming_soon", 8_000_000)


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


async def test_everybody_who_asked_is_mailed_and_credited_once(seeded: Database):
    wanted = Vote(model_id=STELLA)
    ada = await account(seeded, "ada@example.org", vote=wanted)
    await account(seeded, "bob@example.org", vote=wanted)
    eve = await account(seeded, "eve@example.org", vote=wanted)
    async with seeded.write() as connection:
        await catalog.set_state(connection, MINILM, "coming_soon")
    other = await account(seeded, "other@example.org", vote=Vote(model_id=MINILM))
    async with seeded.write() as connection:
        await waitlist.join(connection, STELLA, Address(ada.email), ada.user_id)
        await waitlist.join(connection, STELLA, Address("new@example.org"), None)
        await unsubscribe.add(connection, eve.email)
    await launch(seeded)
    await announcements(seeded, live=False).announce()  # this gateway has not seen it yet
    assert await rows(seeded, select(outbox)) == []
    await asyncio.gather(announcements(seeded).announce(), announcements(seeded).announce())
    await announcements(seeded).announce()
    mails = await rows(seeded, select(outbox).order_by(outbox.c.due_at))
    assert sorted(mail.recipient for mail in mails) == [
        "ada@example.org", "bob@example.org", "new@example.org",
    ]  # fmt: skip
    assert [(m.due_at - mails[0].due_at) // timedelta(seconds=60) for m in mails] == [0, 0, 1]
    by_recipient = {mail.recipient: mail for mail in mails}
    assert "$0.009 per million" in by_recipient["ada@example.org"].text
    assert "of credit" in by_recipient["ada@example.org"].text
    assert "of credit" not in by_recipient["new@example.org"].text
    assert by_recipient["ada@example.org"].unsubscribe_url.startswith(f"{URL}/mail/unsubscribe/")
    lots = await rows(seeded, select(credit_lots.c.source_ref, credit_lots.c.organization_id))
    assert ada.organization_id in {lot.organization_id for lot in lots}
    assert eve.organization_id in {lot.organization_id for lot in lots}  # only the mail goes
    assert other.organization_id not in {lot.organization_id for lot in lots}
    assert len(lots) == 3
    async with seeded.read() as connection:
        assert (await events.funnel(connection, STELLA))["notified"] == 3
        converted = await report.conversion(connection, STELLA)
    assert converted is not None
    assert (converted.recipients, converted.organizations_told) == (3, 2)
    assert converted.organizations_calling == 0


@pytest.mark.parametrize("step", ["give", "put_all", "record"])
@pytest.mark.parametrize("call", [1, 2, 3])
async def test_a_crash_anywhere_is_finished_later(
    seeded: Database, monkeypatch: pytest.MonkeyPatch, step: str, call: int
):
    """Before and after what a step does, in its first, second and third turn."""
    for n in range(5):
        await account(seeded, f"p{n}@example.org", vote=Vote(model_id=STELLA))
    await launch(seeded)
    monkeypatch.setattr(launch_mails, "_BATCH", 2)
    owner = {"give": Gift, "put_all": Outbox, "record": launch_mails}[step]
    real, calls = getattr(owner, step), []

    async def crash(*arguments, **options):
        calls.append(arguments)
        outcome = await real(*arguments, **options)
        if len(calls) == call:
            raise Crash
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, crash)
        if step != "record" or call == 1:
            with pytest.raises(Crash):
                await announcements(seeded).announce()
    await asyncio.gather(announcements(seeded).announce(), announcements(seeded).announce())
    mails = await rows(seeded, select(outbox).order_by(outbox.c.due_at))
    assert len(mails) == 5
    assert [(m.due_at - mails[0].due_at) // timedelta(seconds=60) for m in mails] == [0, 0, 1, 1, 2]
    assert all("of credit" in mail.text for mail in mails)
    assert len(await rows(seeded, select(credit_lots))) == 5
    (row,) = await rows(seeded, select(launch_rows))
    assert (row.recipients, row.announced_at is not None) == (5, True)
    async with seeded.read() as connection:
        assert (await events.funnel(connection, STELLA))["notified"] == 5


async def test_waves_count_from_the_announcement(seeded: Database):
    """A launch that no gateway saw for hours: its waves don't all leave at once."""
    for n in range(4):
        await account(seeded, f"p{n}@example.org", vote=Vote(model_id=STELLA))
    await launch(seeded)
    async with seeded.write() as connection:
        hours_ago = datetime.now(UTC) - timedelta(hours=9)
        await connection.execute(update(launch_rows).values(launched_at=hours_ago))
    await announcements(seeded).announce()
    mails = await rows(seeded, select(outbox).order_by(outbox.c.due_at))
    waits = [(mail.due_at - datetime.now(UTC)).total_seconds() for mail in mails]
    assert [round(wait / 60) for wait in waits] == [0, 0, 1, 1]
    assert waits[0] > -10


async def test_launch_mails_that_wait_are_bounded(seeded: Database):
    for n in range(5):
        await account(seeded, f"p{n}@example.org", vote=Vote(model_id=STELLA))
    await launch(seeded)
    told = announcements(seeded, pending_max=3)
    for count in (3, 3):
        await told.announce()
        assert len(await rows(seeded, select(outbox))) == count
    async with seeded.write() as connection:
        await connection.execute(update(outbox).values(state="sent"))
    await told.announce()
    assert len(await rows(seeded, select(outbox))) == 5
    (row,) = await rows(seeded, select(launch_rows))
    assert row.announced_at is not None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_no_transaction_holds_two_accounts(seeded: Database):
    """The ledger locks accounts by id; so whoever grants must not wait with one in hand."""
    people = [
        await account(seeded, f"{name}@example.org", vote=Vote(model_id=STELLA)) for name in "zyxa"
    ]
    ids = sorted(person.organization_id for person in people)
    await launch(seeded)
    async with seeded.write() as connection:
        await postings.lock_account(connection, ids[2])
        announcing = asyncio.create_task(announcements(seeded).announce())
        async with asyncio.timeout(8):
            while len(await rows(seeded, select(credit_lots))) < 2:  # no event tells of a commit
                await asyncio.sleep(0.02)
            for organization_id in (*ids[:2], ids[3]):
                await postings.lock_account(connection, organization_id)
    await announcing
    assert len(await rows(seeded, select(credit_lots))) == 4


async def test_launch_credit_goes_through_the_gate_of_all_free_credit(seeded: Database):
    for email in ("a@example.org", "b@mailinator.com", "c@example.org", "d@example.org"):
        await account(seeded, email, vote=Vote(model_id=STELLA))
    await launch(seeded)
    await announcements(seeded, day_nanos=20).announce()
    lots = await rows(seeded, select(credit_lots))
    assert sum(lot.amount_nanos for lot in lots) == 14  # a third one would pass the day's 20
    async with seeded.read() as connection:
        assert await invariants.audit(connection) == []
    async with seeded.read() as connection:
        converted = await report.conversion(connection, STELLA)
    assert converted is not None
    assert converted.credit == {"granted": 2, "disposable": 1, "budget": 1}
    mails = await rows(seeded, select(outbox))
    assert len(mails) == 4  # the credit is denied, never the mail
    assert sum("of credit" in mail.text for mail in mails) == 2


async def test_what_became_of_a_launch_does_not_change_with_later_votes(seeded: Database):
    ada = await account(seeded, "ada@example.org", vote=Vote(model_id=STELLA))
    bob = await account(seeded, "bob@example.org", vote=Vote(model_id=STELLA))
    await launch(seeded)
    await announcements(seeded).announce()
    now = datetime.now(UTC)
    async with seeded.write() as connection:
        for visitor, tokens in ((ada, 30), (bob, 12)):
            await connection.execute(
                insert(usage_hours).values(
                    organization_id=visitor.organization_id, hour=now, key_id=new_id(),
                    model_id=STELLA, shard=0, requests=1, inputs=1, tokens=tokens, charged_nanos=1,
                )
            )  # fmt: skip
            await use(connection, visitor, 7)  # the launch credit, to its end
        for visitor in (ada, bob):
            await grants.grant(
                connection, visitor.organization_id, 50, kind="paid", source_ref=visitor.user_id
            )
        await use(connection, ada, 1)
        for visitor in (ada, bob):
            await votes.withdraw(connection, visitor, STELLA)
        converted = await report.conversion(connection, STELLA)
    assert converted == report.Conversion(
        recipients=2, organizations_told=2, organizations_calling=2, organizations_paying=1,
        tokens_30_days=42, credit={"granted": 2},
    )  # fmt: skip


async def test_bought_credit_is_spent_after_promo(seeded: Database):
    """Also when more promo comes in between, and when some of it expires."""
    ada = await account(seeded, "ada@example.org")
    everybody = select(organizations.c.id)

    async def give(kind: str, nanos: int, expires_at: datetime | None = None) -> None:
        async with seeded.write() as connection:
            await grants.grant(
                connection, ada.organization_id, nanos, kind=kind, source_ref=new_id(),
                expires_at=expires_at,
            )  # fmt: skip

    async def spends_bought(nanos: int) -> bool:
        since = datetime.now(UTC)
        async with seeded.write() as connection:
            await use(connection, ada, nanos)
        async with seeded.read() as connection:
            found = await reading.spenders(
                connection, everybody, since=since, until=since + timedelta(days=1)
            )
        assert found <= {ada.organization_id}
        return bool(found)

    await give("promo", 10)
    await give("paid", 100)
    assert not await spends_bought(10)
    assert await spends_bought(5)
    await give("promo", 10)
    assert not await spends_bought(4)
    await give("promo", 20, datetime.now(UTC) - timedelta(hours=1))
    assert await grants.expire(seeded) == 1
    assert not await spends_bought(6)
    assert await spends_bought(1)


async def use(connection, visitor: Visitor, nanos: int) -> None:
    await postings.debit(connection, visitor.organization_id, nanos, new_id(), datetime.now(UTC))


async def test_old_events_become_sums(seeded: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "_AT_ONCE", 3)
    now = datetime.now(UTC)
    async with seeded.write() as connection:
        for days in (0, 91, 93, 94, 200, 230):
            await events.record(connection, Event("view", STELLA, count=days + 1))
            await connection.execute(
                update(demand_events)
                .where(demand_events.c.count == days + 1)
                .values(created_at=now - timedelta(days=days))
            )
        before = await events.funnel(connection, STELLA)
    assert before == {"view": 1 + 92 + 94 + 95 + 201 + 231}

    async def fold() -> None:
        async with seeded.write() as connection:
            await events.fold_old(connection, 92)

    for _ in range(2):
        await asyncio.gather(fold(), fold())
    left = await rows(seeded, select(demand_events.c.count))
    assert sorted(row.count for row in left) == [1, 92]
    assert 2 <= len(await rows(seeded, select(demand_months))) <= 4
    async with seeded.read() as connection:
        assert await events.funnel(connection, STELLA) == before


async def test_an_hour_folds_all_that_is_old_and_no_more_than_its_bound(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    """However small a part is: after a month without it, one turn of the job catches up."""
    monkeypatch.setattr(events, "_AT_ONCE", 3)
    database = gateway.database

    async def happen(count: int, days: int) -> None:
        at = datetime.now(UTC) - timedelta(days=days)
        async with database.write() as connection:
            for _ in range(count):
                await events.record(connection, Event("view", STELLA))
            fresh = demand_events.c.created_at > datetime.now(UTC) - timedelta(hours=1)
            await connection.execute(update(demand_events).where(fresh).values(created_at=at))

    await happen(10, days=93)
    await happen(2, days=91)
    await gateway.marketplace._forget_old()
    assert len(await rows(database, select(demand_events.c.id))) == 2
    await happen(10, days=93)
    monkeypatch.setattr(marketplace, "_FOLDS_MAX", 2)
    await gateway.marketplace._forget_old()
    assert len(await rows(database, select(demand_events.c.id))) == 2 + 10 - 2 * 3


async def test_the_score_weighs_who_votes(seeded: Database):
    await account(seeded, "a@gmail.com", vote=Vote(model_id=STELLA, volume_million_tokens=9))
    await account(seeded, "b@acme.example", vote=Vote(model_id=STELLA, volume_million_tokens=99))
    payer = await account(seeded, "c@acme.example", vote=Vote(model_id=STELLA))
    async with seeded.write() as connection:
        await connection.execute(
            insert(credit_lots).values(
                id=payer.user_id, organization_id=payer.organization_id, kind="paid",
                amount_nanos=1, remaining_nanos=1, source_ref="p", created_at=datetime.now(UTC),
            )
        )  # fmt: skip
        parts = {part.kind: part for part in await report.score(connection, STELLA)}
    assert (parts["verified"].votes, parts["verified"].score) == (1, 1.0)
    assert (parts["organization_domain"].votes, parts["organization_domain"].score) == (1, 3.0)
    assert (parts["paying"].votes, round(parts["paying"].score, 3)) == (1, 1.204)
    assert report.weigh("verified", 10**9) == report.weigh("verified", report.VOLUME_CAP_MILLIONS)
