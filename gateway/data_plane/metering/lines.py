"""The lines of a tick: what a process asks for each lease that the tick mentions."""

from __future__ import annotations

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.leases import Lease, Purse
from gateway.data_plane.metering.messages import LeaseLine
from gateway.data_plane.metering.refusals import Part
from gateway.data_plane.metering.stages import LeaseStages
from gateway.identifiers import new_id

_DOUBLE_WITHIN_SECONDS = 1.0
_HALVE_AFTER_SECONDS = 10.0


class LeaseLines:
    """Makes the lines from the book, and from the stages of its leases."""

    def __init__(self, book: LeaseBook, stages: LeaseStages) -> None:
        self._book = book
        self._stages = stages

    def compose(
        self, now: float, leases: dict[str, Lease], part: Part | None, *, stopping: bool
    ) -> list[LeaseLine]:
        """Return the lines of a tick, or of a part, and add their leases to `leases`."""
        most = self._book.rules.leases_per_tick_max
        asking = list(self._book.asking.values())
        keeping = list(self._stages.keeping.values())
        closing = list(self._stages.closing.values())
        if part is not None:
            asking = [purse for purse in asking if purse.organization_id in part.organizations]
            keeping = [x for x in keeping if x.purse.organization_id in part.organizations]
            closing = [x for x in closing if x.purse.organization_id in part.organizations]
        lines: list[LeaseLine] = []
        for purse in asking:
            if len(lines) >= most:
                break
            enough = purse.serve(now) if purse.waiters else stopping
            if enough:
                del self._book.asking[purse.account_id]
            elif not purse.waiters or now >= purse.ask_again_at:
                del self._book.asking[purse.account_id]
                lines.append(self._ask(purse, now, leases))
        for lease in keeping[:most]:
            del self._stages.keeping[lease.id]
            if lease.open and lease.id not in leases:
                lines.append(self._keep(lease, now))
                leases[lease.id] = lease
        for lease in closing[:most]:
            leases[lease.id] = lease
            lines.append(LeaseLine(id=lease.id, account_id=lease.purse.account_id, action="close"))
        return lines

    def _ask(self, purse: Purse, now: float, leases: dict[str, Lease]) -> LeaseLine:
        lease = purse.lease
        if lease is not None and lease.open and now >= lease.deadline:
            self._stages.drain(lease)
            lease = None
        if lease is None:
            lease = purse.lease = Lease(new_id(), purse)
        if now - purse.asked_at < _DOUBLE_WITHIN_SECONDS:
            purse.slice_nanos = min(purse.slice_nanos * 2, self._book.rules.slice_nanos_max)
        elif now - purse.asked_at > _HALVE_AFTER_SECONDS:
            purse.slice_nanos = max(purse.slice_nanos // 2, self._book.rules.slice_nanos)
        purse.asked_at = now
        purse.ask_again_at = now + self._book.rules.retry_seconds
        purse.low_water_nanos = purse.slice_nanos // 3
        in_use = lease.spent + lease.reserved
        least = 0
        wanted = sum(waiter.cost_nanos for waiter in purse.waiters)
        if purse.waiters:
            least = in_use + purse.waiters[0].cost_nanos
            lease.free = 0  # a denial takes it back, so it is unusable until the answer
        leases[lease.id] = lease
        return LeaseLine(
            id=lease.id,
            account_id=purse.account_id,
            action="ask",
            keep_nanos=in_use,
            least_nanos=least,
            target_nanos=in_use + lease.free + wanted + purse.slice_nanos,
            waited_seconds=_waited(purse, now),
            key_id=purse.key_id,
            period=purse.period,
        )

    def _keep(self, lease: Lease, now: float) -> LeaseLine:
        lease.free = 0
        lease.purse.kept_at = now
        return LeaseLine(
            id=lease.id,
            account_id=lease.purse.account_id,
            action="keep",
            keep_nanos=lease.spent + lease.reserved,
        )

    def say_again(self, line: LeaseLine, lease: Lease, now: float) -> None:
        """Restore what a line refused by the ledger was made of."""
        purse = lease.purse
        if line.action == "keep":
            self._stages.keeping[lease.id] = lease
        elif line.action == "ask":
            purse.asked_at = now - _DOUBLE_WITHIN_SECONDS  # the slice stays as it is
            purse.ask_again_at = now
            self._book.asking[purse.account_id] = purse


def _waited(purse: Purse, now: float) -> float:
    if not purse.waiters or purse.waiters[0].denied_at is None:
        return 0
    return now - purse.waiters[0].denied_at
