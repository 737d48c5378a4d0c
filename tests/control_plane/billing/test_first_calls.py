"""The first call of a key: its own, however much its neighbors call."""

import pytest
from sqlalchemy import insert

from gateway import wall
from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.billing import first_calls
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.tables import usage_events


async def test_a_neighbors_calls_hide_none(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(first_calls, "_LOOKED_AT_MAX", 2)
    keys = ApiKeys(database, secret=Keyring("s" * 32))
    async with database.write() as connection:
        own, other = [(await organizations.create(connection, name)).id for name in ("a", "b")]
    first, second = [(await keys.create(own, name)).key for name in ("first", "second")]
    strange = (await keys.create(other, "strange")).key

    async def calls(organization_id: str, key_id: str, tokens: int) -> None:
        async with database.write() as connection:
            await connection.execute(
                insert(usage_events).values(
                    request_id=new_id(), organization_id=organization_id, key_id=key_id,
                    model_id="m", price_id=new_id(), inputs=1, tokens=tokens, cost_nanos=tokens,
                    charged_nanos=tokens, created_at=wall.now(),
                )
            )  # fmt: skip

    async def found() -> list[int | None]:
        async with database.read() as connection:
            made = [await first_calls.of_key(connection, key) for key in (first, second)]
        return [one and one.tokens for one in made]

    for tokens in (1, 2, 3):
        await calls(other, strange.id, tokens)
    assert await found() == [None, None]
    await calls(own, first.id, 7)
    await calls(own, second.id, 8)
    await calls(own, first.id, 9)
    assert await found() == [7, 8]
