"""Usage that names what the database does not know.

A database that was restored to a moment lacks what was created later, and a gateway's journal may
hold usage of exactly that. It would belong to nobody in the books, so it is kept out of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from gateway.data_plane.metering.messages import UsageLine
from gateway.storage.database import Database
from gateway.storage.ledger.freezes import ledger_error
from gateway.storage.tables import api_keys, model_prices

_AT_ONCE = 500


async def find(database: Database, lines: Sequence[UsageLine]) -> set[str]:
    """See `Ledger.strangers`."""
    found: set[str] = set()
    try:
        for start in range(0, len(lines), _AT_ONCE):
            found |= await _find(database, lines[start : start + _AT_ONCE])
    except (SQLAlchemyError, OSError) as error:
        raise ledger_error(error) from error
    return found


async def _find(database: Database, lines: Sequence[UsageLine]) -> set[str]:
    key, price = api_keys.c, model_prices.c
    named_keys = {line.key_id for line in lines}
    named_prices = {line.price_id for line in lines}
    async with database.read() as connection:
        owners = await connection.execute(
            select(key.organization_id, key.id).where(key.id.in_(named_keys))
        )
        keys = {(row.organization_id, row.id) for row in owners}
        sold = await connection.execute(
            select(price.model_id, price.id).where(price.id.in_(named_prices))
        )
        prices = {(row.model_id, row.id) for row in sold}
    return {
        line.request_id
        for line in lines
        if (line.organization_id, line.key_id) not in keys
        or (line.model_id, line.price_id) not in prices
    }
