"""The metrics of this process, served at /metrics in Prometheus's text format."""

from __future__ import annotations

import collections
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import REGISTRY, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from gateway import wall

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_refused_keys = Counter("gateway_keys_refused", "API keys refused, by reason.", ["reason"])
_breaches = Gauge(
    "gateway_audit_breaches",
    "Violations of an invariant in the last audit, at most 20; NaN while the audit fails.",
    ["invariant"],
)
_job_successes = Gauge(
    "gateway_job_last_success_timestamp_seconds",
    "When a background job last went well, in Unix time. Absent until it has.",
    ["name"],  # not `job`: Prometheus would put its own over that
)
_job_failures = Counter("gateway_job_failures", "Runs of a background job that failed.", ["name"])
_job_intervals = Gauge(
    "gateway_job_interval_seconds", "How often a background job is due.", ["name"]
)
_clock = Gauge(
    "gateway_clock_ahead_seconds",
    "How far this machine's clock is ahead of the database's, which the gateway goes by.",
)
_strays = Gauge(
    "gateway_ledger_stray_rows",
    "Rows in a default partition: of days that have no partition. 1,000 stands for more.",
    ["table"],
)
_events = Counter("gateway_stripe_events", "Stripe's events, by type.", ["type"])
_refused_events = Counter(
    "gateway_stripe_events_refused", "Calls to Stripe's webhook that were refused.", ["reason"]
)
_payments_overdue = Gauge(
    "gateway_payments_overdue_seconds",
    "How long the oldest due payment or event has waited, or Stripe has not answered for one.",
)
_payments_unanswered = Gauge(
    "gateway_payments_unanswered_seconds",
    "Age of the oldest auto top-up or refund of which Stripe has not said what became of it.",
)
_unknown_transactions = Counter(
    "gateway_stripe_transactions_unknown",
    "Movements of Stripe's balance that are of no payment of ours.",
    ["type"],
)
_payments_attention = Gauge("gateway_payments_attention", "Payments that an operator must look at.")


class AnswerMetrics:
    """The answers of one path. One thread counts them, so it takes no lock; see `answers_of`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.statuses: collections.Counter[int] = collections.Counter()
        self.seconds = _Distribution()
        self.overhead_seconds = _Distribution()

    def observe(self, status: int, seconds: float, overhead_seconds: float) -> None:
        """Count one answer; `overhead_seconds` is without the wait for a worker."""
        self.statuses[status] += 1
        self.seconds.add(seconds)
        self.overhead_seconds.add(overhead_seconds)

    def exemplify(self, trace_id: str, seconds: float, overhead_seconds: float) -> None:
        """Keep the trace of an answer that was observed, as an example of its buckets."""
        self.seconds.exemplify(trace_id, seconds)
        self.overhead_seconds.exemplify(trace_id, overhead_seconds)


class _Distribution:
    """How often something fell between two bounds, and the sum of it."""

    __slots__ = ("counts", "exemplars", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0
        self.exemplars: list[Exemplar | None] = [None] * len(self.counts)
        """Of each bucket, the latest that has a trace."""

    def add(self, amount: float) -> None:
        self.counts[bisect_left(_BUCKETS, amount)] += 1
        self.total += amount

    def exemplify(self, trace_id: str, amount: float) -> None:
        """Keep the trace of what was added."""
        found = Exemplar({"trace_id": trace_id}, amount, wall.unix_time())
        self.exemplars[bisect_left(_BUCKETS, amount)] = found

    def buckets(self) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
        """Return the buckets as Prometheus counts them: each holds those before it."""
        names = [*map(floatToGoString, _BUCKETS), "+Inf"]
        counts = map(float, accumulate(self.counts))
        return [
            (name, count) if example is None else (name, count, example)
            for name, count, example in zip(names, counts, self.exemplars, strict=True)
        ]


class _Answers(Collector):
    """Reads the answers of all paths."""

    def __init__(self) -> None:
        self.paths: dict[str, AnswerMetrics] = {}

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "gateway_requests", "Requests answered.", labels=["path", "status"]
        )
        seconds = HistogramMetricFamily(
            "gateway_request_seconds", "From the first byte read to the answer.", labels=["path"]
        )
        overhead = HistogramMetricFamily(
            "gateway_overhead_seconds",
            "The same without the time spent waiting for a worker.",
            labels=["path"],
        )
        for answers in self.paths.values():
            for status, count in answers.statuses.items():
                requests.add_metric([answers.path, str(status)], count)
            for family, found in (
                (seconds, answers.seconds),
                (overhead, answers.overhead_seconds),
            ):
                family.add_metric([answers.path], found.buckets(), found.total)
        yield from (requests, seconds, overhead)


class _Charges(Collector):
    """What was charged, by model. One thread counts, so it takes no lock."""

    def __init__(self) -> None:
        self.tokens: collections.Counter[str] = collections.Counter()
        self.nanos: collections.Counter[str] = collections.Counter()

    def collect(self) -> Iterator[Metric]:
        for name, words, counts in (
            ("gateway_tokens", "Tokens embedded and billed.", self.tokens),
            ("gateway_charged_nanos", "What they cost, in nano-dollars.", self.nanos),
        ):
            family = CounterMetricFamily(name, words, labels=["model"])
            for model, count in counts.items():
                family.add_metric([model], count)
            yield family


_answers = _Answers()
_charges = _Charges()
REGISTRY.register(_answers)
REGISTRY.register(_charges)


def answers_of(path: str) -> AnswerMetrics:
    """Return what counts the answers of a path in this process."""
    return _answers.paths.setdefault(path, AnswerMetrics(path))


def count_charge(model: str, tokens: int, cost_nanos: int) -> None:
    """Count embedded and billed tokens of a model, and what they cost."""
    _charges.tokens[model] += tokens
    _charges.nanos[model] += cost_nanos


def count_refused_key(reason: str) -> None:
    """Count an API key that was refused: malformed, made up, unknown, or its network's bound."""
    _refused_keys.labels(reason).inc()


