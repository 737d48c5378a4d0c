"""Traces that were lost, for Prometheus. Read at each scrape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:  # where traces are off, nothing of them is imported
    from gateway.observability.tracing import Tracing


class TraceMetrics(Collector):
    """Collects how many spans were lost; zero where traces are off."""

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing

    def collect(self) -> Iterator[Metric]:
        """Describe the export."""
        lost = self._tracing.spans.lost if self._tracing else 0
        yield CounterMetricFamily(
            "gateway_trace_spans_lost", "Spans that the collector did not accept.", lost
        )
