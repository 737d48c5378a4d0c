"""One engine for PostgreSQL and SQLite, and the two ways to use it: `read` and `write`.

On SQLite `write` takes the write lock at once (BEGIN IMMEDIATE), so that a transaction that reads
and then writes can't be refused half-way; commits are durable (WAL, synchronous=FULL). A task that
holds one such transaction must not open another: it would wait for itself.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    create_engine,
    event,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

log = structlog.get_logger()

RowT = TypeVar("RowT")

_DRIVERS = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
}
_REFUSING = ("21", "22", "23", "P0")
"""Classes of PostgreSQL's errors: cardinality, a value, a constraint, an exception of ours."""
ROWS_AT_ONCE = 200
"""Rows of one statement of a job in a process that answers requests: 3 ms of its event loop."""
_BUSY_SECONDS = 5.0
_SQLITE_OVERFLOW = 10
"""Connections to SQLite beyond those that are kept open."""
_CONNECT_SECONDS = 5.0
_COMMAND_SECONDS = 10.0


class DatabaseError(Exception):
    """The database can't be used as it is configured; the text is for operators."""


class DatabaseAway(ConnectionError):
    """The database can't be reached, or was lost during a query."""


class Database:
    """An engine and its transactions; `close` it when done. A patient one has no time limit."""

    def __init__(
        self, url: str | URL, *, connections_max: int = 16, is_patient: bool = False
    ) -> None:
        self.url = parse(url)
        self.engine = _engine(self.url, connections_max, None if is_patient else _COMMAND_SECONDS)
        # SQLite has one writer. It lets others poll, in steps of up to 100 ms and in no order, so
        # the tasks of this process take turns before they ask it.
        self._turn = asyncio.Lock() if self.is_sqlite else None

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite, the embedded default."""
        return self.engine.dialect.name == "sqlite"

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are in use, and the most there may be."""
        pool = self.engine.pool
        assert isinstance(pool, QueuePool), "a database in memory is nobody's"
        return pool.checkedout(), pool.size() + (_SQLITE_OVERFLOW if self.is_sqlite else 0)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection to read from; nothing is committed. Raises DatabaseAway."""
        async with self._connected() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction, committed unless the block raises. Raises DatabaseAway."""
        async with self.turn(), self._connected() as connection:
            await connection.execution_options(stella_write=True)
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for this task's turn to write to SQLite, and hold it. Raises DatabaseAway."""
        if self._turn is None:
            yield
            return
        try:
            async with asyncio.timeout(_BUSY_SECONDS):
                await self._turn.acquire()
        except TimeoutError as error:
            raise DatabaseAway("other transactions took too long") from error
        try:
            yield
        finally:
            self._turn.release()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        try:
            connection = await self.engine.connect()
        except (SQLAlchemyError, OSError, asyncpg.PostgresError) as error:
            raise DatabaseAway(str(error)) from error
        try:
            try:
                yield connection
            finally:
                # shielded, so that a canceled request returns its connection too
                await asyncio.shield(connection.close())
        except DBAPIError as error:
            if error.connection_invalidated:
                raise DatabaseAway(str(error)) from error
            raise
        except TimeoutError as error:  # the driver's, after _COMMAND_SECONDS
            raise DatabaseAway("no answer in time") from error

    def blocking(self) -> Engine:
        """Return an engine for a thread of its own, on SQLite; its user begins and commits."""
        assert self.is_sqlite
        engine = create_engine(self.url.set(drivername="sqlite"), hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "invalidate", _roll_back_sqlite)
        return engine

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


def refuses(error: BaseException) -> bool:
    """Return whether the database, or a rule of ours, refuses what is written, and would again.

    False: it is away, or others were in the way.
    """
    if isinstance(error, AssertionError | sqlite3.IntegrityError | sqlite3.DataError):
        return True
    cause = getattr(error, "orig", None)
    if cause is not None:
        return refuses(cause)
    return str(getattr(error, "sqlstate", None))[:2] in _REFUSING


@contextmanager
def skipping(what: str, **named: str) -> Iterator[None]:
    """Log what the database refuses of one of many, so that the others go on."""
    try:
        yield
    except (SQLAlchemyError, AssertionError) as error:
        if not refuses(error):
            raise
        log.error(what, reason=str(error), **named)


