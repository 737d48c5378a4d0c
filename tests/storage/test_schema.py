"""A version runs on a newer schema within its range, and says what to do outside of it."""

import pytest
from sqlalchemy import Connection, inspect, text

from gateway.storage import migrate, schema
from gateway.storage.database import Database, DatabaseError
from gateway.storage.ledger import invariants
from migrations.losses import FORGOTTEN, LOSSES
from testing import first_release
from testing.gateways import open_api

NEWER = "9999_newer"
HEAD = schema.revisions()[-1]


async def become(database: Database, revision: str, runs_from: str) -> None:
    """Let the schema be that of a newer version."""
    async with database.write() as connection:
        await connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
        await connection.execute(
            text(f"INSERT INTO schema_ranges VALUES ('{revision}', '{runs_from}')")
        )


async def test_a_version_starts_on_a_newer_schema_that_says_it_may(database: Database):
    await become(database, NEWER, HEAD)
    await schema.check(database)
    assert (await migrate.upgrade(database)).is_newer
    assert (await schema.read(database)).current == NEWER  # it is left as it is
    assert not (await migrate.plan(database)).steps


async def test_a_newer_schema_that_runs_newer_code_is_refused_with_what_to_do(database: Database):
    await become(database, NEWER, "9998_between")
    for use in (schema.check, migrate.upgrade):
        with pytest.raises(DatabaseError) as refused:
            await use(database)
        said = str(refused.value)
        assert f"the schema is at {NEWER}, which runs code from 9998_between on" in said
        assert f"this version of the gateway is older than that: it is at {HEAD}" in said
        assert "run the newer version (docs/upgrading.md says how to go back)" in said


async def test_a_process_whose_schema_goes_on_without_it_is_not_ready(
    sqlite_database_url: list[str],
):
    async with open_api(sqlite_database_url[0]) as api:
        watch = api.gateway.core.schema
        await become(api.ledger.database, "9998_kept", HEAD)
        await watch.look()
        assert (await api.http.get("/health/ready")).status_code == 200
        await become(api.ledger.database, NEWER, NEWER)
        await watch.look()
        answer = await api.http.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "another schema")
        assert "schema" in (await api.monitored("/health/ready")).json()["reasons"]
        assert "run the newer version" in watch.flaw


@pytest.mark.long
async def test_what_going_down_loses_is_refused_by_name_or_can_be_made_anew(tmp_path):
    """Each table and column that a revision adds is in one of the two lists."""
    database = Database(f"sqlite:///{tmp_path}/empty.db")
    await migrate.upgrade(database)
    steps = (await migrate.plan(database, "0001")).steps
    back = [step.partition(":")[0] for step in steps]
    assert set(LOSSES) <= set(back)
    below = [*back[1:], "0001_first_schema"]
    for revision, lower in zip(back, below, strict=True):
        before = await _columns(database)
        for table, where in LOSSES.get(revision, {}).items():
            assert table in before
            async with database.read() as connection:
                await connection.execute(text(f"SELECT 1 FROM {table} WHERE {where}"))
        await migrate.downgrade(database, lower)
        after = await _columns(database)
        gone = {table for table in before if table not in after}
        gone |= {
            f"{table}.{column}"
            for table in before.keys() & after.keys()
            for column in before[table] - after[table]
        }
        named = LOSSES.get(revision, {}).keys() | FORGOTTEN.keys()
        unnamed = {one for one in gone if not {one, one.partition(".")[0]} & named}
        assert not unnamed, f"{revision} loses {unnamed}"
    await database.close()


async def _columns(database: Database) -> dict[str, set[str]]:
    def find(sync: Connection) -> dict[str, set[str]]:
        found = inspect(sync)
        return {
            table: {column["name"] for column in found.get_columns(table)}
            for table in found.get_table_names()
        }

    async with database.engine.connect() as connection:
        return await connection.run_sync(find)


async def test_what_0_1_0_left_comes_up_and_goes_down_until_there_is_more_to_lose(first: Database):
    assert (await schema.read(first)).current == first_release.REVISION
    before = await _rows(first)
    await migrate.upgrade(first)
    await schema.check(first)
    async with first.read() as connection:
        assert await invariants.audit(connection) == []
    async with first.write() as connection:
        await connection.execute(
            text(
                "INSERT INTO organization_limits (organization_id, in_flight_max, changed_at) "
                "SELECT id, 1, created_at FROM organizations"
            )
        )
    with pytest.raises(DatabaseError, match="would lose rows: 4 of organization_limits; nothing"):
        await migrate.downgrade(first, "0001")
    await schema.check(first)
    async with first.write() as connection:
        await connection.execute(text("DELETE FROM organization_limits"))
    await migrate.downgrade(first, "1")
    assert (await schema.read(first)).current == first_release.REVISION
    assert await _rows(first) == before
    with pytest.raises(DatabaseError, match="this version needs"):
        await schema.check(first)


async def _rows(database: Database) -> dict[str, int]:
    tables = ("organizations", "api_keys", "credit_lots", "ledger_entries", "usage_events")
    async with database.read() as connection:
        return {
            table: await connection.scalar(text(f"SELECT count(*) FROM {table}"))
            for table in (*tables, "demand_votes", "users")
        }
