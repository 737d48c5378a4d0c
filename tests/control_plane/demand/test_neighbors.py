"""What is true of one voter or one model is true of no other."""

from sqlalchemy import insert, select, update

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.billing.promotions import Gift
from gateway.control_plane.demand import report, standings, vote_lists, waitlist
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.demand.launch_mails import LaunchTerms, mail_ref
from gateway.control_plane.demand.launch_progress import audience, mail_counts
from gateway.control_plane.demand.standings import NOTHING, Standings
from gateway.control_plane.demand.vote_lists import VoteFilter
from gateway.control_plane.demand.votes import Vote
from gateway.data_plane.tallies import DemandTally
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import (
    credit_lots,
    demand_standings,
    launch_organizations,
    launches,
    model_prices,
    models,
    outbox,
    promotion_days,
    set_aside_votes,
    usage_hours,
)
from tests.control_plane.conftest import MINILM, STELLA
from tests.control_plane.demand.conftest import account

OTHER = "BAAI/bge-m3"


async def voted(database: Database) -> None:
    """Ada, who has bought credit, and Bob vote for two models; one vote of Ada's is set aside."""
    for name in ("ada", "bob"):
        for model_id in (STELLA, OTHER):
            visitor = await account(
                database, f"{name}@{name}.example", vote=Vote(model_id=model_id)
            )
        if name == "ada":
            async with database.write() as connection:
                await connection.execute(
                    insert(set_aside_votes).values(
                        model_id=STELLA, voter_key=visitor.address_key, reason="bulk",
                        created_at=visitor.read_at,
                    )
                )  # fmt: skip
                await connection.execute(
                    insert(credit_lots).values(
                        id=new_id(), organization_id=visitor.organization_id, kind="paid",
                        amount_nanos=1, remaining_nanos=1, source_ref="payment",
                        created_at=visitor.read_at,
                    )
                )  # fmt: skip


async def test_a_vote_that_is_set_aside_is_its_voters_for_its_model(seeded: Database):
    await voted(seeded)
    counts = DemandCounts(seeded, DemandTally(entries_max=9))
    await counts.refresh()
    assert counts.all_votes() == {STELLA: 1, OTHER: 2}
    await counts.recount(OTHER)
    await counts.recount(STELLA)
    assert counts.all_votes() == {STELLA: 1, OTHER: 2}
    async with seeded.read() as connection:
        listed = await vote_lists.votes(connection, VoteFilter(), limit=10)
        counted = await vote_lists.votes(connection, VoteFilter(counting="counted"), limit=10)
    aside = [(one.model_id, one.email) for one in listed if one.set_aside_at]
    assert aside == [(STELLA, "ada@ada.example")]
    assert (len(listed), len(counted)) == (4, 3)


async def test_who_pays_weighs_their_own_vote_alone(seeded: Database):
    await voted(seeded)
    async with seeded.read() as connection:
        for model_id, kinds in ((STELLA, {"bob"}), (OTHER, {"ada", "bob"})):
            found = {one.domain: one.kind async for one in report.weighed(connection, model_id)}
            assert found.keys() == {f"{name}.example" for name in kinds}
            assert {name for name, kind in found.items() if kind == "paying"} == (
                {"ada.example"} & found.keys()
            )


async def test_a_standing_is_its_models(seeded: Database):
    await voted(seeded)
    await Standings(seeded).compute()
    async with seeded.write() as connection:
        for model_id, votes in ((STELLA, 1), (OTHER, 2)):
            found = await standings.of_model(connection, model_id)
            assert found
            assert (found.model_id, found.standing.votes) == (model_id, votes)
            assert found.standing.set_aside == 2 - votes
        await standings.outdate(connection, STELLA)
        assert await standings.of_model(connection, STELLA) is None
        assert await standings.of_model(connection, OTHER)


async def test_what_is_live_has_no_place_among_what_is_coming(seeded: Database):
    async with seeded.write() as connection:
        for model_id in (STELLA, OTHER):
            await standings.store(connection, model_id, NOTHING)
        await connection.execute(update(models).where(models.c.id == STELLA).values(state="live"))
        assert [one.model_id for one in await standings.listed(connection)] == [OTHER]
        await connection.execute(demand_standings.delete())
    await Standings(seeded).compute()
    async with seeded.read() as connection:
        assert await standings.of_model(connection, STELLA) is None
        assert await standings.of_model(connection, OTHER)


async def test_a_launch_is_summed_up_by_itself(seeded: Database):
    people = {}
    async with seeded.write() as connection:
        price = await connection.scalar(select(model_prices.c.id).limit(1))
    for name, model_id in (("ada", STELLA), ("bob", OTHER)):
        people[name] = await account(seeded, f"{name}@{name}.example")
        now = people[name].read_at
        async with seeded.write() as connection:
            await connection.execute(
                insert(launches).values(
                    model_id=model_id, price_id=price, launched_at=now, recipients=1
                )
            )
            await connection.execute(
                insert(launch_organizations).values(
                    model_id=model_id, organization_id=people[name].organization_id, told_at=now,
                    credit="granted" if name == "ada" else "off", decided_at=now,
                )
            )  # fmt: skip
            for used, tokens in ((model_id, 7), (MINILM, 100)):
                await connection.execute(
                    insert(usage_hours).values(
                        organization_id=people[name].organization_id, hour=now, key_id=new_id(),
                        model_id=used, shard=0, requests=1, inputs=1, tokens=tokens,
                        charged_nanos=1,
                    )
                )  # fmt: skip
            for ref, kind in ((mail_ref(model_id, name), "launch"), (f"other:{name}", "notice")):
                await connection.execute(
                    insert(outbox).values(
                        id=new_id(), ref=ref, kind=kind, recipient=people[name].email, subject="",
                        text="", html="", unsubscribe_url="", attempts=1, created_at=now,
                        state="sent" if name == "ada" else "pending", due_at=now, reason="",
                    )
                )  # fmt: skip
    async with seeded.read() as connection:
        mails = [await mail_counts(connection, model_id) for model_id in (STELLA, OTHER)]
        found = [await report.conversion(connection, model_id) for model_id in (STELLA, OTHER)]
    assert [(one.sent, one.waiting) for one in mails] == [(1, 0), (0, 1)]
    assert [one and one.credit for one in found] == [{"granted": 1}, {"off": 1}]
    assert [one and one.tokens_30_days for one in found] == [7, 7]
    assert [one and one.organizations_told for one in found] == [1, 1]


async def test_whom_a_launch_would_mail_is_of_its_model_and_its_day(seeded: Database):
    await voted(seeded)
    terms = LaunchTerms(
        gift=Gift(nanos=7, days=30, day_nanos=100), wave_mails=2, wave_seconds=60, pending_max=9
    )
    async with seeded.write() as connection:
        await waitlist.join(connection, OTHER, Address("eve@eve.example"), None)
        for day, nanos in (("2026-11-28", 1), ("2026-11-29", 30), ("2026-11-30", 9)):
            await connection.execute(insert(promotion_days).values(day=day, granted_nanos=nanos))
        found = {
            model_id: await audience(connection, model_id, terms, "2026-11-29")
            for model_id in (STELLA, OTHER)
        }
    assert {one.budget_left_nanos for one in found.values()} == {70}
    assert [one.set_aside for one in found.values()] == [1, 0]
    mailed = [{person.email.partition("@")[0] for person in one.some} for one in found.values()]
    assert mailed == [{"bob"}, {"ada", "bob", "eve"}]
