"""The database: whether it can be reached and fits this version, and its rights, clock and room."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from itertools import starmap
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cli.checks.findings import Finding, error, ok, warning
from gateway.control_plane.secrets import record
from gateway.networks import is_loopback
from gateway.settings import Settings
from gateway.storage import schema
from gateway.storage.database import Database, DatabaseError
from gateway.storage.privileges import READ_ONLY
from gateway.storage.tables import metadata, usage_events

ABOUT = "database"
_CLOCK_SECONDS_MAX = 1.0
"""From here on, a machine's clock counts as different."""
_OWN_CONNECTIONS = {"data": 2, "control": 1, "all": 3}
"""Connections of each process besides its pool: docs/connections.md."""
_FULL = 0.8
"""The share of a server's connections above which little is left for others."""


async def database(settings: Settings) -> AsyncIterator[Finding]:
    """Ask the database. Raises nothing that `asked` does not turn into words."""
    opened = Database(settings.database_url, connections_max=2)
    try:
        if opened.is_sqlite:
            for finding in _of_sqlite(opened, settings):
                yield finding
            if is_missing(opened):
                return
        try:
            async with opened.engine.connect() as connection:
                yield await _reached(opened, connection)
                yield (fits := await _schema(opened))
                if fits.level == "ok":
                    yield await _secret(connection, settings)
                if not opened.is_sqlite:
                    yield await _role(connection)
                    yield await _clock(connection)
                    yield await _room(connection, settings)
        except (SQLAlchemyError, OSError) as failure:
            shown = opened.url.render_as_string(hide_password=True)
            yield error(ABOUT, f"{shown}: {schema.reason(failure)}")
    finally:
        await opened.close()


def is_missing(opened: Database) -> bool:
    """Tell whether the SQLite file is missing; opening it would create it."""
    return opened.is_sqlite and not Path(opened.url.database or "").exists()


def _of_sqlite(opened: Database, settings: Settings) -> Iterator[Finding]:
    if is_missing(opened):
        yield error(ABOUT, f"there is no {opened.url.database}; run `gateway migrate`")
    elif settings.gateways > 1:
        yield error(ABOUT, "SQLite is for one machine, and GATEWAY_GATEWAYS is above 1")
    elif settings.redis_url:
        yield warning(ABOUT, "SQLite is for one machine; with REDIS_URL there may be several")


async def _reached(opened: Database, connection: AsyncConnection) -> Finding:
    """Say where the database is, and whether others can read on the way there."""
    shown = opened.url.render_as_string(hide_password=True)
    if opened.is_sqlite:
        return ok(ABOUT, f"{shown} is reached")
    version = await connection.scalar(text("SHOW server_version"))
    encrypted = await connection.scalar(
        text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    )
    told = f"{shown} is reached: PostgreSQL {version}"
    if encrypted:
        return ok(ABOUT, f"{told}, by TLS")
    if is_loopback(opened.url.host or "localhost"):
        return ok(ABOUT, f"{told}, on this machine")
    return warning(ABOUT, f"{told}, without TLS: anyone in between can read and change everything")


async def _schema(opened: Database) -> Finding:
    try:
        found = await schema.read(opened)
    except DatabaseError as failure:
        return error(ABOUT, str(failure))
    if found.flaw:
        return error(ABOUT, found.flaw)
    if found.is_newer:
        return ok(ABOUT, f"the schema is at {found.current}: newer, and this version runs on it")
    return ok(ABOUT, f"the schema is at {found.current}, which this version needs")


async def _secret(connection: AsyncConnection, settings: Settings) -> Finding:
    """Say whether GATEWAY_SECRET is the one that this database was used with."""
    try:
        is_known = await record.hold(connection, settings.keyring)
    except record.WrongSecret as failure:
        return error("secret", str(failure))
    if not is_known:
        return ok("secret", "no gateway has started on this database yet: any secret fits")
    if imported := await record.unstarted(connection):
        return warning("secret", "; ".join(starmap(record.unstarted_words, imported.items())))
    return ok("secret", "GATEWAY_SECRET has all that this database needs")


async def _role(connection: AsyncConnection) -> Finding:
    """Say whether the role may do what the service does, and nothing else."""
    role, is_superuser, makes = (
        await connection.execute(
            text(
                "SELECT current_user, rolsuper, has_schema_privilege(current_schema(), 'CREATE') "
                "FROM pg_roles WHERE rolname = current_user"
            )
        )
    ).one()
    missing = (
        await connection.scalars(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
                "AND relname = ANY(:names) AND NOT (has_table_privilege(oid, 'SELECT') "
                "AND has_table_privilege(oid, 'INSERT')) ORDER BY relname"
            ),
            {"names": [table.name for table in metadata.sorted_tables if table not in READ_ONLY]},
        )
    ).all()
    if missing:
        return error(
            ABOUT,
            f"the role {role} may not read and write {', '.join(missing[:3])}"
            f"{' and others' if len(missing) > 3 else ''}; run `gateway migrate` as the schema's "
            "owner (GATEWAY_MIGRATION_DATABASE_URL)",
        )
    rewrites = await connection.scalar(
        text(f"SELECT has_table_privilege('{usage_events.name}', 'DELETE')")
    )
    if is_superuser or makes or rewrites:
        return warning(
            ABOUT,
            f"the role {role} may change tables and history; GATEWAY_MIGRATION_DATABASE_URL lets "
            "another role own them",
        )
    return ok(ABOUT, f"the role {role} may read and add rows, and change no table")


async def _clock(connection: AsyncConnection) -> Finding:
    asked = time.time()
    told = await connection.scalar(text("SELECT clock_timestamp()"))
    answered = time.time()
    assert isinstance(told, datetime)
    ahead_seconds = (asked + answered) / 2 - told.timestamp()
    # the answer was made at some moment during the round trip
    differ_seconds = max(0.0, abs(ahead_seconds) - (answered - asked) / 2)
    if differ_seconds > _CLOCK_SECONDS_MAX:
        side = "ahead of" if ahead_seconds > 0 else "behind"
        return warning(
            ABOUT, f"this machine's clock is {abs(ahead_seconds):.0f} s {side} the database's"
        )
    return ok(ABOUT, "this machine's clock agrees with the database's")


async def _room(connection: AsyncConnection, settings: Settings) -> Finding:
    """Compare the connections that gateways may open with what the server allows our role."""
    server, of_database, of_role = (
        await connection.execute(
            text(
                "SELECT current_setting('max_connections')::int "
                "- current_setting('superuser_reserved_connections')::int "
                "- coalesce(current_setting('reserved_connections', true)::int, 0), "
                "(SELECT datconnlimit FROM pg_database WHERE datname = current_database()), "
                "(SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user)"
            )
        )
    ).one()
    limits = {"the server": server, "the database": of_database, "the role": of_role}
    who, most = min(
        ((who, limit) for who, limit in limits.items() if limit >= 0), key=lambda pair: pair[1]
    )
    each = settings.database_connections_max + _OWN_CONNECTIONS[settings.role]
    processes = settings.gateways * settings.processes
    needed = each * processes
    told = (
        f"{who} gives {most} connections, and {processes} "
        f"{'process' if processes == 1 else 'processes'} may open {needed}"
    )
    if needed > most:
        return error(ABOUT, f"{told}: see docs/connections.md")
    if needed > _FULL * most:
        return warning(ABOUT, f"{told}: little is left for commands, migrations and other gateways")
    return ok(ABOUT, f"{told}; {most // each} processes would fit")
