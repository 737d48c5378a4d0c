"""The chart, rendered by the real helm from five sets of values, and from wrong ones."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from backends.stella.__main__ import _parser as stella_options
from gateway.app.worker_sources import worker_sources
from gateway.settings import Settings, describe
from testing import binaries
from testing.chart import rendering, snapshots
from testing.chart.rendering import CHART, Manifest

SETS = ["everything", "gpu", "minimal", "production", "single"]
KUBERNETES = "1.37"
SECRETS = {
    "GATEWAY_SECRET": "0123456789abcdef0123456789abcdef",
    "GATEWAY_WORKER_SECRET": "fedcba9876543210fedcba9876543210",
    "DATABASE_URL": "postgresql://gateway:password@postgres:5432/gateway",
    "GATEWAY_MIGRATION_DATABASE_URL": "postgresql://owner:password@postgres:5432/gateway",
    "REDIS_URL": "redis://valkey:6379/0",
    "GATEWAY_SMTP_URL": "smtp://user:password@mail.example:587",
    "GATEWAY_GITHUB_CLIENT_SECRET": "a secret of GitHub's",
    "GATEWAY_STRIPE_SECRET_KEY": "sk_test_0123456789",
    "GATEWAY_STRIPE_WEBHOOK_SECRETS": "whsec_0123456789abcdef",
    "GATEWAY_METRICS_TOKEN": "0123456789abcdef",
    "GATEWAY_RECEIPT_SECRET": "00112233445566778899aabbccddeeff",
}
"""What the Secrets hold, by the variable that refers to them."""
OTHERS = {
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_RESOURCE_ATTRIBUTES",
    "GATEWAY_WORKER_KEY",  # of a worker
    "HF_HOME",
    "HF_TOKEN",
    "GATEWAY",  # of files/charge.py
    "MODEL",
    "OPENAI_API_KEY",
}
"""Variables that are no settings of the gateway."""
CUSTOM: Mapping[str, Mapping[str, type]] = {
    "ServiceMonitor": {"selector": dict, "endpoints": list},
    "PrometheusRule": {"groups": list},
    "ScaledObject": {
        "scaleTargetRef": dict,
        "minReplicaCount": int,
        "maxReplicaCount": int,
        "pollingInterval": int,
        "cooldownPeriod": int,
        "advanced": dict,
        "triggers": list,
    },
    "HTTPRoute": {"parentRefs": list, "hostnames": list, "rules": list},
}
"""Fields of the kinds that Kubernetes itself does not know."""


@pytest.fixture(params=SETS)
def chosen(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_set_is_tested():
    assert rendering.names() == SETS


def test_helm_has_nothing_to_say():
    values = rendering.SETS / "everything-values.yaml"
    done = subprocess.run(
        [str(binaries.FOLDER / "helm"), "lint", "--strict", str(CHART), "-f", str(values)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout


def test_what_is_rendered_is_what_was_reviewed(chosen: str):
    """`make chart` writes the snapshots anew."""
    assert snapshots.taken(chosen) == snapshots.file(chosen).read_text()


def test_kubernetes_knows_every_field(chosen: str):
    for manifest in rendering.manifests(chosen):
        if manifest["kind"] not in CUSTOM:
            _validate(json.dumps(manifest))
            continue
        fields = CUSTOM[manifest["kind"]]
        assert manifest["spec"].keys() <= fields.keys()
        for name, value in manifest["spec"].items():
            assert isinstance(value, fields[name]), f"{manifest['kind']}: {name}"
            assert value or value == 0


def test_dashboards_and_rules_are_what_stands_in_the_files():
    """A ConfigMap may hold a mebibyte."""
    maps = [m for m in rendering.manifests("production") if m["kind"] == "ConfigMap"]
    dashboards = {file: text for m in maps for file, text in m["data"].items()}
    assert dashboards.pop("charge.py").strip() == (CHART / "files/charge.py").read_text().strip()
    files = list((CHART / "files/dashboards").glob("*.json"))
    assert {file: json.loads(text) for file, text in dashboards.items()} == {
        file.name: json.loads(file.read_text()) for file in files
    }
    assert max(map(len, dashboards.values())) < 1 << 20
    rules = [m["spec"] for m in rendering.manifests("production") if m["kind"] == "PrometheusRule"]
    assert rules == [
        yaml.safe_load((CHART / "files" / file).read_text()) for file in ("alerts.yml", "slos.yml")
    ]


@pytest.mark.parametrize("name", ["production", "single"])
def test_the_notes_name_what_there_is(name: str):
    notes = rendering.notes("-f", str(rendering.SETS / f"{name}-values.yaml"))
    kinds = {"deploy": "Deployment", "sts": "StatefulSet", "svc": "Service"}
    named = re.findall(r"\b(deploy|sts|svc)/([\w-]+)", notes)
    assert named
    there = {(m["kind"], m["metadata"]["name"]) for m in rendering.manifests(name)}
    assert {(kinds[kind], of) for kind, of in named} <= there
    assert "/v1/embeddings" in notes


def test_every_pod_is_locked_down(chosen: str):
    for pod in _pods(chosen):
        spec, security = pod["spec"], pod["spec"]["securityContext"]
        assert spec["automountServiceAccountToken"] is False
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == 65532
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in spec.get("volumes", [])} | (
                mounted & {"journal", "weights"}
            )


def test_every_variable_is_a_setting_with_a_value_that_it_takes(chosen: str):
    known = {variable for variable, _, _ in describe()} | OTHERS
    gateways = 0
    for container in _containers(chosen):
        environment = _environment(container)
        assert environment.keys() <= known
        if container["command"][0] == "gateway":
            gateways += 1
            environment.pop("GATEWAY_WORKER_CA", None)  # a file that its pod has
            worker_sources(Settings.from_environment(environment))
    assert gateways == (2 if chosen == "single" else 3)


def test_stella_workers_know_their_options():
    for container in _containers("everything", "gpu"):
        command, *options = container["command"]
        if command == "stella-worker":
            said = stella_options().parse_args(options)
            assert said.device == "cuda"
            assert said.announce_as in _environment_of_gateways("everything", "gpu")


def test_secrets_are_references(chosen: str):
    """A pod has only those that it needs, and none of them as a value."""
    for container in _containers(chosen):
        for variable in container.get("env", []):
            assert ("valueFrom" in variable) == (
                variable["name"] in SECRETS.keys() | {"GATEWAY_WORKER_KEY", "HF_TOKEN"}
                or variable["name"] == "OPENAI_API_KEY"
            ), variable
    selling = {"GATEWAY_STRIPE_SECRET_KEY", "GATEWAY_SMTP_URL", "GATEWAY_MIGRATION_DATABASE_URL"}
    for pod in _pods("everything"):
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        held = {v["name"] for c in pod["spec"]["containers"] for v in c.get("env", [])} & selling
        expected: dict[str, set[str]] = {
            "control": {"GATEWAY_STRIPE_SECRET_KEY", "GATEWAY_SMTP_URL"},
            "migration": {"GATEWAY_MIGRATION_DATABASE_URL"},
        }
        assert held == expected.get(component, set())


def test_a_pod_has_the_time_that_its_requests_take(chosen: str):
    for pod in _pods(chosen):
        (container,) = pod["spec"]["containers"]
        if container["command"][:2] != ["gateway", "run"]:
            continue
        environment = _environment(container)
        settings = Settings.from_environment(environment)
        stop = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        grace = pod["spec"]["terminationGracePeriodSeconds"]
        assert grace > stop + settings.drain_seconds + settings.request_timeout_seconds


def test_a_migration_needs_nothing_that_the_release_makes(chosen: str):
    """It is run before everything else of the release exists."""
    (job,) = (m for m in rendering.manifests(chosen) if m["kind"] == "Job")
    made = {m["metadata"]["name"] for m in rendering.manifests(chosen)}
    annotations = job["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation"
    assert job["spec"]["backoffLimit"] == 0
    spec = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec
    (container,) = spec["containers"]
    refers = {v["valueFrom"]["secretKeyRef"]["name"] for v in container["env"] if "valueFrom" in v}
    refers |= {v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v}
    assert refers
    assert not refers & made


def test_a_journal_outlives_its_pod():
    """Usage that was answered and not charged yet is in it."""
    (data,) = (
        m
        for m in rendering.manifests("production")
        if m["metadata"]["name"].endswith("-data") and m["kind"] in ("StatefulSet", "Deployment")
    )
    assert data["kind"] == "StatefulSet"
    assert data["spec"]["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain", "whenScaled": "Retain",
    }  # fmt: skip
    (container,) = data["spec"]["template"]["spec"]["containers"]
    (mount,) = (m for m in container["volumeMounts"] if m["name"] == "journal")
    assert _environment(container)["GATEWAY_JOURNAL_PATH"].startswith(f"{mount['mountPath']}/")


def test_gateways_are_told_how_many_they_are():
    """The control plane dispatches too, for the playground."""
    counts = {
        name: {
            _environment(c)["GATEWAY_GATEWAYS"]
            for c in _containers(name)
            if c["command"][:2] == ["gateway", "run"]
        }
        for name in SETS
    }
    assert counts == {
        "everything": {"5"}, "gpu": {"3"}, "minimal": {"3"}, "production": {"5"}, "single": {"1"},
    }  # fmt: skip


@cache
def _validate(manifest: str) -> None:
    """Validate strictly, and only once what several sets have in common: it takes 20 ms."""
    kubernetes_validate.validate(json.loads(manifest), KUBERNETES, strict=True)


def _pods(name: str) -> Iterator[Manifest]:
    for manifest in rendering.manifests(name):
        if manifest["kind"] == "Pod":
            yield manifest
        elif "template" in manifest.get("spec", {}):
            yield manifest["spec"]["template"]


def _containers(*names: str) -> Iterator[dict[str, Any]]:
    for name in names:
        for pod in _pods(name):
            yield from pod["spec"]["containers"]


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    """Return a container's variables, with a value for what its Secrets hold."""
    return {
        variable["name"]: variable.get("value") or SECRETS.get(variable["name"], "a secret")
        for variable in container.get("env", [])
    }


def _environment_of_gateways(*names: str) -> str:
    return " ".join(_environment(c).get("GATEWAY_WORKERS", "") for c in _containers(*names))
