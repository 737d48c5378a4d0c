"""Connections and requests in progress, for Prometheus. Read at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.data_plane.api.door import Door
from gateway.data_plane.limits.concurrency import InFlight


class DoorMetrics(Collector):
    """Collects what clients hold in one process."""

    def __init__(self, door: Door, in_flight: InFlight) -> None:
        self._door = door
        self._in_flight = in_flight

    def collect(self) -> Iterator[Metric]:
        """Describe the connections and what is in progress on them."""
        door, in_flight = self._door, self._in_flight
        yield GaugeMetricFamily("gateway_connections", "Open connections.", len(door))
        yield GaugeMetricFamily(
            "gateway_connections_max",
            "Most connections (GATEWAY_CONNECTIONS_MAX).",
            door.bounds.connections_max,
        )
        yield CounterMetricFamily(
            "gateway_connections_refused",
            "Connections refused because there were too many.",
            door.refused,
        )
        yield GaugeMetricFamily(
            "gateway_requests_in_flight", "Metered requests in progress.", len(in_flight)
        )
        yield GaugeMetricFamily(
            "gateway_bodies_bytes", "Bytes of their bodies in memory.", in_flight.bytes
        )
