"""What the control plane knows of mails, people and demand, for Prometheus.

Read at each scrape from what jobs counted last: a scrape asks the database nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.app.services import Services
from gateway.control_plane.demand.counts import DemandCounts

_Label = TypeVar("_Label", bound=str)


class ControlMetrics(Collector):
    """Collects what the jobs of one process found."""

    def __init__(self, services: Services, demand: DemandCounts) -> None:
        self._services = services
        self._demand = demand

    def collect(self) -> Iterator[Metric]:
        """Describe mails, needs, people and demand."""
        services = self._services
        outcomes = CounterMetricFamily(
            "gateway_mails", "Outcomes of the mails handed over.", labels=["outcome"]
        )
        for outcome, count in services.outbox.outcomes.items():
            outcomes.add_metric([outcome], count)
        yield outcomes
        yield _gauges(
            "gateway_mail_due_seconds",
            "How long ago the oldest unsent mail was due: links, which people wait for, notices, "
            "and launch mails.",
            "kind",
            services.mail_waits.due_seconds,
        )
        yield _gauges(
            "gateway_mail_waiting", "Mails not sent yet.", "kind", services.mail_waits.mails
        )
        yield _gauges(
            "gateway_attention_needs",
            "Items that need an operator (`gateway attention list`), by severity.",
            "severity",
            services.attention.counts,
        )
        yield _gauges("gateway_model_votes", "Votes that count.", "model", self._demand.all_votes())
        yield _gauges(
            "gateway_model_waiting",
            "Confirmed addresses on the waitlist.",
            "model",
            self._demand.all_waiting(),
        )
        heads = services.head_count
        yield GaugeMetricFamily("gateway_people", "People with an account.", heads.people)
        yield GaugeMetricFamily("gateway_organizations", "Organizations.", heads.organizations)


def _gauges(name: str, words: str, label: str, values: Mapping[_Label, float]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=[label])
    for value, gauge in values.items():
        family.add_metric([value], gauge)
    return family
