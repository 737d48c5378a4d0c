"""Brings a database to this version's schema, one process at a time.

The revisions are in migrations/versions; a revision's id is the name of its file. The one
with the highest number is the newest, which is known without running them: only an upgrade imports
alembic.
"""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.storage.database import Database, DatabaseError

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_LOCK = 0x57E11A  # any number, the same in every process
_LOCK_SECONDS = 0.2
"""How often a process that waits for the lock asks for it."""
_WAIT = "2s"
"""How long a revision waits for a lock: all ticks wait behind it."""
_PAUSE_SECONDS = 1.0
"""How long others then go on, before the revision is tried again."""
_TRIES = 200
_LOCK_NOT_AVAILABLE = "55P03"
_UNRELEASED = re.compile(r"\d{4}")  # the ids of the revisions before the first release


async def upgrade(database: Database) -> None:
    """Apply the missing revisions. Raises DatabaseError, which says what to do."""
    patient = Database(database.url, connections_max=1, is_patient=True)
    try:
        async with patient.engine.connect() as connection:
            await connection.run_sync(_upgrade)
    except (SQLAlchemyError, OSError) as error:
        raise DatabaseError(f"{_where(database.url)}: {reason(error)}") from error
    finally:
        await patient.close()


async def check(database: Database) -> None:
    """Make sure that the schema is this version's. Raises DatabaseError, which says what to do."""
    try:
        async with database.engine.connect() as connection:
            current = await connection.run_sync(_known_revision)
    except (SQLAlchemyError, OSError) as error:
        raise DatabaseError(f"{_where(database.url)}: {reason(error)}") from error
    newest = _revisions()[-1]
    if current != newest:
        raise DatabaseError(
            f"{_where(database.url)}: the schema is at {current or 'nothing'}, this version needs "
            f"{newest}; run `gateway migrate`"
        )


def config(connection: Connection) -> Config:
    """Return alembic's configuration around an open connection."""
    from alembic.config import Config  # noqa: PLC0415 - 0.1 s of CPU that only upgrading needs

    made = Config()
    made.set_main_option("script_location", str(_MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415

    with _locked(connection):
        _known_revision(connection)
        connection.rollback()  # ends a transaction that only read, which SQLite can't make a writer
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET lock_timeout = '{_WAIT}'"))
            connection.commit()
        for attempt in range(_TRIES):
            try:
                command.upgrade(config(connection), "head")
                break
            except DBAPIError as error:
                connection.rollback()
                locked = getattr(error.orig, "sqlstate", "") == _LOCK_NOT_AVAILABLE
                if not locked or attempt == _TRIES - 1:
                    raise
            time.sleep(_PAUSE_SECONDS)
    connection.commit()


def _known_revision(connection: Connection) -> str | None:
    """Return the schema's revision, None without one. Raises DatabaseError for an unknown one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    current: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if current is None or current in _revisions():
        return current
    at = f"{_where(connection.engine.url)}: the schema is at {current}"
    if _UNRELEASED.fullmatch(current):
        raise DatabaseError(
            f"{at}, from before release 0.1.0, and can't be upgraded; use an empty database"
        )
    raise DatabaseError(
        f"{at}, and this version of the gateway is older than that; run the newer version"
    )


@contextmanager
def _locked(connection: Connection) -> Iterator[None]:
    """Hold a lock, so that two replicas don't change the schema at the same time."""
    path = connection.engine.url.database
    if connection.dialect.name == "postgresql":
        # who waited in a statement would keep its snapshot, and an index that is built concurrently
        # waits for all snapshots
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
            connection.commit()
            time.sleep(_LOCK_SECONDS)
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


def _where(url: URL) -> str:
    return url.render_as_string(hide_password=True)


@cache
def _revisions() -> Sequence[str]:
    """Return this version's revisions by number, the newest last."""
    return sorted(file.stem for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def reason(error: Exception) -> str:
    """Return the database's message in one line, without the statement and its values."""
    cause = str(getattr(error, "orig", None) or error).strip()
    return cause.splitlines()[0] if cause else type(error).__name__
