"""Each command of docs/kubernetes.md's values, run as in its pod, from its user to its signals."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from testing.certificates import Authority
from testing.chart import pods, rendering
from testing.chart.rendering import RELEASE, Manifest
from testing.containers import Container, Exec, Machine, Running, why_not
from testing.servers import programs

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "they can"),
]
Secrets = dict[str, dict[str, str]]
SHORT = "settings.GATEWAY_DRAIN_SECONDS=1,workers.poolDefaults.drainSeconds=1"
DATA, CONTROL, WORKER = f"{RELEASE}-data", f"{RELEASE}-control", f"{RELEASE}-worker-minilm"
NAMES = ["postgres", "valkey", "early", "migration", DATA, CONTROL, WORKER, "test"]
SERVERS = {
    "postgres": ["sh", "-c", """set -eu
initdb -D here -U owner -A trust --no-sync --encoding=UTF8
echo "host all all all trust" >> here/pg_hba.conf
pg_ctl -D here -w -o "-c listen_addresses='' -k /data -c fsync=off" start
psql -h /data -U owner postgres -c "CREATE ROLE service LOGIN" -c "CREATE DATABASE gateway"
pg_ctl -D here -m fast -w stop
exec postgres -D here -c listen_addresses='*' -k /data -c fsync=off"""],
    "valkey": ["valkey-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "",
               "--dir", "/data"],
}  # fmt: skip
"""Real ones, which the chart does not bring."""


class Release:
    """The release's pods, made as Kubernetes makes them from what helm renders."""

    def __init__(self, machine: Machine, secrets: Secrets, volumes: Path) -> None:
        self.secrets = secrets
        self._machine, self._volumes = machine, volumes
        values = rendering.SETS / "production-values.yaml"
        self._manifests = rendering.parsed(rendering.rendered("-f", str(values), "--set", SHORT))
        self._maps = {
            manifest["metadata"]["name"]: manifest["data"]
            for manifest in self._manifests
            if manifest["kind"] == "ConfigMap"
        }

    def pod(self, component: str) -> Manifest:
        return pods.pod(self._manifests, component)

    def start(self, component: str, name: str) -> Running:
        described = pods.container(
            self.pod(component),
            name=name,
            secrets=self.secrets,
            maps=self._maps,
            volumes=self._volumes,
        )
        return self._machine.start(described)


class Up(NamedTuple):
    release: Release
    early: Running
    migration: Running
    data: Running
    control: Running
    worker: Running


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """What an operator has made before the release is installed: Secrets, and servers."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    secrets: Secrets = {
        "stella": {
            "GATEWAY_SECRET": "0123456789abcdef0123456789abcdef",
            "GATEWAY_WORKER_SECRET": "fedcba9876543210fedcba9876543210",
            "REDIS_URL": "redis://valkey:6379/0",
            "GATEWAY_SMTP_URL": "smtp://user:password@mail.example:587",
        },
        "postgres-service": {"uri": "postgresql://service@postgres/gateway"},
        "postgres-app": {"uri": "postgresql://owner@postgres/gateway"},
        "postgres-ca": {"ca.crt": authority.path.read_text()},
    }
    volumes = tmp_path_factory.mktemp("volumes")
    for folder in (volumes.parent, volumes):
        folder.chmod(0o755)
    path = ":".join(sorted({str(program.parent) for program in programs()}))
    with Machine(NAMES) as machine:
        for name, command in SERVERS.items():
            described = Container(
                name=name,
                command=command,
                env={"PATH": f"{path}:/usr/bin:/bin"},
                temporary=["/tmp", "/data:uid=65532,gid=65532,mode=0700"],
                folder="/data",
            )
            started = machine.start(described)
            if name == "postgres":
                started.wait(Exec(["pg_isready", "-h", "127.0.0.1"]))
        yield Release(machine, secrets, volumes)


@pytest.fixture(scope="module")
def up(release: Release) -> Up:
    """The release, in the order of `helm install`; one pod came too early."""
    early = release.start("control", "early")
    early_ended = early.ended()
    assert early_ended != 0
    migration = release.start("migration", "migration")
    assert migration.ended() == 0, migration.said
    worker = release.start("worker", WORKER)
    data, control = release.start("data", DATA), release.start("control", CONTROL)
    for running, component in ((worker, "worker"), (data, "data"), (control, "control")):
        for probe in pods.probes(release.pod(component)).values():
            running.wait(probe)
    return Up(release, early, migration, data, control, worker)


def test_a_pod_on_another_schema_does_not_start(up: Up):
    assert "run `gateway migrate`" in up.early.said


def test_what_helm_test_runs_finds_the_charge_exact(up: Up):
    for command in (
        ("organizations", "create", "Acme"),
        ("credits", "grant", "Acme", "5", "--ref", "acme-1"),
    ):
        done = up.control.execute("gateway", *command)
        assert done.returncode == 0, done.stderr
    key = json.loads(up.control.execute("gateway", "keys", "create", "Acme", "--json").stdout)
    up.release.secrets["stella-test"] = {"OPENAI_API_KEY": key["secret"]}
    _wait_for_workers(up.data)
    test = up.release.start("test", "test")
    assert test.ended() == 0, test.said
    assert "charged" in test.said
    assert "as due" in test.said


def test_each_plane_answers_for_what_it_is(up: Up):
    statuses = {
        (running.container.name, port, path): httpx.get(f"{running.url(port)}{path}").status_code
        for running in (up.data, up.control)
        for port, path in ((8080, "/v1/models"), (8080, "/models"), (8080, "/metrics"),
                           (8080, "/admin"), (8081, "/metrics"))
    }  # fmt: skip
    assert list(statuses.values()) == [200, 404, 404, 404, 200, 404, 200, 404, 404, 200]


def test_nothing_is_written_but_what_is_theirs(up: Up):
    for running in (up.data, up.control, up.worker):
        assert running.execute("touch", "/stray").returncode != 0
        assert running.execute("touch", "/tmp/ours").returncode == 0
    assert up.data.execute("ls", "/var/lib/gateway/journal").stdout.strip()


def test_last_each_ends_by_sigterm_in_time_and_with_0(up: Up):
    began = time.monotonic()
    for running in (up.data, up.control, up.worker):
        running.send()
    ready = pods.probes(up.release.pod("data"))["readinessProbe"]
    assert not up.data.is_good(ready)
    for running, component in ((up.data, "data"), (up.control, "control"), (up.worker, "worker")):
        assert running.ended() == 0, running.said[-2000:]
        grace = up.release.pod(component)["spec"]["terminationGracePeriodSeconds"]
        assert time.monotonic() - began < grace


def _wait_for_workers(data: Running) -> None:
    """Wait until a worker has proved itself: until then, requests are held."""
    deadline = time.monotonic() + 60
    while httpx.get(f"{data.url(8081)}/health/ready").json()["reasons"]:
        assert time.monotonic() < deadline, data.said
        time.sleep(0.1)
