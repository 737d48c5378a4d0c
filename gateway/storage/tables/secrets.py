"""What this database remembers of the deployment's secret, and what is sealed under it for good."""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, Table, Text

from gateway.storage.tables.types import STRICT, Instant, metadata

known_secrets = Table(
    "known_secrets",
    metadata,
    # names one secret of GATEWAY_SECRET and gives nothing of it away
    Column("fingerprint", Text, primary_key=True),
    # the oldest is the one that made what does not say which secret made it
    Column("seen_at", Instant, nullable=False),
    # when a process last started with it as the first while another one was; null: it only verified
    Column("first_at", Instant),
    # nothing depends on it any more, or an operator gave up what does: it may be missing
    Column("retired_at", Instant),
    **STRICT,
)

lasting_secrets = Table(
    "lasting_secrets",
    metadata,
    # what it is for, such as the digests of identities
    Column("purpose", Text, primary_key=True),
    # encrypted: see control_plane/secrets/lasting.py
    Column("sealed", LargeBinary, nullable=False),
    **STRICT,
)
