"""Tokens that each model served in the last seven days, for public pages.

A model that few organizations use is left out: its number would be theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import func, select

from gateway import wall
from gateway.storage.database import Database
from gateway.storage.tables import total, usage_days

REFRESH_SECONDS = 300.0
ORGANIZATIONS_MIN = 5
"""Fewer than this, and the tokens of a model are not told."""
_DAYS = 7


class Served:
    """Tokens of a week by model; `refresh` is a job."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tokens: Mapping[str, int] = {}

    def tokens(self, model_id: str) -> int | None:
        """Return the tokens of the last seven days; None if they are not told."""
        return self._tokens.get(model_id)

    async def refresh(self) -> None:
        """Read them."""
        first = wall.now().date() - timedelta(days=_DAYS - 1)
        used = usage_days.c
        query = (
            select(used.model_id, total(used.tokens))
            .where(used.day >= first)
            .group_by(used.model_id)
            .having(func.count(used.organization_id.distinct()) >= ORGANIZATIONS_MIN)
        )
        async with self._database.read() as connection:
            found = await connection.execute(query)
        self._tokens = {row[0]: row[1] for row in found}
