"""One worker of two goes wrong under load: every answer is right, and so is every bill.

The fault lab (`make faults`) drives the router alone and longer; here the same kinds of fault are
seen through the door that clients use, with the money behind it.
"""

import asyncio
import base64
import contextlib
import json
import signal
import struct
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from backends.fake import POISON, vector
from gateway.control_plane.status.incidents import Incidents
from gateway.control_plane.workers import commands
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.snapshots import WorkerState, WorkerStatus, WorkerView
from testing.gateways import MODEL, Api, Ledger, open_api
from testing.processes import Process, running
from testing.relay import relaying
from tests.data_plane.api.embeddings.conftest import code

REQUESTS, AT_ONCE = 60, 12
# words of BERT's vocabulary whose ids are known, so that each answer can be recomputed
WORDS = {"hello": 7592, "world": 2088, "cat": 4937, "dog": 3899, "house": 2160, "tree": 3392}


@contextlib.contextmanager
def worker() -> Iterator[Process]:
    with running(
        "backends.fake",
        "--model",
        MODEL,
        "--dimensions",
        "384",
        "--vocabulary-sha256",
        BERT_UNCASED_SHA256,
    ) as process:
        yield process


@pytest.fixture(scope="module")
def good() -> Iterator[Process]:
    with worker() as process:
        yield process


@pytest.fixture
def bad() -> Iterator[Process]:
    with worker() as process:
        yield process


@pytest.fixture
async def api(sqlite_database_url, good: Process, bad: Process) -> AsyncIterator[Api]:
    workers = f"{MODEL}={good.url} {MODEL}={bad.url}"
    async with open_api(sqlite_database_url[0], workers) as opened:
        await opened.ready(workers=2)
        yield opened


def expected(words: list[str]) -> list[bytes]:
    return [vector(struct.pack("<3I", 101, WORDS[word], 102), 384) for word in words]


async def ask(api: Api, number: int, gate: asyncio.Semaphore) -> None:
    names = list(WORDS)
    words = [names[(number + step) % len(names)] for step in range(1 + number % 4)]
    async with gate:
        answer = await api.embed(input=words, encoding_format="base64")
    assert answer.status_code == 200, answer.text
    found = [base64.b64decode(item["embedding"]) for item in answer.json()["data"]]
    assert found == expected(words)
    assert answer.headers["x-cost-nanos"] == str(8 * 3 * len(words))


