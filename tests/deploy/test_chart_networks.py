"""Who reaches whom, by the chart's NetworkPolicies and by what the world is routed to."""

import re

import pytest

from gateway.app.planes import make_process
from gateway.settings import Settings
from testing.chart import rendering
from testing.chart.networks import Party, may_talk
from testing.chart.rendering import RELEASE

HTTP, ADMIN, WORKER = 8080, 8081, 9000


def _pod(component: str, port_name: str = "http", port: int = HTTP, **labels: str) -> Party:
    own = {
        "app.kubernetes.io/name": "stella-gateway",
        "app.kubernetes.io/instance": RELEASE,
        "app.kubernetes.io/component": component,
    }
    return Party(own | labels, ports={port_name: port, "admin": ADMIN})


DATA, CONTROL, TEST, MIGRATION = map(_pod, ("data", "control", "test", "migration"))
MINILM = _pod("worker", "worker", WORKER, **{"stella-gateway/pool": "minilm"})
STRANGER = Party({"app": "another"}, namespace="another")
NEIGHBOR = Party({"app": "another"})
INGRESS = Party({}, namespace="ingress-nginx")
PROMETHEUS = Party({}, namespace="monitoring")
POSTGRES = Party({"cnpg.io/cluster": "postgres"})
VALKEY = Party({"app.kubernetes.io/name": "valkey"})
STRIPE = Party(address="198.51.100.7")
METADATA = Party(address="169.254.169.254")


@pytest.mark.parametrize(
    ("source", "target", "port", "may"),
    [
        (INGRESS, DATA, HTTP, True),
        (INGRESS, CONTROL, HTTP, True),
        (INGRESS, DATA, ADMIN, False),
        (INGRESS, MINILM, WORKER, False),
        (NEIGHBOR, DATA, HTTP, False),
        (STRANGER, CONTROL, HTTP, False),
        (TEST, DATA, HTTP, True),
        (TEST, POSTGRES, 5432, False),
        (PROMETHEUS, DATA, ADMIN, True),
        (PROMETHEUS, CONTROL, ADMIN, True),
        (PROMETHEUS, DATA, HTTP, False),
        (NEIGHBOR, CONTROL, ADMIN, False),
        (DATA, MINILM, WORKER, True),
        (CONTROL, MINILM, WORKER, True),
        (MIGRATION, MINILM, WORKER, False),
        (NEIGHBOR, MINILM, WORKER, False),
        (DATA, POSTGRES, 5432, True),
        (CONTROL, POSTGRES, 5432, True),
        (MIGRATION, POSTGRES, 5432, True),
        (MINILM, POSTGRES, 5432, False),
        (DATA, VALKEY, 6379, True),
        (MIGRATION, VALKEY, 6379, False),
        (CONTROL, STRIPE, 443, True),
        (CONTROL, STRIPE, 587, True),
        (CONTROL, METADATA, 443, False),
        (DATA, STRIPE, 443, False),
        (MINILM, STRIPE, 443, False),
        (DATA, CONTROL, HTTP, False),
    ],
)
def test_who_reaches_whom(source: Party, target: Party, port: int, may: bool):
    assert may_talk(rendering.manifests("production"), source, target, port) is may


def test_without_the_policies_everybody_does():
    assert may_talk(rendering.manifests("minimal"), STRANGER, MINILM, WORKER)


@pytest.fixture(scope="module")
def paths() -> dict[str, list[str]]:
    """An example of every path that a process of each role answers."""
    environment = {
        "GATEWAY_SECRET": "0123456789abcdef0123456789abcdef",
        "GATEWAY_WORKER_SECRET": "0123456789abcdef0123456789abcdef",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "GATEWAY_GITHUB_CLIENT_ID": "id",
        "GATEWAY_GITHUB_CLIENT_SECRET": "secret",
        "GATEWAY_STRIPE_SECRET_KEY": "sk_test_0123",
        "GATEWAY_STRIPE_WEBHOOK_SECRETS": "whsec_0123",
    }
    found = {"data": ["/v1/embeddings", "/v1/embeddings/estimate"], "control": []}
    for role, answered in found.items():
        process = make_process(Settings.from_environment(environment | {"GATEWAY_ROLE": role}))
        answered += [re.sub(r"\{\w+:\w+\}", "x", route.path) for route in process.app.routes]
    return found


@pytest.mark.parametrize("name", ["everything", "production", "single"])
def test_the_world_reaches_every_page_and_nothing_else(name: str, paths: dict[str, list[str]]):
    backends = _routed(name)
    for role, answered in paths.items():
        for path in answered:
            found = backends(path)
            if path.startswith("/admin") and name == "everything":
                assert found == "embed-control-admin", path
            elif re.match(r"/(metrics|internal|health|dev|admin)\b", path):
                assert found is None, path
            else:
                assert found is not None, path
                assert found.endswith("-data" if name == "single" else f"-{role}"), path


def _routed(name: str):
    """Return what tells the Service that a path is routed to, or None."""
    exact: dict[str, str] = {}
    prefixes: dict[str, str] = {}
    for manifest in rendering.manifests(name):
        if manifest["kind"] == "Ingress":
            for path in manifest["spec"]["rules"][0]["http"]["paths"]:
                kind = exact if path["pathType"] == "Exact" else prefixes
                kind[path["path"]] = path["backend"]["service"]["name"]
        if manifest["kind"] == "HTTPRoute":
            for rule in manifest["spec"]["rules"]:
                (backend,) = rule["backendRefs"]
                for match in rule["matches"]:
                    kind = exact if match["path"]["type"] == "Exact" else prefixes
                    kind[match["path"]["value"]] = backend["name"]

    def backend_of(path: str) -> str | None:
        under = [p for p in prefixes if path == p or path.startswith(f"{p}/")]
        return exact.get(path) or next((prefixes[p] for p in sorted(under, key=len)), None)

    return backend_of
