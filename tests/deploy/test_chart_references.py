"""What the chart's objects refer to exists: Services by their ports, workloads, a metric."""

import re
from collections.abc import Iterator

import pytest

from testing.chart import rendering
from testing.chart.rendering import Manifest


@pytest.fixture(params=rendering.names())
def manifests(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    return rendering.manifests(request.param)


def test_what_is_routed_to_is_a_service(manifests: tuple[Manifest, ...]):
    services = {m["metadata"]["name"]: _ports(m) for m in manifests if m["kind"] == "Service"}
    for manifest in manifests:
        for name, port in _backends(manifest):
            assert port in services[name]


def test_what_is_scraped_is_a_service(manifests: tuple[Manifest, ...]):
    for monitor in (m["spec"] for m in manifests if m["kind"] == "ServiceMonitor"):
        chosen = monitor["selector"]["matchLabels"].items()
        found = [
            m
            for m in manifests
            if m["kind"] == "Service" and m["metadata"]["labels"].items() >= chosen
        ]
        assert found
        assert all(monitor["endpoints"][0]["port"] in _ports(service) for service in found)


def test_a_service_and_a_budget_choose_pods(manifests: tuple[Manifest, ...]):
    templates = [m["spec"]["template"] for m in manifests if "template" in m.get("spec", {})]
    labels = [template["metadata"]["labels"].items() for template in templates]
    for manifest in manifests:
        if manifest["kind"] in ("Service", "PodDisruptionBudget"):
            selector = manifest["spec"]["selector"]
            chosen = selector.get("matchLabels", selector).items()
            assert len([1 for of in labels if of >= chosen]) == 1


def test_what_is_scaled_exists_and_has_no_number_of_its_own(manifests: tuple[Manifest, ...]):
    workloads = {(m["kind"], m["metadata"]["name"]): m for m in manifests}
    for manifest in manifests:
        if target := manifest.get("spec", {}).get("scaleTargetRef"):
            assert "replicas" not in workloads[target["kind"], target["name"]]["spec"]


def test_workers_are_scaled_by_a_metric_that_there_is():
    queries = [
        trigger["metadata"]["query"]
        for manifest in rendering.manifests("everything")
        if manifest["kind"] == "ScaledObject"
        for trigger in manifest["spec"]["triggers"]
    ]
    metrics = {metric for query in queries for metric in re.findall(r"gateway_\w+", query)}
    assert metrics == {"gateway_backlog_seconds"}
    assert (
        "| `gateway_backlog_seconds` | gauge |"
        in (rendering.REPOSITORY / "docs/metrics.md").read_text()
    )


def _backends(manifest: Manifest) -> Iterator[tuple[str, str | int]]:
    """Yield the Services that a manifest routes to, with the port."""
    if manifest["kind"] == "Ingress":
        for path in manifest["spec"]["rules"][0]["http"]["paths"]:
            service = path["backend"]["service"]
            yield service["name"], service["port"]["name"]
    if manifest["kind"] == "HTTPRoute":
        for rule in manifest["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                yield backend["name"], backend["port"]


def _ports(service: Manifest) -> set[str | int]:
    return {port[key] for port in service["spec"]["ports"] for key in ("name", "port")}
