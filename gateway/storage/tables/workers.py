"""Workers: the commands of operators, and the reports of each gateway."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, Table, Text

from gateway.storage.tables.types import STRICT, BigInt, Id, Instant, metadata

worker_orders = Table(
    "worker_orders",
    metadata,
    Column("model_id", Text, primary_key=True),
    Column("url", Text, primary_key=True),
    Column("wish", Text, nullable=False),
    # incremented by `gateway workers check`: a gateway that sees it grow examines the worker
    Column("checks", Integer, nullable=False),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("wish IN ('serve', 'drain')", name="wish"),
    **STRICT,
)

worker_reports = Table(
    "worker_reports",
    metadata,
    Column("gateway_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("url", Text, primary_key=True),
    # as JSON: a WorkerView
    Column("view", Text, nullable=False),
    Column("seen_at", Instant, nullable=False),
    **STRICT,
)

pool_reports = Table(
    "pool_reports",
    metadata,
    Column("gateway_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    # tokens that wait for a worker in this gateway
    Column("waiting_tokens", BigInt, nullable=False),
    # those and the ones in flight, in milliseconds of the ready workers
    Column("backlog_ms", BigInt, nullable=False),
    Column("seen_at", Instant, nullable=False),
    **STRICT,
)

worker_quarantines = Table(
    "worker_quarantines",
    metadata,
    Column("id", Id, primary_key=True),
    # whose judgment it was: each gateway has its own
    Column("gateway_id", Id, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("began_at", Instant, nullable=False),
    # the last of `times` quarantines in a row, and why
    Column("last_at", Instant, nullable=False),
    Column("times", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    # as JSON: the WorkerView of then
    Column("evidence", Text, nullable=False),
    # when it was not in quarantine anymore
    Column("ended_at", Instant),
    Index(None, "began_at"),
    **STRICT,
)
