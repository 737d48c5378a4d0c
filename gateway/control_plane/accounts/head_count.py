"""How many people and organizations there are, for the metrics."""

from __future__ import annotations

from gateway.storage.database import Database, count
from gateway.storage.tables import organizations, users


class HeadCount:
    """Counts; `count` is a job."""

    def __init__(self, database: Database) -> None:
        self.people = 0
        self.organizations = 0
        self._database = database

    async def count(self) -> None:
        """Count them now."""
        async with self._database.read() as connection:
            self.people = await count(connection, users)
            self.organizations = await count(connection, organizations)
