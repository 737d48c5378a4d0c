"""Column types that mean the same in PostgreSQL and in SQLite's STRICT tables.

Revisions have a frozen copy of what these create: migrations/types.py.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Text,
    TypeDecorator,
    Uuid,
    cast,
    func,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

# 2^53 - 1 ($9,007,199): SQLite silently turns an overflowing integer into a float, and many readers
# of JSON keep only 53 bits.
NANOS_MAX = 9_007_199_254_740_991

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

STRICT: dict[str, Any] = {"sqlite_strict": True}
# room in each page for the new versions of rows that change all the time
HALF_FULL: dict[str, Any] = {"postgresql_with": {"fillfactor": 50}}

BigInt = BigInteger().with_variant(Integer(), "sqlite")
SmallInt = SmallInteger().with_variant(Integer(), "sqlite")
# a UUID, canonical text in Python
Id = Text().with_variant(Uuid(as_uuid=False), "postgresql")


class Instant(TypeDecorator[datetime]):
    """A moment: `timestamptz` in PostgreSQL, sortable UTC text in SQLite, aware in Python."""

    impl = Text().with_variant(DateTime(timezone=True), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write UTC. A moment without a time zone is a bug of ours."""
        if value is None or dialect.name == "postgresql":
            return value
        assert value.tzinfo is not None
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read an aware datetime."""
        if value is None or dialect.name == "postgresql":
            return value  # type: ignore[no-any-return]
        return datetime.fromisoformat(value)


class Day(TypeDecorator[date]):
    """A day of UTC: `date` in PostgreSQL, sortable text in SQLite's STRICT tables."""

    impl = Text().with_variant(Date(), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: date | None, dialect: Dialect) -> Any:
        """Write a date. A datetime, whose day depends on the time zone, is a bug of ours."""
        assert not isinstance(value, datetime)
        if value is None or dialect.name == "postgresql":
            return value
        return value.isoformat()

    def process_result_value(self, value: Any, dialect: Dialect) -> date | None:
        """Read a date."""
        if value is None or dialect.name == "postgresql":
            return value  # type: ignore[no-any-return]
        return date.fromisoformat(value)


def nanos(
    name: str, *, least: int = 0, nullable: bool = False
) -> tuple[Column[int], CheckConstraint]:
    """Return a column of nano-dollars, and the CHECK that keeps it from `least` to NANOS_MAX."""
    check = CheckConstraint(f"{name} BETWEEN {least} AND {NANOS_MAX}", name=name)
    return Column(name, BigInt, nullable=nullable), check


def sums(name: str) -> tuple[Column[int], CheckConstraint]:
    """Return a column for a sum of nano-dollars that grows as long as its row lives.

    All 64 bits are for it: a bound that a customer can reach would stop what is posted to the row.
    """
    return Column(name, BigInt, nullable=False), CheckConstraint(f"{name} >= 0", name=name)


def partial_index(name: str, column: str, *, where: str, unique: bool = False) -> Index:
    """Return an index of the rows for which `where` is true."""
    rows = text(where)
    return Index(name, column, unique=unique, postgresql_where=rows, sqlite_where=rows)


def recent_index(name: str, column: str) -> Index:
    """Return an index for the newest rows of a table that grows with time.

    On PostgreSQL it costs next to nothing: the least and the greatest value of each range of pages.
    """
    return Index(name, column, postgresql_using="brin", postgresql_with={"autosummarize": "on"})


class domain_of(FunctionElement[str]):  # noqa: N801 - a function of SQL, as `func` has them
    """The domain of a mail address, by the expression that PostgreSQL's indexes know."""

    type = Text()
    inherit_cache = True


@compiles(domain_of)
def _domain_of(element: domain_of, compiler: SQLCompiler, **options: Any) -> str:
    address = compiler.process(element.clauses, **options)
    return f"substr({address}, instr({address}, '@') + 1)"


@compiles(domain_of, "postgresql")
def _domain_of_postgresql(element: domain_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"split_part({compiler.process(element.clauses, **options)}, '@', 2)"


def total(column: ColumnElement[int]) -> ColumnElement[int]:
    """Return the sum of a column of integers, 0 for no rows, as an integer.

    PostgreSQL's own sum of a `bigint` is a `numeric`, which is read as a Decimal.
    """
    return cast(func.coalesce(func.sum(column), 0), BigInt)