def forget_breaches(invariants: Iterable[str]) -> None:
    """Say that it isn't known what breaks these invariants: their audit did not run."""
    for invariant in invariants:
        _breaches.labels(invariant).set(math.nan)


def set_breaches(invariants: Iterable[str], broken: Mapping[str, Sequence[str]]) -> None:
    """Set how many violations of each of these invariants the last audit found."""
    for invariant in invariants:
        _breaches.labels(invariant).set(len(broken.get(invariant, ())))


def count_run(job: str, *, failed: bool) -> None:
    """Count a run of a job, or note when it went well."""
    if failed:
        _job_failures.labels(job).inc()
    else:
        _job_successes.labels(job).set_to_current_time()


def name_job(job: str, seconds: float) -> None:
    """Begin to count a job's failures, so that the first one is a step from zero."""
    _job_failures.labels(job)
    _job_intervals.labels(job).set(seconds)


def set_clock(ahead_seconds: float) -> None:
    """Set how far this machine's clock is ahead of the database's."""
    _clock.set(ahead_seconds)


def set_strays(table: str, rows: int) -> None:
    """Set how many rows are in a default partition; 1,000 stands for more."""
    _strays.labels(table).set(rows)


def count_event(kind: str) -> None:
    """Count one event of Stripe's."""
    _events.labels(kind).inc()


def count_refused_event(reason: str) -> None:
    """Count one call to Stripe's webhook that was refused."""
    _refused_events.labels(reason).inc()


def count_unknown_transaction(kind: str) -> None:
    """Count a movement of Stripe's balance that no payment explains."""
    _unknown_transactions.labels(kind).inc()


def set_payments(overdue_seconds: float, unanswered_seconds: float, attention: int) -> None:
    """Set how late reconciliation is, and how many payments need an operator."""
    _payments_overdue.set(overdue_seconds)
    _payments_unanswered.set(unanswered_seconds)
    _payments_attention.set(attention)


def collect(*collectors: Collector) -> Iterator[Metric]:
    """Collect all metrics of this process, and those of the collectors."""
    for collector in (REGISTRY, *collectors):
        yield from collector.collect()
