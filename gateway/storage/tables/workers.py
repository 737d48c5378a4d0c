"""Workers: what operators want of them, and what each gateway knows of them."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Integer, Table, Text

from gateway.storage.tables.types import STRICT, Id, Instant, metadata

worker_orders = Table(
    "worker_orders",
    metadata,
    Column("model_id", Text, primary_key=True),
    Column("url", Text, primary_key=True),
    Column("wish", Text, nullable=False),
    # raised by each `gateway workers check`: a gateway that sees it grow examines the worker
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
    # as JSON: see snapshots.WorkerView
    Column("view", Text, nullable=False),
    Column("seen_at", Instant, nullable=False),
    **STRICT,
)