async def load(api: Api, strike) -> None:
    """Send all requests, and strike when a third of them is done."""
    gate = asyncio.Semaphore(AT_ONCE)
    before = [asyncio.create_task(ask(api, number, gate)) for number in range(REQUESTS // 3)]
    await asyncio.gather(*before)
    await strike()
    after = [ask(api, number, gate) for number in range(REQUESTS // 3, REQUESTS)]
    await asyncio.gather(*after)


async def assert_billed(api: Api) -> None:
    ledger = await api.settled()
    inputs = sum(1 + number % 4 for number in range(REQUESTS))
    usage = await ledger.usage()
    assert len(usage) == REQUESTS
    assert sum(row.charged_nanos for row in usage) == 8 * 3 * inputs
    assert await ledger.available() == 10**9 - 8 * 3 * inputs
    assert await ledger.breaches() == []


@pytest.mark.parametrize(
    "kind",
    ["error", "nan", "zero", "foreign", "permuted", "missing", "dimension", "truncated", "html",
     "reset", "busy", "hang", "slow", "refuse", "short", "drip"],
)  # fmt: skip
async def test_a_fault_of_one_is_nobodys_loss(api: Api, bad: Process, kind: str):
    async def strike() -> None:
        async with httpx.AsyncClient(base_url=bad.url) as control:
            seconds = 30.0 if kind == "hang" else 0.3
            await control.put("/fault", json={"kind": kind, "times": -1, "seconds": seconds})

    await load(api, strike)
    await assert_billed(api)


FROZEN, SILENT = "frozen", "hang"


async def strike(control: httpx.AsyncClient, worker: Process, kind: str) -> None:
    if kind == FROZEN:
        worker.child.send_signal(signal.SIGSTOP)
    else:
        await control.put("/fault", json={"kind": kind, "times": -1, "seconds": 60})


async def heal(control: httpx.AsyncClient, worker: Process) -> None:
    worker.child.send_signal(signal.SIGCONT)
    await control.delete("/fault")


@pytest.mark.parametrize("kind", ["refuse", "error", FROZEN, SILENT])
async def test_a_sole_worker_is_judged_like_any_other(
    sqlite_database_url: list[str], bad: Process, kind: str
):
    """Clients are told whose fault it is and pay nothing; operators and the status page know."""
    workers = f"{MODEL}={bad.url}"
    async with (
        open_api(sqlite_database_url[0], workers, worker_orders_poll_seconds=0.02) as api,
        httpx.AsyncClient(base_url=bad.url) as control,
        asyncio.timeout(20),
    ):
        await api.ready()
        api.headers["prefer"] = "wait=0"
        core = api.gateway.core
        incidents = Incidents(core.database, catalog=core.catalog, patience_seconds=0.1)

        async def down() -> bool:
            await incidents.watch()
            return any(incident.ended_at is None for incident in await incidents.recent(1))

        async def reported() -> WorkerView | None:
            async with core.database.read() as connection:
                told = await commands.reports(connection)
            return told[0].worker if told else None

        while (view := await reported()) is None or view.state is not WorkerState.READY:
            await asyncio.sleep(0.01)
        assert not await down()
        assert (await api.monitored("/health/ready")).json()["reasons"] == []
        await strike(control, bad, kind)
        met = set()
        while (answer := await api.embed()).status_code != 503:
            met.add((answer.status_code, answer.json()["error"]["code"]))
        assert met <= {(500, "internal_error"), (502, "upstream_error")}
        assert answer.json()["error"]["code"] == "model_warming"
        assert "retry-after" in answer.headers
        await api.assert_untouched()
        while not await down():
            await asyncio.sleep(0.01)
        view = await reported()
        assert view
        said = {"refuse": "400", "error": "500"}.get(kind, "no answer in")
        assert (view.state, said in view.reason) == (WorkerState.QUARANTINED, True)
        health = await api.monitored("/health/ready")
        assert (health.status_code, health.json()["reasons"]) == (200, ["workers"])
        assert core.router.statuses() == [WorkerStatus(MODEL, ready=False)]
        api.headers["prefer"] = "wait=10"
        held = asyncio.create_task(api.embed())
        metrics = (await api.monitored("/metrics")).text.splitlines()
        (state,) = [line for line in metrics if line.startswith("gateway_worker_state{")]
        assert 'state="quarantined"' in state
        await heal(control, bad)
        assert (await held).status_code == 200
        while await down():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["deadly", "breaking"])
async def test_an_input_that_ends_workers_costs_two(
    sqlite_database_url: list[str], bad: Process, kind: str, capfd: pytest.CaptureFixture[str]
):
    """It ends with 502 and costs nothing; all others are served; nobody can send it again."""
    deadly = {"input": [[101, POISON, 102]], "token_ids_from": "model"}
    with contextlib.ExitStack() as stack:
        workers = [bad, *(stack.enter_context(worker()) for _ in range(2))]
        addresses = " ".join(f"{MODEL}={process.url}" for process in workers)
        async with open_api(sqlite_database_url[0], addresses) as api:
            await api.ready(workers=3)
            for process in workers:
                async with httpx.AsyncClient(base_url=process.url) as control:
                    await control.put("/fault", json={"kind": kind, "times": -1})
            gate = asyncio.Semaphore(REQUESTS)
            asks = [ask(api, number, gate) for number in range(REQUESTS)]
            answer, *_ = await asyncio.gather(api.embed(**deadly), *asks)
            assert (answer.status_code, code(answer)) == (502, "input_failed")
            assert answer.headers["x-should-retry"] == "false"
            assert "retry-after" not in answer.headers
            pool = api.gateway.core.router.pools[MODEL]
            assert sum(view.state is WorkerState.READY for view in pool.workers()) == 1

            other = await Ledger.create(api.ledger.database, 10**9)
            api.headers["authorization"] = f"Bearer {other.secret}"
            deadly["input"] = [[101, WORDS["cat"], 102], [101, POISON, 102]]
            again = await api.embed(**deadly)
            assert (again.status_code, code(again)) == (502, "input_failed")
            assert "input[1]" in again.json()["error"]["message"]
            assert sum(view.state is WorkerState.READY for view in pool.workers()) == 1
            metrics = (await api.monitored("/metrics")).text
            assert f'gateway_fatal_inputs_total{{model="{MODEL}"}} 1.0' in metrics
            await assert_billed(api)
    alarms = [line for line in capfd.readouterr().err.splitlines() if "ends workers" in line]
    assert len(alarms) == 1
    assert json.loads(alarms[0])["digest"]


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_worker_that_starts_again_loses_no_request(
    sqlite_database_url: list[str], good: Process, bad: Process, end: str
):
    """All that was kept open to it is stale at once: nobody's fault, and no client's error."""
    async with (
        relaying(bad.url) as relay,
        open_api(sqlite_database_url[0], f"{MODEL}={relay.url}") as api,
        httpx.AsyncClient(base_url=bad.url) as control,
    ):
        await api.ready()
        worker = api.gateway.core.router.worker(MODEL, relay.url)
        await control.put("/fault", json={"kind": "slow", "times": 2, "seconds": 0.3})
        gate = asyncio.Semaphore(2)
        first = asyncio.create_task(ask(api, 0, gate))
        while not worker.calls:  # or both would leave in one call
            await asyncio.sleep(0.001)
        await ask(api, 1, gate)
        await first
        assert relay.open >= 2
        relay.forget(end, good.url)
        bad.kill()
        for number in range(4):
            await ask(api, number, gate)
        assert relay.stale >= 1
        assert worker.ejections == 0
        assert worker.state is WorkerState.READY


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
async def test_the_end_of_one_is_nobodys_loss(api: Api, bad: Process, number: signal.Signals):
    async def strike() -> None:
        bad.child.send_signal(number)

    await load(api, strike)
    await assert_billed(api)
