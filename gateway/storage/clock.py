"""The database's clock. What several processes compare goes by it: their own clocks differ.

SQLite has one machine and so one clock, the process's.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Float, bindparam, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from gateway.storage.tables.types import Instant

_NONE = timedelta(0)


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
    return _Clock(
        literal(datetime.now(UTC) + later, Instant()), literal(later.total_seconds(), Float())
    )


def clock_of_statement(name: str) -> ColumnElement[datetime]:
    """Return the time for a statement that is made once: who executes it binds `name` to now."""
    now: BindParameter[datetime] = bindparam(name, type_=Instant())
    return _Clock(now, literal(0.0, Float()))
