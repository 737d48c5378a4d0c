"""What a process hears from the others through Redis, for Prometheus. Read at each scrape."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:  # only a deployment with Redis imports it
    from gateway.storage.redis import Channels, Presence


class RedisMetrics(Collector):
    """Collects the state of each connection to Redis, and how many gateways were counted there."""

    def __init__(self, channels: Mapping[str, Channels], presence: Presence) -> None:
        """`channels` are named by what they carry."""
        self._channels = channels
        self._presence = presence

    def collect(self) -> Iterator[Metric]:
        """Describe each connection."""
        subscribed = GaugeMetricFamily(
            "gateway_redis_subscribed",
            "1 while messages from other processes are received, by their subject.",
            labels=["about"],
        )
        silent = GaugeMetricFamily(
            "gateway_redis_silent_seconds",
            "Seconds since Redis last answered on that connection; it is asked every 2 seconds.",
            labels=["about"],
        )
        now = time.monotonic()
        for about, channels in self._channels.items():
            subscribed.add_metric([about], channels.subscribed.is_set())
            silent.add_metric([about], now - channels.heard_at)
        yield from (subscribed, silent)
        yield GaugeMetricFamily(
            "gateway_gateways",
            "Gateways alive when last counted.",
            self._presence.gateways,
        )
