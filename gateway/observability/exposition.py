"""What /metrics says: the metrics of this process, or of all processes of one service."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from gateway.observability import metrics

_SHARES = frozenset([
    "gateway_backlog_seconds", "gateway_bodies_bytes", "gateway_connections",
    "gateway_connections_max", "gateway_database_connections", "gateway_database_connections_max",
    "gateway_journal_bytes", "gateway_journal_bytes_max", "gateway_lease_free_nanos",
    "gateway_lease_reserved_nanos", "gateway_lease_waiting_requests", "gateway_leases",
    "gateway_ledger_unconfirmed_requests", "gateway_queue_tokens", "gateway_requests_in_flight",
    "gateway_worker_tokens_in_flight", "process_open_fds", "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
])  # fmt: skip
"""Gauges of which each process has a part. Of all others, the service has the largest."""

_ADDED = ("counter", "histogram", "summary")


class Exposition:
    """The metrics of this process; with `others`, those of its siblings are added."""

    def __init__(
        self,
        collectors: Sequence[Collector],
        others: Callable[[], Awaitable[list[bytes]]] | None = None,
    ) -> None:
        self._collectors = collectors
        self._others = others

    def own(self) -> bytes:
        """Return the metrics of this process."""
        return metrics.render(*self._collectors)

    async def whole(self) -> bytes:
        """Return the metrics of all processes that answer."""
        if self._others is None:
            return self.own()
        return added([self.own(), *await self._others()])


def added(texts: Iterable[bytes]) -> bytes:
    """Add up metrics in Prometheus's text format, in the same format."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text.decode()):
            families.setdefault(family.name, family)
            found = values.setdefault(family.name, {})
            for sample in family.samples:
                place = sample.name, tuple(sample.labels.items())
                value = float(sample.value)
                found[place] = _both(family, found[place], value) if place in found else value
    registry = CollectorRegistry()
    registry.register(_Families(list(_written(families, values))))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _both(family: Metric, one: float, other: float) -> float:
    if math.isnan(one) or math.isnan(other):
        return math.nan  # nobody knows, says one of them
    if family.type in _ADDED or family.name in _SHARES:
        return one + other
    return min(one, other) if family.name.endswith("_created") else max(one, other)


def _written(
    families: dict[str, Metric],
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]],
) -> Iterator[Metric]:
    for name, family in families.items():
        family.samples = [
            Sample(sample, dict(labels), value) for (sample, labels), value in values[name].items()
        ]
        yield family
