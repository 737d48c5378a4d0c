"""The metrics of this process, served at /metrics in Prometheus's text format."""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_requests = Counter("gateway_requests", "Requests answered.", ["path", "status"])
_seconds = Histogram(
    "gateway_request_seconds", "From the first byte read to the answer.", ["path"], buckets=_BUCKETS
)
_overhead = Histogram(
    "gateway_overhead_seconds",
    "The same without the time spent waiting for a worker.",
    ["path"],
    buckets=_BUCKETS,
)
_tokens = Counter("gateway_tokens", "Tokens embedded and billed.", ["model"])
_refused_keys = Counter("gateway_keys_refused", "API keys refused, by reason.", ["reason"])
_breaches = Gauge(
    "gateway_audit_breaches",
    "Violations of a ledger invariant in the last audit, at most 20.",
    ["invariant"],
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


def observe(path: str, status: int, seconds: float, overhead_seconds: float) -> None:
    """Count one answer; `overhead_seconds` is without the wait for a worker."""
    _requests.labels(path, status).inc()
    _seconds.labels(path).observe(seconds)
    _overhead.labels(path).observe(overhead_seconds)


def count_tokens(model: str, tokens: int) -> None:
    """Count embedded and billed tokens of a model."""
    _tokens.labels(model).inc(tokens)


def count_refused_key(reason: str) -> None:
    """Count an API key that was refused: malformed, made up, unknown, or its network's bound."""
    _refused_keys.labels(reason).inc()


def set_breaches(invariant: str, culprits: int) -> None:
    """Set how many violations of an invariant the last audit found."""
    _breaches.labels(invariant).set(culprits)


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


def render(*collectors: Collector) -> bytes:
    """Return all metrics, those of the collectors included, in Prometheus's text format."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest() + generate_latest(registry)
