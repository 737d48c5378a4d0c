"""How late reconciliation is, for the metrics.

A claim postpones a payment, so due times don't show that Stripe isn't answering. The time since its
last good answer shows it, as long as something waits for one.
"""

from __future__ import annotations

from time import monotonic

from sqlalchemy import ColumnElement, func, literal_column, select, text

from gateway.observability import metrics
from gateway.storage.database import Database
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import payment_refunds, payments, stripe_events

MEASURED_SECONDS = 60.0
"""How often a process measures."""
_QUIET_SECONDS = 1200.0
"""After this long without a failure, another process has what failed: it was due again before."""


class Lateness:
    """What this process knows of how late it is; `mine` selects the payments that it reads."""

    def __init__(self, database: Database, mine: ColumnElement[bool]) -> None:
        self._database = database
        self._mine = mine
        self._failing_since: float | None = None
        self._failed_at = 0.0
        self._measured_at: float | None = None

    def note(self, *, is_failing: bool, is_answered: bool) -> None:
        """Note what a run met with at Stripe; one in which nothing was due changes nothing."""
        now = monotonic()
        if is_failing and not is_answered:
            self._failed_at = now
            if self._failing_since is None:
                self._failing_since = now
        elif is_answered or now - self._failed_at > _QUIET_SECONDS:
            self._failing_since = None

    async def measure(self) -> None:
        """Set the metrics, at most once in MEASURED_SECONDS."""
        now = monotonic()
        if self._measured_at is not None and now - self._measured_at < MEASURED_SECONDS:
            return
        self._measured_at = now
        silent = 0.0 if self._failing_since is None else now - self._failing_since
        overdue, unanswered, attention = await self._read()
        metrics.set_payments(max(overdue, silent), unanswered, attention)

    async def _read(self) -> tuple[float, float, int]:
        """Return the longest wait for a reading, that for an outcome, and what needs a person."""
        due = (
            select(func.min(payments.c.due_at)).where(payments.c.due_at.is_not(None), self._mine),
            select(func.min(stripe_events.c.due_at)),
        )
        unanswered = (
            # in the words of its index
            select(func.min(payments.c.created_at)).where(
                text("origin = 'auto' AND state IN ('started', 'open', 'processing')"),
                payments.c.state == "started",
            ),
            select(func.min(payment_refunds.c.created_at)).where(
                payment_refunds.c.state == "started"
            ),
        )
        odd = select(func.count()).select_from(payments)
        async with self._database.read() as connection:
            now = await database_now(connection)

            async def oldest(queries: tuple[object, ...]) -> float:
                moments = [await connection.scalar(query) for query in queries]  # type: ignore[call-overload]
                waits = [(now - moment).total_seconds() for moment in moments if moment is not None]
                return max(0.0, *waits) if waits else 0.0

            attention = await connection.scalar(
                odd.where(payments.c.attention != literal_column("''"))
            )
            return await oldest(due), await oldest(unanswered), attention or 0
