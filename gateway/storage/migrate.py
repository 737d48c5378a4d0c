"""Brings a database to a revision of the schema, one process at a time.

Up is what every version after the previous one runs beside. Down removes what newer versions added,
and is refused while that would lose rows. Only this module imports alembic.
"""

from __future__ import annotations

import ast
import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.storage.database import Database, DatabaseError
from gateway.storage.schema import MIGRATIONS, Schema, check, find, reason, revisions, shown
from migrations.losses import LOSSES

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["Plan", "check", "config", "downgrade", "plan", "upgrade"]

_LOCK = 0x57E11A  # any number, the same in every process
_LOCK_SECONDS = 0.2
"""How often a process that waits for the lock asks for it."""
_WAIT = "2s"
"""How long a revision waits for a lock: all ticks wait behind it."""
_STATEMENT = "30min"
"""How long one statement of a revision may take, but for those that nobody waits for."""
_IDLE = "1min"
"""How long a process that stopped in a revision may hold its locks."""
_PAUSE_SECONDS = 1.0
"""How long others then go on, before the revision is tried again."""
_TRIES = 200
_LOCK_NOT_AVAILABLE = "55P03"


ResultT = TypeVar("ResultT")


class Plan(NamedTuple):
    """What a change of the schema would do."""

    schema: Schema
    is_down: bool
    steps: Sequence[str]
    """The revisions that are applied or taken back, in their order, and what each is."""
    losses: Mapping[str, int]
    """Rows that going down would lose, by their table."""


def _quiet(_line: str) -> None:
    """Say nothing."""


async def upgrade(
    database: Database, to: str = "", *, say: Callable[[str], None] = _quiet
) -> Schema:
    """Apply the missing revisions, up to one of them if it is named, and return the schema before.

    A newer schema that this version runs on stays as it is. Raises DatabaseError: what to do.
    """
    return await _patiently(database, lambda connection: _upgrade(connection, to, say))


async def downgrade(database: Database, to: str, *, say: Callable[[str], None] = _quiet) -> Schema:
    """Take revisions back, down to this one, and return the schema before.

    Raises DatabaseError, and changes nothing, if rows would be lost: it names them.
    """
    return await _patiently(database, lambda connection: _downgrade(connection, to, say))


async def plan(database: Database, to: str = "") -> Plan:
    """Find out what a change would do. Raises DatabaseError for a revision that is none."""
    return await _patiently(database, lambda connection: _plan(connection, to))


async def _patiently(database: Database, work: Callable[[Connection], ResultT]) -> ResultT:
    patient = Database(database.url, connections_max=1, is_patient=True)
    try:
        async with patient.engine.connect() as connection:
            return await connection.run_sync(work)
    except (SQLAlchemyError, OSError) as error:
        raise DatabaseError(f"{shown(database.url)}: {reason(error)}") from error
    finally:
        await patient.close()


def config(connection: Connection) -> Config:
    """Return alembic's configuration around an open connection."""
    from alembic.config import Config  # noqa: PLC0415 - 0.1 s of CPU that only upgrading needs

    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def _upgrade(connection: Connection, to: str, say: Callable[[str], None]) -> Schema:
    from alembic import command  # noqa: PLC0415

    with _locked(connection, say):
        schema = _usable(connection)
        target = _named(to) if to else "head"
        if not schema.is_newer:
            _run(connection, lambda: command.upgrade(config(connection), target), say)
    return schema


def _downgrade(connection: Connection, to: str, say: Callable[[str], None]) -> Schema:
    from alembic import command  # noqa: PLC0415

    with _locked(connection, say):
        planned = _plan(connection, to)
        if planned.losses:
            rows = ", ".join(f"{count:,} of {of}" for of, count in planned.losses.items())
            raise DatabaseError(
                f"{shown(connection.engine.url)}: going down to {_named(to)} would lose rows: "
                f"{rows}; nothing was changed"
            )
        connection.rollback()
        _run(connection, lambda: command.downgrade(config(connection), _named(to)), say)
    return planned.schema


def _run(connection: Connection, change: Callable[[], None], say: Callable[[str], None]) -> None:
    """Change the schema; a revision that loses to a lock is tried again."""
    connection.rollback()  # ends a transaction that only read, which SQLite can't make a writer
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET lock_timeout = '{_WAIT}'"))
        connection.execute(text(f"SET statement_timeout = '{_STATEMENT}'"))
        connection.execute(text(f"SET idle_in_transaction_session_timeout = '{_IDLE}'"))
        connection.commit()
    for attempt in range(_TRIES):
        try:
            change()
            break
        except DBAPIError as error:
            connection.rollback()
            locked = getattr(error.orig, "sqlstate", "") == _LOCK_NOT_AVAILABLE
            if not locked or attempt == _TRIES - 1:
                raise
        if attempt == 0:
            say("Waiting for a lock that somebody holds; others go on meanwhile.")
        time.sleep(_PAUSE_SECONDS)
    connection.commit()


def _plan(connection: Connection, to: str) -> Plan:
    schema, chain = _usable(connection), _chain()
    if schema.is_newer:
        return Plan(schema, False, [], {})
    here = chain.index(schema.current) if schema.current else -1
    there = chain.index(_named(to) if to else schema.needed)
    if there >= here:
        return Plan(schema, False, list(map(_told, chain[here + 1 : there + 1])), {})
    back = chain[there + 1 : here + 1][::-1]
    return Plan(schema, True, list(map(_told, back)), _losses(connection, back))


def _losses(connection: Connection, back: Sequence[str]) -> Mapping[str, int]:
    """Count the rows that would be lost. A row that two revisions would change counts twice."""
    found: dict[str, int] = {}
    for revision in back:
        for table, where in LOSSES.get(revision, {}).items():
            count = connection.scalar(text(f"SELECT count(*) FROM {table} WHERE {where}"))  # noqa: S608 - ours
            if count:
                found[table] = found.get(table, 0) + count
    return found


def _usable(connection: Connection) -> Schema:
    """Read the schema. Raises DatabaseError for one that this version can do nothing with."""
    schema = find(connection)
    if not schema.is_known and not schema.is_newer:
        raise DatabaseError(f"{shown(connection.engine.url)}: {schema.stranger}")
    return schema


def _chain() -> Sequence[str]:
    """Return the revisions in the order in which they are applied."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(str(MIGRATIONS))
    return [script.revision for script in scripts.walk_revisions()][::-1]


def _named(to: str) -> str:
    """Return the revision of a name or a number. Raises DatabaseError if there is none."""
    found = [one for one in revisions() if to == one or one.startswith(f"{to:0>4}_")]
    if not found:
        raise DatabaseError(
            f"this version knows no revision {to!r}; its last ones are "
            f"{', '.join(revisions()[-3:])}"
        )
    return found[0]


def _told(revision: str) -> str:
    """Return a revision with the first line of its docstring."""
    source = (MIGRATIONS / "versions" / f"{revision}.py").read_text()
    words = ast.get_docstring(ast.parse(source)) or ""
    return f"{revision}: {words.partition(chr(10))[0]}"


@contextmanager
def _locked(connection: Connection, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock, so that two replicas don't change the schema at the same time."""
    path, waiting = connection.engine.url.database, "Waiting for another `gateway migrate`."
    if connection.dialect.name == "postgresql":
        # who waited in a statement would keep its snapshot, and an index that is built concurrently
        # waits for all snapshots
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
            connection.commit()
            if waiting:
                say(waiting)
                waiting = ""
            time.sleep(_LOCK_SECONDS)
        connection.commit()
        try:
            yield
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
    elif path:
        with Path(f"{path}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(waiting)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
    else:
        yield
