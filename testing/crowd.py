"""A crowd: a PostgreSQL database with very many organizations, as the back office must bear.

The rows are made by the database itself, a statement a table (crowd.sql): that is quicker than
COPY, which has to be sent them.
"""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import msgspec

from gateway.storage.database import Database
from testing.marketplace import fill_catalog
from testing.workers import a_view

_SQL = Path(__file__).with_suffix(".sql")
_STEP = "-- step: "
_LIVE = 50
"""Models with workers."""


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are."""

    organizations: int = 1_000_000
    entries: int = 10
    """Of the ledger, for each organization: a grant, the rest usage."""
    models: int = 300


async def gather(database: Database, crowd: Crowd) -> list[tuple[str, float]]:
    """Fill a migrated database whose catalog is seeded; return the steps and their seconds."""
    await fill_catalog(database, crowd.models)
    numbers = {
        "ORGANIZATIONS": str(crowd.organizations),
        "ENTRIES": str(crowd.entries),
        "LIVE": str(_LIVE),
        "VIEW": msgspec.json.encode(a_view("http://10.0.0.1:8080")).decode(),
    }
    steps = []
    for step in _SQL.read_text().split(_STEP)[1:]:
        name, _, statement = step.partition("\n")
        for word, value in numbers.items():
            statement = statement.replace(word, value)
        began = monotonic()
        async with database.write() as connection:
            await connection.exec_driver_sql(statement)
        steps.append((name, monotonic() - began))
    return steps
