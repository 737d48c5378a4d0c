"""What is true of one voter or one model is true of no other."""

from sqlalchemy import insert, update

from gateway.control_plane.demand import report, standings, vote_lists
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.demand.standings import NOTHING, Standings
from gateway.control_plane.demand.vote_lists import VoteFilter
from gateway.control_plane.demand.votes import Vote
from gateway.data_plane.tallies import DemandTally
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import credit_lots, demand_standings, models, set_aside_votes
from tests.control_plane.conftest import STELLA
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
