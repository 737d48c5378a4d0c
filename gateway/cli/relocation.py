"""`gateway move`: moves a deployment that outgrew SQLite to PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from sqlalchemy import URL, Connection, select

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.printing import asynchronous, say, show
from gateway.control_plane.back_office.acting import checked
from gateway.control_plane.secrets.record import hold
from gateway.control_plane.trail import verification
from gateway.control_plane.trail.entries import record
from gateway.keyring import Keyring
from gateway.settings import Settings
from gateway.storage import relocation, schema
from gateway.storage.database import Database, DatabaseError, parse
from gateway.storage.relocation import NotEmpty, TrailHead
from gateway.storage.tables import trail_entries

_MOVED = "database.moved"


@click.command("move", epilog="Example: gateway move --from sqlite:////srv/gateway/gateway.db")
@click.option("--from", "origin", required=True, help="The SQLite database: sqlite:///PATH.")
@acting_as
@because
@asynchronous
async def move(*, origin: str, acting: str | None, reason: str) -> None:
    """Move everything from SQLite to the empty, migrated PostgreSQL database in DATABASE_URL.

    No gateway may run on either. Each table is compared, the books are audited, and then the file
    is renamed to PATH.moved, so that nothing serves from it. A move that ends before that can be
    started again.
    """
    settings = Settings.from_environment()
    url = parse(origin)
    target = Database(
        settings.migration_database_url or settings.database_url,
        connections_max=2,
        is_patient=True,
    )
    try:
        if not url.drivername.startswith("sqlite") or target.is_sqlite:
            raise DatabaseError(
                "--from must be a SQLite database, and DATABASE_URL a PostgreSQL database"
            )
        await schema.check(target)
        with relocation.locked(url) as source:
            relocation.must_be_settled(source, _journals(settings, url))
            await _move(source, target, settings.keyring, acting, reason)
            file = relocation.retire(source)
    finally:
        await target.close()
    say(f"The file is {file} now. Keep it until you have a backup of PostgreSQL.")


async def _move(
    source: Connection, target: Database, keyring: Keyring, acting: str | None, reason: str
) -> None:
    head = relocation.trail_head(source)
    try:
        async with relocation.moved(source, target) as (connection, tables):
            await hold(connection, keyring)
            operator = await operator_of(connection, acting)
            operator.must("operators")
            rows = sum(table.rows for table in tables)
            await record(
                connection,
                operator.actor,
                _MOVED,
                "database:postgresql",
                after={"rows": rows, "hash": head.hash.hex()},
                reason=checked(operator, reason),
            )
    except NotEmpty:
        if not await _was_moved(target, head):
            raise
        say("Everything was already moved; nothing changed.")
        return
    show([table for table in tables if table.rows], as_json=False, title="tables")
    say(f"{rows} rows, compared one by one. The books were audited in PostgreSQL.")


async def _was_moved(target: Database, head: TrailHead) -> bool:
    """Tell whether this source was already moved to the target, which may have more since."""
    entry = trail_entries.c
    async with target.read() as connection:
        action = await connection.scalar(
            select(entry.action).where(entry.number == head.number + 1)
        )
        return action == _MOVED and (
            head.number == 0 or await verification.holds(connection, head.number, head.hash)
        )


def _journals(settings: Settings, url: URL) -> Path:
    return Path(settings.journal_path or f"{url.database}.journals")
