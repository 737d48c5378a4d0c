"""What `/metrics` shows, in the Prometheus text format: only numbers, never a text or an id."""

from __future__ import annotations

import math
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BATCH_TOKENS_BUCKETS = (16, 64, 256, 1024, 4096, 16_384, 65_536)
_SECONDS_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Metrics:
    """One worker's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "stella_requests",
            "Answers by path and status",
            ["path", "status"],
            registry=self._registry,
        )
        self._rows = Counter("stella_rows", "Rows computed", registry=self._registry)
        self._tokens = Counter("stella_tokens", "Tokens computed", registry=self._registry)
        self._recomputed = Counter(
            "stella_rows_recomputed", "Rows computed again in float32", registry=self._registry
        )
        self._out_of_memory = Counter(
            "stella_out_of_memory",
            "Batches that did not fit into memory and were computed in halves",
            registry=self._registry,
        )
        self._batch_tokens = Histogram(
            "stella_batch_tokens",
            "Tokens of one batch",
            buckets=_BATCH_TOKENS_BUCKETS,
            registry=self._registry,
        )
        self._batch_seconds = Histogram(
            "stella_batch_seconds",
            "Time to compute one batch",
            buckets=_SECONDS_BUCKETS,
            registry=self._registry,
        )
        self._memory = Gauge(
            "stella_memory_free_bytes",
            "Memory that is free on the device",
            registry=self._registry,
        )
        self._memory.set(math.nan)
        self._queue_tokens = Gauge(
            "stella_queue_tokens", "Tokens that are waiting", registry=self._registry
        )

    def request(self, path: str, status: int) -> None:
        """Count one answer. `path` must be one of a few, because each becomes a series."""
        self._requests.labels(path, str(status)).inc()

    def batch(self, *, rows: int, tokens: int, seconds: float) -> None:
        """Count one batch."""
        self._rows.inc(rows)
        self._tokens.inc(tokens)
        self._batch_tokens.observe(tokens)
        self._batch_seconds.observe(seconds)

    def recomputed(self, rows: int) -> None:
        """Count rows that overflowed in half precision and were computed again."""
        self._recomputed.inc(rows)

    def out_of_memory(self) -> None:
        """Count a batch that did not fit into memory."""
        self._out_of_memory.inc()

    def watch_queue(self, tokens: Callable[[], int]) -> None:
        """Read the queue's length from `tokens` at each scrape."""
        self._queue_tokens.set_function(tokens)

    def watch_memory(self, free_bytes: Callable[[], int | None]) -> None:
        """Read what is free on the device from `free_bytes` at each scrape."""

        def read() -> float:
            free = free_bytes()
            return math.nan if free is None else float(free)

        self._memory.set_function(read)

    def render(self) -> bytes:
        """Write all metrics."""
        return generate_latest(self._registry)
