"""How long the engine of credit waits."""

from __future__ import annotations

import msgspec


class EngineRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long the engine waits, in seconds."""

    commit_seconds: float = 0.05
    """For the ledger to commit a request, before the journal acknowledges it instead."""
    gather_seconds: float = 0.0
    """The least time between the starts of two ticks, so that the second has more to charge. A tick
    leaves when the previous one is back, and a request that comes alone never waits; faster
    requests wait up to this long to spare the ledger."""
    credit_seconds: float = 2.0
    """For credit that this process does not hold, before a request gets 503."""
    settle_seconds: float = 10.0
    """For the ledger when the journal fails too, before an answer becomes 503."""
    retry_seconds: float = 0.05
    """Between attempts to reach the ledger; doubles up to `retry_seconds_max`."""
    retry_seconds_max: float = 1.0
    adopt_seconds: float = 30.0
    """Between scans for the journals of dead processes."""
    close_seconds: float = 10.0
    """At shutdown, for the ledger to take what is left before the journal gets it."""
