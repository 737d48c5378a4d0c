"""The state of the ledger, and what waits for it, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.data_plane.metering.leased_credits import LeasedCredits


class LedgerMetrics(Collector):
    """Collects the metrics of one engine of credit."""

    def __init__(self, credit: LeasedCredits) -> None:
        self._credit = credit

    def collect(self) -> Iterator[Metric]:
        """Describe the ledger and the journal as the process sees them, and the credit it holds."""
        yield from self._ledger()
        yield from self._leases()

    def _leases(self) -> Iterator[Metric]:
        leases = [purse.lease for purse in self._credit.book.purses.values() if purse.lease]
        waiting = sum(len(purse.waiters) for purse in self._credit.book.purses.values())
        for name, words, gauge in (
            ("leases", "Leases of credit that this process holds.", len(leases)),
            (
                "lease_free_nanos",
                "Credit in them that no request has reserved.",
                sum(lease.free for lease in leases),
            ),
            (
                "lease_reserved_nanos",
                "Credit in them that requests in progress have reserved.",
                sum(lease.reserved for lease in leases),
            ),
            ("lease_waiting_requests", "Requests waiting for more credit.", waiting),
        ):
            yield GaugeMetricFamily(f"gateway_{name}", words, gauge)

    def _ledger(self) -> Iterator[Metric]:
        credit, writer = self._credit, self._credit.writer
        for name, words, gauge in (
            ("ledger_away_seconds", "How long the ledger has not responded.", writer.away_seconds),
            (
                "ledger_refused_organizations",
                "Organizations set apart because the ledger refuses their usage.",
                writer.refused_organizations,
            ),
            (
                "ledger_unconfirmed_requests",
                "Settled requests that the ledger has not confirmed.",
                credit.book.unconfirmed,
            ),
            (
                "journal_bytes",
                "Bytes of the journal on disk.",
                credit.journal.size_bytes,
            ),
            (
                "journal_bytes_max",
                "Most bytes it may have (GATEWAY_JOURNAL_BYTES_MAX).",
                credit.journal.bytes_max,
            ),
            (
                "journal_disk_free_bytes",
                "Bytes free on the journal's disk, at most a minute old; NaN until known.",
                credit.journal.free_bytes,
            ),
        ):
            yield GaugeMetricFamily(f"gateway_{name}", words, gauge)
        for name, words, count in (
            ("ledger_refusals", "Ticks refused because of their contents.", writer.refusals),
            (
                "ledger_written_off_requests",
                "Requests that were served but could not be charged.",
                writer.written_off,
            ),
            (
                "free_requests",
                "Requests that were not charged because an identical one already was.",
                credit.book.free,
            ),
            (
                "charges_unknown",
                "Responses saying that it is not known whether the request was charged (503).",
                credit.book.unknown,
            ),
            ("journal_failures", "Attempts to write that failed.", credit.journal.failures),
            (
                "journal_requests",
                "Requests that the journal acknowledged because the ledger took too long.",
                credit.journal.requests,
            ),
        ):
            yield CounterMetricFamily(f"gateway_{name}", words, count)
