"""The sums that an audit of the books starts from, so that it reads what is new and no more.

A sum that is `opening` is of rows that are gone: their partition was dropped. One that is `sealed`
is of all rows up to a position, which an audit found in order; only PostgreSQL has them. Both are
added to the rows that are left, or that came later.
"""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from gateway.storage.tables.types import STRICT, BigInt, metadata

audit_sums = Table(
    "audit_sums",
    metadata,
    # opening or sealed
    Column("part", Text, primary_key=True),
    # balance, used: an organization's entries, and those of usage (negated); platform: entries by
    # counterpart (negated); posted: a lease's entries (negated); lease, budget: what usage charged
    # to it; requests, inputs, tokens, charged: usage of a day that is gone; imported: usage that
    # came with an organization, and lot: the amount of one that it had bought before; position:
    # how far the sealed rows of a table go
    Column("kind", Text, primary_key=True),
    # of what: an organization, a counterpart, a lease, the account of a budget, a day, a table
    Column("id", Text, primary_key=True),
    # nano-dollars, or a count
    Column("amount", BigInt, nullable=False),
    **STRICT,
)