def in_parts(rows: Iterable[RowT]) -> Iterator[list[RowT]]:
    """Split what a job writes: each statement holds up the event loop while it is made."""
    left = iter(rows)
    while part := list(islice(left, ROWS_AT_ONCE)):
        yield part


def insert_into(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Start an INSERT that may have an ON CONFLICT clause, which is not standard SQL."""
    is_postgresql = connection.dialect.name == "postgresql"
    return postgresql.insert(table) if is_postgresql else sqlite.insert(table)


async def count(connection: AsyncConnection, table: Table, *conditions: ColumnElement[bool]) -> int:
    """Return how many rows of a table meet all conditions."""
    query = select(func.count()).select_from(table).where(*conditions)
    return await connection.scalar(query) or 0


async def alone(connection: AsyncConnection, name: str) -> None:
    """Let only one transaction at a time continue from here for each name, until it ends.

    For limits that are checked by counting rows before one is inserted. SQLite has one writer
    anyway.
    """
    if connection.dialect.name == "postgresql":
        key = {"name": name}
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), key
        )


async def see_one_moment(connection: AsyncConnection) -> None:
    """Let a transaction that only reads see the database at one moment; call it first.

    On SQLite each transaction does.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


def parse(url: str | URL) -> URL:
    """Parse a database address and name its driver. Raises DatabaseError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseError("DATABASE_URL is not a database address") from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise DatabaseError(
            f"DATABASE_URL names {parsed.drivername!r}: use postgresql://... or sqlite:///..."
        )
    return parsed.set(drivername=driver)


async def connect(
    url: URL,
    *,
    seconds: float,
    command_seconds: float | None = None,
    settings: Mapping[str, str] | None = None,
) -> asyncpg.Connection:
    """Connect to PostgreSQL, with settings of the session. Raises what asyncpg raises."""
    said = dict(settings or {})
    name = said.pop("application_name", "")
    connection = await asyncpg.connect(
        libpq_address(url),
        timeout=seconds,
        command_timeout=command_seconds,
        server_settings={"application_name": name} if name else {},
    )
    if said:
        # not in the packet that opens the connection: poolers refuse most settings there
        try:
            words = "; ".join(f"SET {setting} = '{value}'" for setting, value in said.items())
            await connection.execute(words, timeout=seconds)
        except BaseException:
            connection.terminate()
            raise
    return connection


def libpq_address(url: URL) -> str:
    """Return the address of a PostgreSQL in libpq's words, which the driver reads best.

    SQLAlchemy's own words for several hosts and for TLS mean the same: `host=A:1&host=B:2`, `ssl`.
    """
    query = dict(url.query)
    if isinstance(hosts := query.get("host"), tuple):
        query["host"] = ",".join(hosts)
    if "ssl" in query:
        query["sslmode"] = query.pop("ssl")
    plain = url.set(drivername="postgresql", query=query)
    return plain.render_as_string(hide_password=False)


def _engine(url: URL, connections_max: int, command_seconds: float | None) -> AsyncEngine:
    if url.drivername.startswith("postgresql"):
        engine = create_async_engine(
            url,
            hide_parameters=True,
            pool_size=connections_max,
            max_overflow=0,
            pool_timeout=_CONNECT_SECONDS,
            async_creator=lambda: connect(
                url, seconds=_CONNECT_SECONDS, command_seconds=command_seconds
            ),
        )
        event.listen(engine.sync_engine, "checkout", _refuse_closed)
        return engine
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url, hide_parameters=True, max_overflow=_SQLITE_OVERFLOW)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    event.listen(engine.sync_engine, "invalidate", _roll_back_sqlite)
    return engine


def _refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """Let the pool replace a connection that the server has closed.

    The event loop has seen that; the pool's own ping would ask the server, in three round trips.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins no transaction: _begin_sqlite does
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_BUSY_SECONDS * 1_000:.0f}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _roll_back_sqlite(connection: Any, _record: Any, _error: BaseException | None) -> None:
    """End the transaction of a connection that is dropped because its task was canceled.

    Closing it is not enough: while a statement is open, which the task's traceback holds, SQLite
    keeps the connection and its write lock.
    """
    connection.rollback()


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("stella_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
