"""Every command of docker-compose.yml, run as it stands there: as its user, confined, and ended."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from testing import compose
from testing.containers import Machine, Running, why_not
from testing.gateways import MODEL, PRICE_NANOS
from testing.servers import programs

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),  # the service starts in the first test's
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "they can"),
]
OTHERS = {"prometheus", "grafana", "otel-collector", "worker-stella"}
"""They need a GPU, or images that can't be had without a registry."""
SERVICES: dict[str, Any] = {
    name: service for name, service in compose.read()["services"].items() if name not in OTHERS
}
_POSTGRES = """#!/bin/sh
# What the entry point of PostgreSQL's image does, as its documentation says.
set -eu
data=/var/lib/postgresql/18/docker
export PGHOST=/var/run/postgresql
set -- "$@" -D $data -c listen_addresses='*' -c unix_socket_directories=$PGHOST -c fsync=off
if [ ! -e $data/PG_VERSION ]; then
  initdb -D $data --no-sync --encoding=UTF8 --auth-local=trust $POSTGRES_INITDB_ARGS \\
    --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE"
  echo "host all all all scram-sha-256" >> $data/pg_hba.conf
  pg_ctl -D $data -w -o "-c listen_addresses='' -k $PGHOST -c fsync=off" start
  createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
  for script in /docker-entrypoint-initdb.d/*.sh; do "$script"; done
  pg_ctl -D $data -m fast -w stop
fi
exec "$@"
"""
_VALKEY_CLI = """#!/usr/bin/env python3
import os, redis
redis.Redis(password=os.environ["REDISCLI_AUTH"]).ping()
print("PONG")
"""


class Up(NamedTuple):
    """The service, started."""

    running: dict[str, Running]
    secrets: Path


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    top = tmp_path_factory.mktemp("compose")
    for folder in (top.parent, top):
        folder.chmod(0o755)
    for name in ("docker", "volumes", "stand-ins"):
        (top / name).mkdir()
    make = top / "docker/make-secrets"
    make.write_text((compose.TOP / "docker/make-secrets").read_text())
    subprocess.run(["sh", make], check=True)
    stand_ins = top / "stand-ins"
    for name, text in (("postgres-entrypoint", _POSTGRES), ("valkey-cli", _VALKEY_CLI)):
        (stand_ins / name).write_text(text)
        (stand_ins / name).chmod(0o755)
    for program in programs():
        (stand_ins / program.name).symlink_to(program)
    places = compose.Places(
        top / ".secrets", top / "volumes", stand_ins, images=compose.built_images()
    )
    described = compose.containers(SERVICES, places)
    with Machine(list(SERVICES)) as machine:
        yield Up(compose.up(machine, described, SERVICES), top / ".secrets")


def said(running: Running, *command: str) -> str:
    done = running.execute(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_request_is_answered_and_charged(up: Up):
    control = up.running["gateway-control"]
    said(control, "gateway", "organizations", "create", "Acme")
    said(control, "gateway", "credits", "grant", "Acme", "5", "--ref", "acme-1")
    create = ("gateway", "keys", "create", "Acme", "--scope", "embed", "--scope", "read", "--json")
    key = json.loads(said(control, *create))["secret"]
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=up.running["proxy"].url(8080), headers=headers) as client:
        answer = client.post("/v1/embeddings", json={"model": MODEL, "input": "hello"})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert len(told["data"][0]["embedding"]) == 384
        credit = client.get("/v1/credits").json()
    cost_nanos = told["usage"]["total_tokens"] * PRICE_NANOS
    assert int(credit["balance_nanos"]) == 5 * 10**9 - cost_nanos


def test_what_it_names_answers(up: Up):
    asked = up.running["gateway-control"].execute("gateway", "check", "--json")
    findings = json.loads(asked.stdout)
    assert {finding["about"] for finding in findings} >= {"database", "redis", "workers"}
    words = [finding["words"] for finding in findings if finding["level"] != "ok"]
    # its networks are the machine's own, mail is not set yet, and no worker of what comes soon
    expected = ("without TLS", "nobody can sign in", "no worker of NovaSearch/stella_en_400M_v5")
    assert len(words) == len(expected), words
    assert all(any(part in told for told in words) for part in expected), words


def test_one_address_serves_both_planes_and_keeps_operators_apart(up: Up):
    proxy = up.running["proxy"]
    statuses = {
        path: httpx.get(f"{proxy.url(8080)}{path}").status_code
        for path in ("/", "/models", "/v1/models", "/health/ready", "/metrics", "/admin", "/v2")
    }
    assert statuses == {
        "/": 200, "/models": 200, "/v1/models": 200, "/health/ready": 200,
        "/metrics": 404, "/admin": 404, "/v2": 404,
    }  # fmt: skip
    # operators have a listener of their own; its metrics are for Prometheus, on each process
    for path, status in (("/sign-in", 200), ("/models", 404), ("/metrics", 404)):
        assert httpx.get(f"{proxy.url(8081)}{path}").status_code == status, path
    for name in ("gateway-data", "gateway-control"):
        assert "gateway_" in httpx.get(f"{up.running[name].url(8081)}/metrics").text


@pytest.mark.parametrize("name", ["gateway-data", "gateway-control", "worker"])
def test_our_containers_write_nothing_but_what_is_theirs(up: Up, name: str):
    running = up.running[name]
    assert said(running, "id", "-u").strip() == "65532"
    for path in ("/stray", "/opt/stray", "/usr/local/bin/stray", "/run/secrets/stray"):
        assert running.execute("touch", path).returncode != 0, path
    said(running, "touch", "/tmp/ours")
    assert said(running, "grep", "CapEff", "/proc/1/status").split() == ["CapEff:", "0" * 16]


def test_the_service_s_role_can_neither_change_tables_nor_history(up: Up):
    url = (up.secrets / "database_url").read_text().strip()
    postgres = up.running["postgres"]
    for statement in ("DROP TABLE usage_events", "DELETE FROM ledger_entries", "CREATE TABLE t ()"):
        refused = postgres.execute("psql", url, "-c", statement)
        assert "permission denied" in refused.stderr or "must be owner" in refused.stderr


def test_last_each_ends_by_sigterm_with_status_0(up: Up):
    for names in (("proxy", "gateway-data", "gateway-control", "worker"), ("valkey", "postgres")):
        for name in names:
            up.running[name].send()
        for name in names:
            assert up.running[name].ended() == 0, f"{name}: {up.running[name].said[-2000:]}"
