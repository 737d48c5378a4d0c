"""The directory of keys: newest first, on pages, by organization, ending and state."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert

from gateway.control_plane.accounts import organizations
from gateway.control_plane.back_office import key_directory
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import api_keys

NOW = datetime.now(UTC)


async def test_keys_are_found_and_continue_after_the_last(database: Database):
    async with database.write() as connection:
        owners = [(await organizations.create(connection, name)).id for name in ("acme", "else")]
        ids = [new_id() for _ in range(4)]
        for number, key_id in enumerate(ids):
            await connection.execute(
                insert(api_keys).values(
                    id=key_id, organization_id=owners[number == 3], name=str(number),
                    digest=key_id.encode(), last_four=f"abc{number}", created_at=NOW,
                    revoked_at=NOW if number == 1 else None, changed_at=NOW,
                )
            )  # fmt: skip

    async def found(*, limit: int = 9, **chosen: Any) -> list[str]:
        async with database.read() as connection:
            rows = await key_directory.listed(connection, limit=limit, **chosen)
        return [row.name for row in rows]

    assert await found() == ["3", "2", "1", "0"]
    assert await found(limit=2) == ["3", "2"]
    assert await found(before=ids[2], limit=2) == ["1", "0"]
    assert await found(organization_id=owners[0]) == ["2", "1", "0"]
    assert await found(ends="sk-abc3") == ["3"]
    assert await found(state="revoked") == ["1"]
    assert await found(state="in_use") == ["3", "2", "0"]
