"""The chart's values: what is refused, in words; what the schema and the README say of them."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from gateway.settings import describe
from testing.chart import rendering, schema
from testing.chart.rendering import CHART, RenderFailed


@pytest.mark.parametrize(
    ("data", "processes", "control", "connections"), [(2, 1, 1, 73), (12, 2, 3, 503)]
)
def test_connections_are_counted_as_the_docs_do(
    data: int, processes: int, control: int, connections: int
):
    of_two = f", of {processes} processes each" if processes > 1 else ""
    row = f"| {data}{of_two} | {control} | {connections} |"
    assert row in (rendering.REPOSITORY / "docs/connections.md").read_text()
    values = {
        "databaseConnectionsAllowed": connections - 1,
        "dataPlane": {"replicas": data, "processes": processes},
        "controlPlane": {"replicas": control},
    }
    assert f"the pods may open {connections} (" in _refusal(yaml.dump(values))


def test_every_mistake_is_told_with_what_to_do():
    wrong = """
publicUrl: ""
secrets: {stripeWebhook: {existingSecret: x}}
settings:
  GATEWAY_STRIPE_LIVE: true
  GATEWAY_GITHUB_CLIENT_ID: x
  GATEWAY_LEASE_SECONDS: 30
  GATEWAY_JOURNAL_BYTES_MAX: 2000000000
dataPlane:
  terminationGracePeriodSeconds: 10
  autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 2}
extraEnv: [{name: GATEWAY_SECRET, value: x}]
databaseConnectionsAllowed: 20
ingress: {enabled: true}
httpRoute: {enabled: true}
workers:
  pools:
    a: {engine: stella, model: m}
    b: {engine: stella, model: m, weights: {hub: a/b, existingClaim: c}}
    c: {engine: minilm, model: m, gpus: 1, autoscaling: {enabled: true, minReplicas: 9}}
    a-name-that-is-much-too-long-for-a-statefulset: {engine: minilm, model: m}
"""
    said = _refusal(wrong)
    for mistake in (
        "publicUrl is empty: give the address that clients use, such as https://gateway.example",
        "secrets.gateway.existingSecret is empty: name a Secret that holds GATEWAY_SECRET",
        "secrets.database.existingSecret is empty: name a Secret that holds DATABASE_URL",
        "secrets.worker.existingSecret is empty, and there are workers",
        "secrets.redis.existingSecret is empty, and autoscaling is on",
        "dataPlane.autoscaling: minReplicas 5 is more than maxReplicas 2",
        "dataPlane.terminationGracePeriodSeconds is too short: requests would be lost",
        "Leave it null, or give 55 or more",
        "dataPlane.journal.gibibytes is too small",
        "GATEWAY_LEASE_SECONDS must be at least twice GATEWAY_REQUEST_TIMEOUT_SECONDS",
        "GATEWAY_STRIPE_LIVE is true, and secrets.stripe.existingSecret names no key",
        "GATEWAY_SELLER is missing: buyers are shown it",
        "publicUrl must be https:// where payments move money",
        "secrets.stripeWebhook needs secrets.stripe",
        "GATEWAY_GITHUB_CLIENT_ID and secrets.github go together",
        "ingress.enabled and httpRoute.enabled: choose one",
        "httpRoute.parentRefs is empty: name the Gateway",
        "extraEnv: GATEWAY_SECRET belongs to `settings`, or to `secrets`",
        "workers.pools.a.weights: say where Stella's weights are",
        "workers.pools.b.weights: hub and existingClaim exclude each other",
        "workers.pools.b.weights.revision is empty: pin a/b to a full commit",
        "workers.pools.c.gpus: the engine minilm computes on a CPU",
        "workers.pools.c.model is m, and the engine minilm serves sentence-transformers/all-",
        "workers.pools.c.autoscaling needs monitoring.prometheusUrl",
        "workers.pools.c.autoscaling: minReplicas 9 is more than maxReplicas 4",
        "longer than the 52 characters",
        "databaseConnectionsAllowed is 20, and the pods may open 73",
    ):
        assert mistake in said


def test_a_route_leads_to_a_name_and_through_the_policies():
    wrong = """
publicUrl: http://127.0.0.1:8080
httpRoute: {enabled: true, parentRefs: [{name: public}]}
backOffice: {exposed: true}
networkPolicy: {enabled: true}
"""
    said = _refusal(wrong)
    assert "publicUrl: 127.0.0.1 can't be routed to" in said
    assert "name the ingress controller in networkPolicy.operators too" in said


def test_what_the_schema_does_not_know_is_refused():
    wrong = """
publicUrl: gateway.example
dataPlane: {replica: 3, replicas: two}
settings: {GATEWAY_TYPO: 1, GATEWAY_SECRET: x, GATEWAY_LEASE_SECONDS: -1}
workers: {pools: {x: {engine: tei}}}
secrets: {gateway: {existingSecret: Not_A_Name}}
"""
    said = _refusal(wrong)
    for mistake in (
        "'/publicUrl': 'gateway.example' does not match",
        "'/dataPlane': additional properties 'replica' not allowed",
        "'/dataPlane/replicas': got string, want integer",
        "'GATEWAY_TYPO'",
        "'GATEWAY_SECRET'",
        "'/settings/GATEWAY_LEASE_SECONDS': exclusiveMinimum: got -1, want 0",
        "'/workers/pools/x': missing property 'model'",
        "'/workers/pools/x/engine': value must be one of 'minilm', 'stella'",
        "'/secrets/gateway/existingSecret': 'Not_A_Name' does not match",
    ):
        assert mistake in said


def test_the_schema_knows_every_value_and_no_other():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    known = json.loads(schema.FILE.read_text())
    assert known["properties"].keys() == values.keys() | {"global"}
    free = {"global", "namespaceSelector", "podSelector"}  # Kubernetes' own, or Helm's
    free |= {"nodeAffinity", "podAffinity", "podAntiAffinity"}
    for name, part in _objects(known):
        if name not in free:
            assert "additionalProperties" in part, name


def test_the_readme_has_every_value_with_its_default():
    rows = re.findall(
        r"^\| `([\w.]+)` \| `(.*?)` \| .+ \|$", (CHART / "README.md").read_text(), re.MULTILINE
    )
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert {name: json.loads(default) for name, default in rows} == dict(_leaves(values))


def test_the_schema_has_the_settings_of_this_version():
    """`make docs` prints them anew."""
    assert schema.renewed() == schema.FILE.read_text()


def test_what_the_checks_take_for_defaults_are_the_gateway_s():
    defaults = {variable: default for variable, default, _ in describe()}
    checks = "".join(file.read_text() for file in (CHART / "templates").glob("_*.tpl"))
    found = re.findall(r'"gateway.seconds" \(list \S+ "(\w+)" (\d+)\)', checks)
    assert {name for name, _ in found} >= {"GATEWAY_DRAIN_SECONDS", "GATEWAY_LEASE_SECONDS"}
    for name, default in found:
        assert float(defaults[name]) == float(default), name


def _refusal(values: str) -> str:
    with pytest.raises(RenderFailed) as refused:
        rendering.rendered("-f", "-", given=values)
    return str(refused.value)


def _objects(part: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object that a schema describes, with its name."""
    if isinstance(part, list):
        for item in part:
            yield from _objects(item, name)
    if isinstance(part, dict):
        if part.get("type") == "object":
            yield name, part
        for key, value in part.items():
            yield from _objects(value, key)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that README.md has a row for, with its dotted name."""
    for name, value in values.items():
        if isinstance(value, dict) and value and name not in ("resources", "labels"):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
