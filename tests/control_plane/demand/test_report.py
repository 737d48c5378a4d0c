"""The report of a launch: who calls, who pays, and the score of votes."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, select

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.demand import report, votes
from gateway.control_plane.demand.votes import Vote
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger import grants, postings, reading
from gateway.storage.tables import (
    credit_lots,
    organizations,
    usage_hours,
)
from tests.control_plane.conftest import STELLA
from tests.control_plane.demand.conftest import account, announcements, launch


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
