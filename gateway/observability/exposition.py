"""What /metrics says: the metrics of this process, or of all processes of one service.

In Prometheus's text format, or in OpenMetrics, which shows exemplars, to who accepts that.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

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

Labels = Mapping[str, str]


class ToldSample(NamedTuple):
    """A sample as processes tell it to one another."""

    name: str
    labels: Labels
    value: float
    example: tuple[Labels, float, float | None] | None = None
    """Of an exemplar: its labels, its value, and when it was."""


class ToldFamily(NamedTuple):
    """The samples of one metric."""

    name: str
    meaning: str
    kind: str
    samples: Sequence[ToldSample]


class Exposition:
    """The metrics of this process; with `others`, those of its siblings are added.

    `others` takes what this one tells, and returns what they do.
    """

    def __init__(
        self,
        collectors: Sequence[Collector],
        others: Callable[[bytes], Awaitable[list[bytes]]] | None = None,
    ) -> None:
        self._collectors = collectors
        self._others = others

    def own(self) -> bytes:
        """Return the metrics of this process, as it tells its siblings."""
        return encoded(metrics.collect(*self._collectors))

    async def whole(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics of all processes, as an Accept header wants them, and their type."""
        own = self.own()
        others = [] if self._others is None else await self._others(own)
        write, content_type = choose_encoder(accept)
        return write(_registry(added([own, *others]))), content_type


def encoded(families: Iterable[Metric]) -> bytes:
    """Write metrics as processes tell them to one another."""
    return msgspec.msgpack.encode([_told(family) for family in families])


def lasting(told: Sequence[bytes]) -> bytes:
    """Add up what is left of processes that ended: what they counted, not what they held."""
    return encoded(family for family in added(told) if family.type in _ADDED)


def added(told: Iterable[bytes]) -> list[Metric]:
    """Add up the metrics of several processes."""
    families: dict[str, Metric] = {}
    samples: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], Sample]] = {}
    for one in told:
        for family in msgspec.msgpack.decode(one, type=list[ToldFamily]):
            about = families.setdefault(
                family.name, Metric(family.name, family.meaning, family.kind)
            )
            found = samples.setdefault(family.name, {})
            for sample in map(_sample, family.samples):
                place = sample.name, tuple(sample.labels.items())
                found[place] = _both(about, found[place], sample) if place in found else sample
    for name, about in families.items():
        about.samples = list(samples[name].values())
    return list(families.values())


def _both(family: Metric, one: Sample, other: Sample) -> Sample:
    examples = [sample.exemplar for sample in (one, other) if sample.exemplar]
    latest = max(examples, key=lambda example: example.timestamp or 0, default=None)
    value = _value(family, one.name, float(one.value), float(other.value))
    return Sample(one.name, one.labels, value, exemplar=latest)


def _value(family: Metric, sample: str, one: float, other: float) -> float:
    if math.isnan(one) or math.isnan(other):
        return math.nan  # nobody knows, says one of them
    if sample.endswith("_created"):
        return min(one, other)
    if family.type in _ADDED or family.name in _SHARES:
        return one + other
    return max(one, other)


def _told(family: Metric) -> ToldFamily:
    samples = [
        ToldSample(
            sample.name,
            sample.labels,
            float(sample.value),
            sample.exemplar and _example(sample.exemplar),
        )
        for sample in family.samples
    ]
    return ToldFamily(family.name, family.documentation, family.type, samples)


def _example(exemplar: Exemplar) -> tuple[Labels, float, float | None]:
    at = exemplar.timestamp
    return exemplar.labels, exemplar.value, None if at is None else float(at)


def _sample(told: ToldSample) -> Sample:
    exemplar = Exemplar(dict(told.example[0]), *told.example[1:]) if told.example else None
    return Sample(told.name, dict(told.labels), told.value, exemplar=exemplar)


def _registry(families: Sequence[Metric]) -> CollectorRegistry:
    class Families(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from families

    registry = CollectorRegistry()
    registry.register(Families())
    return registry
