"""Bringing a database to this version's schema, one process at a time.

The alembic command line works too (`alembic revision --autogenerate`): it is configured in
pyproject.toml, and gets its connection here.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from gateway.storage.database import Database, DatabaseError

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_LOCK = 0x57E11A  # any number, the same in every process


async def upgrade(database: Database) -> None:
    """Apply what is missing. Raises DatabaseError when the database can't be used."""
    patient = Database(database.url, connections_max=1, is_patient=True)
    try:
        async with patient.engine.connect() as connection:
            await connection.run_sync(_upgrade)
    except (SQLAlchemyError, OSError) as error:
        raise DatabaseError(f"{_where(database)}: {reason(error)}") from error
    finally:
        await patient.close()


async def check(database: Database) -> None:
    """Make sure that the schema is this version's. Raises DatabaseError, which says what to do."""
    try:
        async with database.engine.connect() as connection:
            current = await connection.run_sync(_revision)
    except (SQLAlchemyError, OSError) as error:
        raise DatabaseError(f"{_where(database)}: {reason(error)}") from error
    newest = _newest()
    if current != newest:
        raise DatabaseError(
            f"{_where(database)}: the schema is at {current or 'nothing'}, this version needs "
            f"{newest}; run `gateway migrate`"
        )


def config(connection: Connection) -> Config:
    """Return alembic's configuration around an open connection."""
    made = Config()
    made.set_main_option("script_location", str(_MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def _upgrade(connection: Connection) -> None:
    with _alone(connection):
        command.upgrade(config(connection), "head")
    connection.commit()


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Hold the lock under which schemas change, so that two replicas don't at once."""
    path = connection.engine.url.database
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        try:
            yield
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
    elif path:
        with Path(f"{path}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    else:
        yield


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


@cache
def _newest() -> str | None:
    """Return this version's revision. Finding it runs every file of migrations/."""
    return ScriptDirectory(str(_MIGRATIONS)).get_current_head()


def _where(database: Database) -> str:
    return database.url.render_as_string(hide_password=True)


def reason(error: Exception) -> str:
    """Say in one line what a database said, without the statement and its values."""
    cause = str(getattr(error, "orig", None) or error).strip()
    return cause.splitlines()[0] if cause else type(error).__name__
