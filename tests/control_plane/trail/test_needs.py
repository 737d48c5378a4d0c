"""What the audits need of an operator, in words that fit a line."""

import pytest

from gateway.control_plane.trail import audits
from gateway.control_plane.trail.needs import audit_needs
from gateway.storage.database import Database
from gateway.storage.ledger.postings import database_now


@pytest.mark.parametrize(
    ("culprits", "words"),
    [
        (["a"], "no-overdraft is broken by a"),
        (["a", "b", "c"], "no-overdraft is broken by a, b, c"),
        (["a", "b", "c", "d", "e"], "no-overdraft is broken by a, b, c and 2 more"),
    ],
)
async def test_few_of_those_that_break_a_rule_are_named(
    database: Database, culprits: list[str], words: str
):
    async with database.write() as connection:
        now = await database_now(connection)
        await audits.note(connection, "ledger", now, {"no-overdraft": culprits}, 60.0)
        [need] = await audit_needs(connection, now)
    assert need.words == words
