"""Several processes of one gateway are one service."""

import asyncio
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar

from gateway.app.last_seen import LastSeen
from gateway.app.siblings import Siblings
from gateway.observability import exposition
from gateway.observability.exposition import added, lasting
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
    return told(text_string_to_metric_families(text.decode()))


def told(families: Iterable[Metric]) -> dict[str, float]:
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def telling(text: str) -> bytes:
    """What a process tells its siblings."""
    return exposition.encoded(text_string_to_metric_families(text))


def test_metrics_add_up_to_those_of_one_process():
    one = telling(_TEXT % (5, 3, 10, 0, "0.0"))
    other = telling(_TEXT % (7, 1, 20, 9, "0.0") + "gateway_leases 3\n")
    assert told(added([one, other])) == {
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
    assert told(added([one])) == values((_TEXT % (5, 3, 10, 0, "0.0")).encode())


def test_what_one_process_does_not_know_is_not_zero():
    known, unknown = (telling(_TEXT % (0, 0, 0, 0, said)) for said in ("0.0", "NaN"))
    for both in ([known, unknown], [unknown, known]):
        assert math.isnan(told(added(both))["gateway_audit_breaches sums"])


def test_of_two_examples_the_latest_is_told():
    def example(at: float) -> Metric:
        family = HistogramMetricFamily("gateway_request_seconds", "How long.")
        shown = Exemplar({"trace_id": f"of {at}"}, 0.05, at)
        family.add_metric([], [("0.1", 1.0, shown), ("+Inf", 1.0)], 0.05)
        return family

    both = [exposition.encoded([example(at)]) for at in (2.0, 3.0)]
    for order in (both, both[::-1]):
        (family,) = added(order)
        assert family.samples[0].exemplar == Exemplar({"trace_id": "of 3.0"}, 0.05, 3.0)
        assert family.samples[1].exemplar is None


def test_what_ended_processes_counted_stays(tmp_path: Path):
    """Whoever is asked: one that ended is counted once, with what it told last."""
    seen = LastSeen(tmp_path, lasting)

    def asked(own: str, living: str, **counts: int) -> float:
        counted = {name: telling(_TEXT % (count, 0, 1, 0, "0.0")) for name, count in counts.items()}
        others = seen.exchange(counted, own, set(living))
        found = told(added([counted[own], *others]))
        assert found["gateway_connections"] == len({*counted} & {*living}), "nobody holds the rest"
        return found["gateway_tokens_total m"]

    assert asked("a", "abc", a=1, b=10, c=100) == 111
    assert asked("b", "abc", b=10, a=1) == 111, "c does not answer"
    assert asked("b", "ab", b=10, a=1) == 111, "c is gone"
    assert asked("a", "ab", a=1, b=10, c=100) == 111, "it told somebody before it went"
    assert asked("a", "a", a=2) == 112, "b is gone too"
    seen.write({"a": telling(_TEXT % (5, 0, 1, 0, "0.0"))})
    assert asked("d", "d", d=1000) == 1115, "a wrote at its end"
    assert sorted(path.name for path in tmp_path.glob("*.seen")) == ["d.seen", "gone.seen"]


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


_HERE, _THERE = (telling(_TEXT % (count, 0, 0, 0, "0.0")) for count in (1, 2))


async def test_a_sibling_that_died_or_hangs_holds_nobody_up(tmp_path: Path):
    here, there = Siblings(tmp_path), Siblings(tmp_path)
    here.own_metrics, there.own_metrics = (lambda: _HERE), (lambda: _THERE)
    await here.start()
    await there.start()
    gone = Siblings(tmp_path)
    await gone.start()
    assert gone._server
    gone._server.close()  # as a process that was killed leaves it
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(tmp_path / "0.sock"))
        hanging.listen()  # and accepts nobody
        assert await here.metrics(_HERE) == [_THERE]
        assert await there.metrics(_THERE) == [_HERE]
    await there.stop()
    await here.stop()
    assert [path.name for path in tmp_path.glob("*.sock")] == ["0.sock"]


def serving(parent: int) -> list[int]:
    """The processes of a gateway that serve."""
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.long
def test_whichever_process_answers_speaks_for_all(sqlite_database_url: list[str], tmp_path: Path):
    """Where temporary files have a long name too: a socket's address has 107 characters at most.

    One that is killed takes nothing from what was counted.
    """
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
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_TRACES_SAMPLER": "always_on",
    }
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "gateway", "run", "--port", str(port), "--processes", "2"]
    refused = 'gateway_requests_total{path="/v1/embeddings",status="401"}'

    def scraped() -> str:
        token = {"authorization": "Bearer a token for monitoring"}
        openmetrics = {"accept": "application/openmetrics-text; version=1.0.0"}
        try:
            return httpx.get(f"{url}/metrics", headers=token | openmetrics, timeout=30).text
        except httpx.TransportError:
            return ""

    def value(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} ([^ \n]+)", scraped(), re.MULTILINE)
        return float(found[1]) if found else 0

    def both_serve() -> None:
        deadline = time.monotonic() + 60
        while value("gateway_connections_max") != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def ask() -> None:
        for _ in range(10):  # a connection each, so that both are asked
            assert httpx.post(f"{url}/v1/embeddings", timeout=30).status_code == 401

    with subprocess.Popen(command, env=environment) as gateway:
        try:
            both_serve()
            assert {value("gateway_connections_max") for _ in range(10)} == {200}
            ask()
            assert {value(refused) for _ in range(4)} == {10}
            text = scraped()
            assert re.search(r'request_seconds_bucket{.*} \d+\.0 # {trace_id="\w{32}"} ', text)
            assert text.endswith("# EOF\n")
            os.kill(serving(gateway.pid)[0], signal.SIGKILL)
            assert {value(refused) for _ in range(4)} == {10}
            ask()
            assert {value(refused) for _ in range(4)} == {20}
        finally:
            gateway.terminate()
            gateway.wait(timeout=60)
    assert list(folder.iterdir()) == []
