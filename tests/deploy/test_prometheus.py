"""A real Prometheus scrapes both planes with our rules, and a worker that dies is an alert."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.storage.database import Database
from testing.dashboards.board import RULES
from testing.gateways import MODEL, SECRET, Ledger
from testing.processes import Process, running
from testing.servers import free_port
from tests.deploy.monitoring import alerts, asked, known, promtool, rules
from tests.deploy.test_dashboards import SHOWN, expressions

NOT_YET = {
    "gateway_stripe_events_total",  # nobody has paid
    "gateway_stripe_events_refused_total",
    "gateway_stripe_transactions_unknown_total",
    "gateway_worker_certificate_expiry_timestamp_seconds",  # the worker is at http://
    "gateway_keys_refused_total",
    "gateway_redis_subscribed",  # without REDIS_URL
    "gateway_redis_silent_seconds",
    "gateway_gateways",
    "gateway_model_votes",  # nobody has voted
    "gateway_model_waiting",
    "gateway_audit_breaches",  # the first audit comes later
    "gateway_ledger_stray_rows",  # SQLite has no partitions
}
"""What a gateway does not expose before it happens."""


class Prometheus:
    """Its API, as Grafana and Alertmanager use it."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10)

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self._http.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def close(self) -> None:
        self._http.close()

    def is_up(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def state(self, alert: str) -> str:
        (found,) = (rule for rule in self.rules() if rule["name"] == alert)
        return str(found["state"])

    def value(self, expression: str) -> float | None:
        found = self.get("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def gateway(role: str, database_url: str, worker: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Run a plane; give its address and that of its second listener."""
    admin_port = free_port()
    environment = {
        **os.environ,
        "GATEWAY_ROLE": role,
        "GATEWAY_SECRET": SECRET,
        "GATEWAY_ADMIN_PORT": str(admin_port),
        "GATEWAY_JOURNAL_PATH": str(folder / "journal"),
        "GATEWAY_WORKERS": f"{MODEL}={worker}",
        "DATABASE_URL": database_url,
    }
    process = Process([sys.executable, "-m", "testing.serve"], environment)
    try:
        yield process.url, f"127.0.0.1:{admin_port}"
    finally:
        process.close()


@contextlib.contextmanager
def prometheus(folder: Path, targets: list[str]) -> Iterator[Prometheus]:
    """Run one that looks every second, with the rules as they are."""
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in RULES],
        "scrape_configs": [{"job_name": "gateway", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        promtool().replace("promtool", "prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with subprocess.Popen(command) as child:
        try:
            found = Prometheus(f"http://{address}")
            until(found.is_up)
            yield found
            found.close()
        finally:
            child.kill()


@pytest.fixture
def key(sqlite_database_url: list[str]) -> str:
    async def fund() -> str:
        database = Database(sqlite_database_url[0])
        ledger = await Ledger.create(database, 10**9)
        await database.close()
        return ledger.secret

    return asyncio.run(fund())


@pytest.mark.long
def test_a_real_prometheus_is_content_and_sees_a_worker_die(
    sqlite_database_url: list[str], key: str, tmp_path: Path
):
    fake = ("backends.fake", "--model", MODEL, "--dimensions", "384")
    with (
        running(*fake, "--vocabulary-sha256", BERT_UNCASED_SHA256) as worker,
        gateway("data", sqlite_database_url[0], worker.url, tmp_path) as (url, data),
        gateway("control", sqlite_database_url[0], worker.url, tmp_path) as (_, control),
        prometheus(tmp_path, [data, control]) as seen,
    ):
        body, headers = {"model": MODEL, "input": "x"}, {"authorization": f"Bearer {key}"}
        httpx.post(
            f"{url}/v1/embeddings", json=body, headers=headers, timeout=30
        ).raise_for_status()
        until(lambda: seen.value("sum(up)") == 2)
        until(lambda: seen.value(f'min(gateway_ready_workers{{model="{MODEL}"}})') == 1)
        until(lambda: all(rule["health"] == "ok" for rule in seen.rules()))
        assert {rule["name"] for rule in seen.rules() if rule["type"] == "alerting"} == set(
            alerts()
        )
        assert seen.state("NoReadyWorker") == "inactive"

        _assert_all_is_exposed(seen)
        for panel in SHOWN:
            for expression in expressions(panel):
                seen.get("query", query=expression)

        worker.kill()
        until(lambda: seen.state("NoReadyWorker") in ("pending", "firing"))
        firing = [rule["name"] for rule in seen.rules() if rule.get("state") == "firing"]
        assert set(firing) <= {"NoReadyWorker"}, "all else is well"


def _assert_all_is_exposed(seen: Prometheus) -> None:
    """Each metric that rules and dashboards name is there, with the labels and values they name."""
    lines = [rule["expr"] for rule in rules() if "alert" in rule]
    lines += [line for panel in SHOWN for line in expressions(panel)]
    wanted = {
        (one.name, *sorted(one.labels), *one.equal.values()): one
        for line in lines for one in asked(line) if _is_of_a_gateway(one.name)
    }  # fmt: skip
    for one in wanted.values():
        series = [found.keys() for found in seen.get("series", **{"match[]": one.name})]
        assert series, one.name
        assert all(one.labels <= labels for labels in series), one
        bounded = {
            name: value for name, value in one.equal.items()
            if name in ("event", "kind", "severity", "outcome", "path", "le")
        }  # fmt: skip
        if bounded and one.name != "gateway_requests_total":
            chosen = ", ".join(f'{name}="{value}"' for name, value in bounded.items())
            assert seen.get("series", **{"match[]": f"{one.name}{{{chosen}}}"}), one


def _is_of_a_gateway(name: str) -> bool:
    return name.startswith("gateway_") and name in known() and name not in NOT_YET
