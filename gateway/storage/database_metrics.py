"""How many connections to the database are in use, for Prometheus. Read at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.storage.database import Database


class DatabaseMetrics(Collector):
    """Collects the use of one process's connections; the ledger and the keys have their own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """Describe the pool."""
        used, most = self._database.connections
        yield GaugeMetricFamily(
            "gateway_database_connections", "Connections to the database in use.", used
        )
        yield GaugeMetricFamily(
            "gateway_database_connections_max",
            "Most connections (GATEWAY_DATABASE_CONNECTIONS_MAX); whoever needs one more waits.",
            most,
        )
