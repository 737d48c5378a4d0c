"""What was used: one row a request, and their sums by the hour and by the day of UTC.

The rows are append-only and go with their day's partition when their time is over; the sums stay.
The ledger writes the hours, and triggers carry each change of an hour into its day: whoever writes
them, the days are the sums of the hours.
Rows name their key, model and price without foreign keys: each check would lock a shared row for
every request. An invariant finds the names that are nobody's instead.

Beside them, and counted apart from money: how requests were answered, by the hour.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
)

from gateway.storage.tables.types import STRICT, Day, Id, Instant, metadata, nanos

_Count = BigInteger().with_variant(Integer(), "sqlite")

usage_events = Table(
    "usage_events",
    metadata,
    # UUIDv7: unique over all partitions, because it also says in which one it lies
    Column("request_id", Id, primary_key=True),
    Column("organization_id", Id, nullable=False),
    Column("key_id", Id, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("price_id", Id, nullable=False),
    Column("inputs", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    *nanos("cost_nanos"),
    # the cost; or nothing, where an answer was out and its lease and the credit were gone
    *nanos("charged_nanos"),
    # the lease that paid; none when the account paid itself, after the lease was reaped
    Column("lease_id", Id),
    # the account of the key's budget, and the lease of it that paid
    Column("budget_id", Id),
    Column("budget_lease_id", Id),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("inputs > 0 AND tokens > 0", name="counts"),
    CheckConstraint("charged_nanos IN (0, cost_nanos)", name="charged"),
    Index(None, "organization_id", "request_id"),
    **STRICT,
    postgresql_partition_by="RANGE (request_id)",
)

usage_hours = Table(
    "usage_hours",
    metadata,
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    # by process, so that two of them seldom wait for one another's row
    Column("shard", SmallInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("requests", _Count, nullable=False),
    Column("inputs", _Count, nullable=False),
    Column("tokens", _Count, nullable=False),
    *nanos("charged_nanos"),
    **STRICT,
    postgresql_with={"fillfactor": 50},
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("organization_id", Id, primary_key=True),
    Column("day", Day, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("shard", SmallInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("requests", _Count, nullable=False),
    Column("inputs", _Count, nullable=False),
    Column("tokens", _Count, nullable=False),
    *nanos("charged_nanos"),
    **STRICT,
    postgresql_with={"fillfactor": 50},
)

answer_hours = Table(
    "answer_hours",
    metadata,
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    # the first digit of the status
    Column("status_class", SmallInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    # a bound that the latency did not pass: see metering.answers
    Column("latency_ms", Integer, primary_key=True),
    Column("answers", _Count, nullable=False),
    CheckConstraint("answers > 0", name="answers"),
    Index(None, "hour"),
    **STRICT,
)
