"""Column types for revisions, frozen here: a revision imports nothing from gateway/.

They are what gateway/storage/tables/types.py creates in a database, without its conversions.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    SmallInteger,
    Text,
    Uuid,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

NANOS_MAX = 9_007_199_254_740_991
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

Id = Text().with_variant(Uuid(as_uuid=False), "postgresql")
Instant = Text().with_variant(DateTime(timezone=True), "postgresql")
Day = Text().with_variant(Date(), "postgresql")
Count = BigInteger().with_variant(Integer(), "sqlite")
Small = SmallInteger().with_variant(Integer(), "sqlite")
Flag = Boolean().with_variant(Integer(), "sqlite")


def required(kind: TypeEngine[Any] | type[TypeEngine[Any]], *names: str) -> list[Column[Any]]:
    """Return columns of one type that are never null."""
    return [Column(name, kind, nullable=False) for name in names]


def nanos(*names: str, least: int = 0, nullable: bool = False) -> Iterator[SchemaItem]:
    """Return columns of nano-dollars, each with the CHECK that keeps it in `least` to NANOS_MAX."""
    for name in names:
        yield Column(name, Count, nullable=nullable)
        yield CheckConstraint(f"{name} BETWEEN {least} AND {NANOS_MAX}", name=name)


def partial_index(name: str, column: str, *, where: str, unique: bool = False) -> Index:
    """Return an index of the rows for which `where` is true."""
    rows = text(where)
    return Index(name, column, unique=unique, postgresql_where=rows, sqlite_where=rows)
