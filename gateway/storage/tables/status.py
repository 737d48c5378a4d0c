"""Status: times in which a live model had no ready worker, and how requests were answered.

How requests were answered is statistics, not money: what a request cost is in the ledger alone.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text

from gateway.storage.tables.catalog import models
from gateway.storage.tables.types import (
    STRICT,
    BigInt,
    Day,
    Id,
    Instant,
    SmallInt,
    metadata,
    nanos,
    partial_index,
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey(models.c.id), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    partial_index("uq_incidents_open", "model_id", where="ended_at IS NULL", unique=True),
    Index(None, "started_at"),
    **STRICT,
)

incident_updates = Table(
    "incident_updates",
    metadata,
    # what an operator says of an incident in public: the newest title is the incident's
    Column("id", Id, primary_key=True),
    Column("incident_id", Id, ForeignKey(incidents.c.id), nullable=False),
    Column("posted_at", Instant, nullable=False),
    Column("title", Text, nullable=False),
    Column("words", Text, nullable=False),
    Index(None, "incident_id"),
    **STRICT,
)

answer_hours = Table(
    "answer_hours",
    metadata,
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    # the first digit of the status
    Column("status_class", SmallInt, primary_key=True),
    # upper bound of the latency: see control_plane/status/answers.py
    Column("latency_ms", Integer, primary_key=True),
    Column("answers", BigInt, nullable=False),
    CheckConstraint("answers > 0", name="answers"),
    Index(None, "hour"),
    **STRICT,
)

error_hours = Table(
    "error_hours",
    metadata,
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("key_id", Id, primary_key=True),
    # empty if the request ended before its model was known
    Column("model_id", Text, primary_key=True),
    Column("status", SmallInt, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("errors", BigInt, nullable=False),
    CheckConstraint("errors > 0", name="errors"),
    Index(None, "hour"),
    **STRICT,
)

answer_days = Table(
    "answer_days",
    metadata,
    # sums of answer_hours by the UTC day; a trigger keeps them
    Column("organization_id", Id, primary_key=True),
    Column("day", Day, primary_key=True),
    Column("status_class", SmallInt, primary_key=True),
    Column("latency_ms", Integer, primary_key=True),
    Column("answers", BigInt, nullable=False),
    Index(None, "day"),
    **STRICT,
)

error_days = Table(
    "error_days",
    metadata,
    # sums of error_hours by the UTC day; a trigger keeps them
    Column("organization_id", Id, primary_key=True),
    Column("day", Day, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("status", SmallInt, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("errors", BigInt, nullable=False),
    Index(None, "day"),
    **STRICT,
)

model_answers = Table(
    "model_answers",
    metadata,
    # answers by the model, over all organizations; empty if the request ended before it was known
    Column("hour", Instant, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("status_class", SmallInt, primary_key=True),
    Column("latency_ms", Integer, primary_key=True),
    Column("answers", BigInt, nullable=False),
    CheckConstraint("answers > 0", name="answers"),
    **STRICT,
)

latency_hours = Table(
    "latency_hours",
    metadata,
    # successes by key and model, for a few days: see control_plane/status/latencies.py
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("latency_ms", Integer, primary_key=True),
    Column("answers", BigInt, nullable=False),
    CheckConstraint("answers > 0", name="answers"),
    Index(None, "hour"),
    **STRICT,
)

latency_days = Table(
    "latency_days",
    metadata,
    # the same by the UTC day, for longer
    Column("organization_id", Id, primary_key=True),
    Column("day", Day, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("latency_ms", Integer, primary_key=True),
    Column("answers", BigInt, nullable=False),
    CheckConstraint("answers > 0", name="answers"),
    Index(None, "day"),
    **STRICT,
)

request_log = Table(
    "request_log",
    metadata,
    # an organization's latest requests: see data_plane/recent_requests.py
    Column("organization_id", Id, primary_key=True),
    # UUIDv7, so that a key's range is a time
    Column("request_id", Id, primary_key=True),
    Column("key_id", Id, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("status", SmallInt, nullable=False),
    # of the error; empty if there was none
    Column("code", Text, nullable=False),
    Column("latency_ms", Integer, nullable=False),
    # null if the request ended before they were counted
    Column("tokens", Integer),
    # the request whose answer this one was given again, free of charge
    Column("original_id", Id),
    # how many of the same outcome came before it that were not recorded
    Column("missed", Integer, nullable=False),
    Index(None, "created_at"),
    **STRICT,
)

traffic_hours = Table(
    "traffic_hours",
    metadata,
    # sums of usage_hours over all organizations: see control_plane/status/traffic.py
    Column("hour", Instant, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("requests", BigInt, nullable=False),
    Column("inputs", BigInt, nullable=False),
    Column("tokens", BigInt, nullable=False),
    *nanos("charged_nanos"),
    **STRICT,
)

traffic_answers = Table(
    "traffic_answers",
    metadata,
    # sums of answer_hours over all organizations
    Column("hour", Instant, primary_key=True),
    Column("status_class", SmallInt, primary_key=True),
    Column("latency_ms", Integer, primary_key=True),
    Column("answers", BigInt, nullable=False),
    **STRICT,
)

traffic_leaders = Table(
    "traffic_leaders",
    metadata,
    # the organizations that spent most on a UTC day
    Column("day", Day, primary_key=True),
    Column("place", SmallInt, primary_key=True),
    Column("organization_id", Id, nullable=False),
    Column("requests", BigInt, nullable=False),
    Column("tokens", BigInt, nullable=False),
    *nanos("charged_nanos"),
    **STRICT,
)
