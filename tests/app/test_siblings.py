"""Several processes of one gateway are one service."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.app.siblings import Siblings
from gateway.observability.exposition import added
from testing.gateways import MODEL, SECRET, open_api
from testing.processes import Process
from testing.servers import free_port
from tests.app.test_peers import TRUSTED, announce

_TEXT = """\
# HELP gateway_tokens_total Tokens embedded and billed.
# TYPE gateway_tokens_total counter
gateway_tokens_total{model="m"} %d
# HELP gateway_request_seconds How long.
# TYPE gateway_request_seconds histogram
gateway_request_seconds_bucket{le="0.1"} %d
gateway_request_seconds_bucket{le="+Inf"} 4
gateway_request_seconds_count 4
gateway_request_seconds_sum 0.5
# HELP gateway_connections Connections that are open.
# TYPE gateway_connections gauge
gateway_connections %d
# HELP gateway_ledger_away_seconds How long the ledger has not answered.
# TYPE gateway_ledger_away_seconds gauge
gateway_ledger_away_seconds %d
# HELP gateway_audit_breaches Violations.
# TYPE gateway_audit_breaches gauge
gateway_audit_breaches{invariant="sums"} %s
"""


def values(text: bytes) -> dict[str, float]:
    """All samples, by their names and the values of their labels."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_metrics_add_up_to_those_of_one_process():
    one = (_TEXT % (5, 3, 10, 0, "0.0")).encode()
    other = (_TEXT % (7, 1, 20, 9, "0.0")).encode() + b"gateway_leases 3\n"
    assert values(added([one, other])) == {
        "gateway_tokens_total m": 12,
        "gateway_request_seconds_bucket 0.1": 4,
        "gateway_request_seconds_bucket +Inf": 8,
        "gateway_request_seconds_count": 8,
        "gateway_request_seconds_sum": 1.0,
        "gateway_connections": 30,
        "gateway_ledger_away_seconds": 9,
        "gateway_audit_breaches sums": 0,
        "gateway_leases": 3,
    }
    assert values(added([one])) == values(one)


def test_what_one_process_does_not_know_is_not_zero():
    known, unknown = ((_TEXT % (0, 0, 0, 0, said)).encode() for said in ("0.0", "NaN"))
    for texts in ([known, unknown], [unknown, known]):
        assert b'gateway_audit_breaches{invariant="sums"} NaN' in added(texts)


async def test_a_worker_that_one_process_hears_of_is_known_to_all(
    sqlite_database_url: list[str], fake_worker: Process, tmp_path: Path
):
    options = {"siblings": str(tmp_path), "processes": 2, **TRUSTED}
    async with (
        open_api(sqlite_database_url[0], **options) as here,
        open_api(sqlite_database_url[0], **options) as there,
    ):
        assert (await announce(here, fake_worker.url)).status_code == 204
        for one in (here, there):
            await one.ready()
            assert (await one.embed()).status_code == 200
            placement = one.gateway.core.router
            assert placement._gateways() == 2  # each uses its half of the worker's window
        assert (await announce(there, fake_worker.url, leaving=True)).status_code == 204
        async with asyncio.timeout(10):
            while here.gateway.core.router.pools[MODEL].workers():
                await asyncio.sleep(0.01)


async def test_a_sibling_that_died_or_hangs_holds_nobody_up(tmp_path: Path):
    here, there = Siblings(tmp_path), Siblings(tmp_path)
    here.own_metrics, there.own_metrics = (lambda: b"here"), (lambda: b"there")
    await here.start()
    await there.start()
    gone = Siblings(tmp_path)
    await gone.start()
    assert gone._server
    gone._server.close()  # as a process that was killed leaves it
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(tmp_path / "0.sock"))
        hanging.listen()  # and accepts nobody
        assert await here.metrics() == [b"there"]
        assert await there.metrics() == [b"here"]
    await there.stop()
    await here.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["0.sock"]


@pytest.mark.long
def test_whichever_process_answers_speaks_for_all(sqlite_database_url: list[str], tmp_path: Path):
    """Where temporary files have a long name too: a socket's address has 107 characters at most."""
    folder = tmp_path / ("temporary" * 9)
    folder.mkdir()
    environment = {
        **os.environ,
        "GATEWAY_SECRET": SECRET,
        "GATEWAY_METRICS_TOKEN": "a token for monitoring",
        "GATEWAY_CONNECTIONS_MAX": "100",
        "GATEWAY_DRAIN_SECONDS": "0",
        "DATABASE_URL": sqlite_database_url[0],
        "TMPDIR": str(folder),
    }
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "gateway", "run", "--port", str(port), "--processes", "2"]

    def connections_max() -> float:
        token = {"authorization": "Bearer a token for monitoring"}
        try:
            said = httpx.get(f"{url}/metrics", headers=token, timeout=30).content
        except httpx.TransportError:
            return 0
        return values(said)["gateway_connections_max"]

    with subprocess.Popen(command, env=environment) as gateway:
        try:
            deadline = time.monotonic() + 60
            while connections_max() != 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            # a connection each, so that both are asked
            assert {connections_max() for _ in range(10)} == {200}
        finally:
            gateway.terminate()
            gateway.wait(timeout=60)
    assert list(folder.iterdir()) == []
