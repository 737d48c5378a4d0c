"""A vote is its account's: cast, changed and withdrawn by it alone, within bounds."""

from typing import Any

import pytest
from sqlalchemy import select

from gateway.control_plane.demand import votes
from gateway.control_plane.demand.votes import (
    PRICE_MAX_NANOS,
    USE_CASE_CHARACTERS_MAX,
    VOLUME_MAX,
    BadVote,
    Vote,
)
from gateway.storage.database import Database
from gateway.storage.tables import demand_events
from tests.control_plane.conftest import STELLA
from tests.control_plane.demand.conftest import account, rows

OTHER = "BAAI/bge-m3"


async def test_what_one_does_with_a_vote_leaves_all_others_alone(seeded: Database):
    first = Vote(model_id=STELLA, volume_million_tokens=5, price_max_nanos=9, use_case="mine")
    ada = await account(seeded, "ada@one.example", vote=first)
    bob = await account(seeded, "bob@two.example", vote=Vote(model_id=STELLA, use_case="his"))
    async with seeded.write() as connection:
        await votes.cast(connection, ada, Vote(model_id=OTHER))
        before = await votes.of_visitor(connection, ada)
        his = await votes.of_visitor(connection, bob)
        assert [one.model_id for one in before] == [OTHER, STELLA]  # the newest first
        changed = Vote(model_id=STELLA, volume_million_tokens=6, created_at=before[1].created_at)
        await votes.cast(connection, ada, changed)
        assert await votes.of_model(connection, ada, STELLA) == changed
        for _ in range(3):  # and nothing happens after the first
            await votes.withdraw(connection, ada, STELLA)
        assert await votes.of_visitor(connection, ada) == before[:1]
        assert await votes.of_model(connection, ada, STELLA) is None
        assert await votes.of_visitor(connection, bob) == his
    query = select(demand_events.c.kind, demand_events.c.model_id).order_by(demand_events.c.id)
    assert await rows(seeded, query) == [
        ("vote", STELLA), ("vote", STELLA), ("vote", OTHER), ("withdraw", STELLA),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "is_taken"),
    [
        ({"volume_million_tokens": 1, "price_max_nanos": 0}, True),
        ({"volume_million_tokens": VOLUME_MAX, "price_max_nanos": PRICE_MAX_NANOS}, True),
        ({"use_case": "x" * USE_CASE_CHARACTERS_MAX}, True),
        ({"volume_million_tokens": 0}, False),
        ({"volume_million_tokens": VOLUME_MAX + 1}, False),
        ({"price_max_nanos": PRICE_MAX_NANOS + 1}, False),
        ({"use_case": "x" * (USE_CASE_CHARACTERS_MAX + 1)}, False),
    ],
)
@pytest.mark.sqlite
async def test_bounds(seeded: Database, said: dict[str, Any], is_taken: bool):
    ada = await account(seeded, "ada@one.example")
    async with seeded.write() as connection:
        if is_taken:
            await votes.cast(connection, ada, Vote(model_id=STELLA, **said))
            kept = await votes.of_model(connection, ada, STELLA)
            assert {name: getattr(kept, name) for name in said} == said
        else:
            with pytest.raises(BadVote):
                await votes.cast(connection, ada, Vote(model_id=STELLA, **said))
