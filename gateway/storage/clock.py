"""The database's clock. What several processes compare goes by it: their own clocks differ.

Statements ask for it (`clock`), and processes follow it (`follow`, wall.py). SQLite has one machine
and so one clock, the process's.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import BindParameter, ColumnElement, Float, bindparam, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from gateway import wall
from gateway.storage.database import Database
from gateway.storage.tables.types import Instant

log = structlog.get_logger()

_NONE = timedelta(0)
FOLLOW_SECONDS = 15.0
"""How often a process asks the database for the time."""
_ROUND_TRIP_SECONDS = 1.0
"""An answer that took longer says too little."""
_WRONG_SECONDS = 5.0
"""From where on a machine's clock is told to be wrong."""


class _Clock(FunctionElement[datetime]):
    """The time as SQL: of the process's clock, and how many seconds later than the database's."""

    type = Instant()
    inherit_cache = True


@compiles(_Clock)
def _of_the_process(element: _Clock, compiler: SQLCompiler, **options: Any) -> str:
    at, _ = element.clauses
    return str(compiler.process(at, **options))


@compiles(_Clock, "postgresql")
def _of_the_database(element: _Clock, compiler: SQLCompiler, **options: Any) -> str:
    _, seconds = element.clauses
    later = compiler.process(seconds, **options)
    return f"clock_timestamp() + make_interval(secs => CAST({later} AS double precision))"


def clock(later: timedelta = _NONE) -> ColumnElement[datetime]:
    """Return the time that a statement is executed, or so much later."""
    return _Clock(literal(wall.now() + later, Instant()), literal(later.total_seconds(), Float()))


def clock_of_statement(name: str) -> ColumnElement[datetime]:
    """Return the time for a statement that is made once: who executes it binds `name` to now."""
    now: BindParameter[datetime] = bindparam(name, type_=Instant())
    return _Clock(now, literal(0.0, Float()))


async def follow(database: Database) -> None:
    """Set the process's wall clock to the database's; the job's function, and done at the start.

    The monotonic clock goes on from there, so a machine's clock that steps changes nothing.
    """
    if database.is_sqlite:
        wall.set_to(time.time_ns(), time.monotonic_ns())
        return
    async with database.read() as connection:
        await connection.execute(select(1))  # what connecting takes is no part of the round trip
        asked = time.monotonic_ns()
        told = await connection.scalar(select(clock()))
        answered = time.monotonic_ns()
    assert told is not None
    if answered - asked > _ROUND_TRIP_SECONDS * 1e9:
        return
    from gateway.observability import metrics  # noqa: PLC0415 - for processes, not for commands

    middle = (asked + answered) // 2
    unix_ns = int(told.timestamp() * 1_000_000) * 1_000
    wall.set_to(unix_ns, middle)
    wrong = (time.time_ns() - time.monotonic_ns() - wall.ahead_ns) / 1e9
    metrics.set_clock(wrong)
    if abs(wrong) > _WRONG_SECONDS:
        log.warning("this machine's clock is not the database's, which is used", seconds=wrong)
