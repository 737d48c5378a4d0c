"""The state of the pools and the events in them, for Prometheus.

Read from the router at each scrape, so that a request pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.data_plane.routing.router import Router
from gateway.snapshots import WorkerState

_EXPECTED = (
    "attempts", "served", "retries", "hedges", "riders", "examinations_failed", "disputes",
    "disproved",
)  # fmt: skip
"""Events that start at zero, so that the first one is a step: alerts see nothing else."""


class RouterMetrics(Collector):
    """Collects the metrics of one router."""

    def __init__(self, router: Router, live: Callable[[], Collection[str]]) -> None:
        """`live` returns the models that can be used now."""
        self._router = router
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """Describe every pool and every worker."""
        yield CounterMetricFamily(
            "gateway_event_loop_late_seconds",
            "How late the event loop's ticks were in total: the share of a second it was behind.",
            self._router.lag.late_seconds,
        )
        yield self._ready()
        yield from self._pools()
        yield from self._workers()

    def _ready(self) -> Metric:
        ready = GaugeMetricFamily(
            "gateway_ready_workers", "Ready workers of each live model.", labels=["model"]
        )
        for model in sorted(self._live()):
            pool = self._router.pools.get(model)
            states = [worker.state for worker in pool.workers()] if pool else []
            ready.add_metric([model], states.count(WorkerState.READY))
        return ready

    def _pools(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "gateway_queue_tokens", "Tokens waiting for a worker.", labels=["model"]
        )
        backlog = GaugeMetricFamily(
            "gateway_backlog_seconds",
            "Tokens waiting and in flight, in seconds of work for the ready workers. Scale on "
            "this.",
            labels=["model"],
        )
        events = CounterMetricFamily(
            "gateway_routing_events",
            "What happened: attempts, retries, hedges, shed_REASON, error_KIND, served, riders "
            "(rows with known vectors in real calls), disputes, disproved.",
            labels=["model", "event"],
        )
        fatal = CounterMetricFamily(
            "gateway_fatal_inputs",
            "Inputs that crashed two workers and are now refused; the log has their digests.",
            labels=["model"],
        )
        for model, pool in self._router.pools.items():
            fatal.add_metric([model], pool.core.suspects.condemned)
            waiting.add_metric([model], pool.core.queue.tokens)
            backlog.add_metric([model], pool.core.backlog_seconds)
            for event, count in (dict.fromkeys(_EXPECTED, 0) | pool.core.counts).items():
                events.add_metric([model, event], count)
        yield from (waiting, backlog, events, fatal)

    def _workers(self) -> Iterator[Metric]:
        labels = ["model", "url"]
        state = GaugeMetricFamily(
            "gateway_worker_state",
            "1 for the state that the worker is in.",
            labels=[*labels, "state"],
        )
        slowdown = GaugeMetricFamily(
            "gateway_worker_slowdown", "Observed time divided by calibrated time.", labels=labels
        )
        flying = GaugeMetricFamily(
            "gateway_worker_tokens_in_flight", "Tokens sent from this gateway.", labels=labels
        )
        ejections = GaugeMetricFamily(
            "gateway_worker_ejections",
            "Relapses that set the length of its next quarantine; healthy time reduces them.",
            labels=labels,
        )
        certificate = GaugeMetricFamily(
            "gateway_worker_certificate_expiry_timestamp_seconds",
            "When the last seen certificate of an https:// worker expires, in Unix time.",
            labels=labels,
        )
        for model, pool in self._router.pools.items():
            for url, ends_at in pool.certificates().items():
                certificate.add_metric([model, url], ends_at)
            for worker in pool.workers():
                place = [model, worker.url]
                state.add_metric([*place, worker.state.value], 1)
                slowdown.add_metric(place, worker.slowdown)
                flying.add_metric(place, worker.tokens_in_flight)
                ejections.add_metric(place, worker.ejections)
        yield from (state, slowdown, flying, ejections, certificate)
