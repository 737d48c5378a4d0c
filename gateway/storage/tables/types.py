"""Column types that mean the same in PostgreSQL and in SQLite's STRICT tables."""

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
    Integer,
    MetaData,
    Text,
    TypeDecorator,
    Uuid,
    cast,
    func,
)
from sqlalchemy.types import TypeEngine

# SQLite turns an overflowing integer into a float without a word, and a JSON reader may keep only
# 53 bits: no amount may pass this bound ($9,007,199).
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
Nanos = BigInteger().with_variant(Integer(), "sqlite")


class Id(TypeDecorator[str]):
    """A UUID: `uuid` in PostgreSQL, text in SQLite, canonical text in Python."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Pick the column's type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Uuid(as_uuid=False))
        return dialect.type_descriptor(Text())


class Instant(TypeDecorator[datetime]):
    """A moment: `timestamptz` in PostgreSQL, sortable UTC text in SQLite, aware in Python."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Pick the column's type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write UTC; a moment without a zone is our own mistake."""
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

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Pick the column's type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Date())
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: date | None, dialect: Dialect) -> Any:
        """Write a date; a moment, which may be of two days, is our own mistake."""
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
    return Column(name, Nanos, nullable=nullable), check


def total(column: ColumnElement[int]) -> ColumnElement[int]:
    """Return the sum of a column of integers, 0 of no rows: an integer in both databases.

    PostgreSQL's own sum of them is a `numeric`, which is read as a Decimal.
    """
    return cast(func.coalesce(func.sum(column), 0), Nanos)
