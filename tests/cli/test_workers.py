"""`gateway workers` acts on gateways that run, and golden vectors keep another model out."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest

from backends.authentication import derive_key
from gateway.cli import workers as worker_commands
from gateway.control_plane.catalog import golden
from gateway.control_plane.workers import commands
from gateway.control_plane.workers.commands import WorkerReport
from gateway.data_plane.routing.pool import Pool
from gateway.snapshots import WorkerState
from gateway.storage.database import Database
from testing.gateways import MODEL, STELLA, open_api
from testing.processes import Process, running
from testing.workers import a_view
from tests.cli.test_cli import Shell

VOCABULARY = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
DIMENSIONS = ["256", "512", "768", "1024", "2048", "4096", "6144", "8192"]
FAKE_STELLA = (
    "backends.fake", "--model", STELLA, "--vocabulary-sha256", VOCABULARY, "--dimensions",
)  # fmt: skip


@pytest.fixture
def shell(sqlite_database_url: list[str], fake_worker: Process) -> Shell:
    return Shell(sqlite_database_url[0], f"{MODEL}={fake_worker.url}")


@pytest.fixture
def gateways(shell: Shell) -> Iterator[list[Process]]:
    """Two gateways that share a database, as behind a load balancer."""
    environment = {**os.environ, **shell.environment} | {
        "GATEWAY_WORKER_ORDERS_POLL_SECONDS": "0.1",
    }
    started = [Process([sys.executable, "-m", "testing.serve"], environment) for _ in "ab"]
    yield started
    for process in started:
        process.close()


def states(reports: list[dict]) -> list[str]:
    return [report["worker"]["state"] for report in reports]


def all_ready(shell: Shell, count: int) -> list[dict]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = shell.json("workers", "list")
        if states(found) == ["ready"] * count:
            return found
    raise AssertionError(found)


@pytest.mark.usefixtures("gateways")
def test_every_running_gateway_obeys(shell: Shell, fake_worker: Process):
    url = fake_worker.url
    before = all_ready(shell, 2)
    assert len({report["gateway_id"] for report in before}) == 2
    checked = shell.json("workers", "check", url)
    for old, new in zip(before, checked, strict=True):
        assert new["worker"]["examinations"] > old["worker"]["examinations"]
    assert states(shell.json("workers", "drain", url)) == ["draining"] * 2
    header, *lines = shell.run("workers", "list").splitlines()
    assert header.split()[:4] == ["model", "worker", "state", "speed"]
    assert len(lines) == 2
    assert all("drained by an operator" in line and line.count(url) == 1 for line in lines)
    assert "draining" not in states(shell.json("workers", "undrain", url))
    all_ready(shell, 2)
    assert "No running gateway knows" in shell.run("workers", "drain", "http://x:1", status=1)
    with httpx.Client(base_url=url) as control:
        control.put("/fault", json={"kind": "error", "times": -1})
        checked = shell.json("workers", "check", url)
        control.delete("/fault")
    for report in checked:  # one failed examination does not take a sole worker out
        assert "500" in report["worker"]["reason"]


async def test_workers_of_no_model_are_told_of(
    sqlite_database_url: list[str], shell: Shell, capfd: pytest.CaptureFixture[str]
):
    typo = "sentence-transformers/all-MiniLM-L6-v3"
    shell.environment["GATEWAY_WORKERS"] += f" {typo}=http://127.0.0.1:9"
    async with open_api(sqlite_database_url[0], shell.environment["GATEWAY_WORKERS"]) as api:
        await api.ready()
    warned = [line for line in capfd.readouterr().err.splitlines() if typo in line]
    assert len(warned) == 1
    assert "the catalog does not have" in warned[0]
    listed = await asyncio.to_thread(shell.run, "workers", "list")
    assert f"{typo}  http://127.0.0.1:9  unknown model" in listed
    assert "No running gateway reports a worker." in listed


async def test_a_gateway_that_stops_takes_its_reports_along(
    sqlite_database_url: list[str], fake_worker: Process
):
    database = Database(sqlite_database_url[0])

    async def reported() -> list[WorkerReport]:
        async with database.read() as connection:
            return await commands.reports(connection)

    workers, options = f"{MODEL}={fake_worker.url}", {"worker_orders_poll_seconds": 0.02}
    async with open_api(sqlite_database_url[0], workers, **options), asyncio.timeout(20):
        while not await reported():
            await asyncio.sleep(0.02)
    assert await reported() == []
    await database.close()


def test_the_list_is_in_words_and_says_how_old_each_line_is():
    now = datetime.now(UTC)
    view = msgspec.structs.replace(
        a_view("http://gpu-1:9000"), reason="http://gpu-1:9000: no answer in 2 s",
        slowdown=1.04, tokens_per_second=81_000.4, proved_seconds=3.0,
    )  # fmt: skip
    slow = msgspec.structs.replace(view, slowdown=2.26)
    new = msgspec.structs.replace(view, proved_seconds=None)
    rows = [
        worker_commands._Row.of(
            WorkerReport(
                gateway_id="a" * 20, model=MODEL, worker=one, seen_at=now - timedelta(seconds=4)
            ),
            now,
        )
        for one in (view, slow, new)
    ]
    assert [row.speed for row in rows] == [
        "as fast as measured",
        "2.3 times as slow as measured",
        "not measured yet",
    ]
    assert [row.tokens_per_second for row in rows] == ["81000", "81000", "-"]
    assert (rows[0].seen, rows[0].reason) == ("4 s ago", "no answer in 2 s")


def test_each_worker_has_a_key_of_its_own(shell: Shell):
    assert "GATEWAY_WORKER_SECRET" in shell.run("workers", "key", "http://gpu-1:9000", status=1)
    shell.environment["GATEWAY_WORKER_SECRET"] = secret = "".join(map(chr, range(48, 90)))
    key = derive_key(secret.encode(), "gpu-1:9000").hex()
    for address in (
        "http://gpu-1:9000",
        "https://gpu-1:9000/",
        "gpu-1:9000",
        "dns+http://gpu-1:9000",
    ):
        assert shell.run("workers", "key", address).strip() == key
    assert shell.run("workers", "key", "gpu-2:9000").strip() != key
    assert "no host and port" in shell.run("workers", "key", "gpu-1", status=1)
    shell.environment["GATEWAY_WORKER_CA"] = "/nowhere.pem"
    assert "GATEWAY_WORKER_CA" in shell.run("workers", "pin", "m", "http://x:1", status=1)


def test_without_a_running_gateway_there_is_nothing_to_see(shell: Shell):
    assert shell.json("workers", "list") == []
    assert "No running gateway reports a worker." in shell.run("workers", "list")


async def test_a_drained_worker_stays_drained_when_a_gateway_starts(
    sqlite_database_url: list[str], fake_worker: Process
):
    workers = f"{MODEL}={fake_worker.url}"
    options = {"worker_orders_poll_seconds": 0.02}
    async with open_api(sqlite_database_url[0], workers, **options) as api:
        await api.ready()
        async with api.ledger.database.write() as connection:
            await commands.order(connection, MODEL, fake_worker.url, wish="drain")
    async with open_api(sqlite_database_url[0], workers, **options) as api:
        pool = api.gateway.core.router.pools[MODEL]
        await changed_to(pool, WorkerState.DRAINING)
        api.headers["prefer"] = "wait=0"
        assert (await api.embed()).status_code == 503
        async with api.ledger.database.write() as connection:
            await commands.order(connection, MODEL, fake_worker.url, wish="serve")
        await api.ready()
        assert (await api.embed()).status_code == 200


async def test_the_reviewed_vectors_are_what_the_real_worker_gives(sqlite_database_url):
    (reviewed,) = golden.reviewed()
    with running("backends.minilm") as worker:
        async with open_api(sqlite_database_url[0], f"{MODEL}={worker.url}") as api:
            await api.ready()
            (found,) = api.gateway.core.router.pools[MODEL].workers()
    assert found.revision == reviewed.revision
    assert found.reason == f"proved itself on {len(golden.TEXTS)} golden vectors"


async def test_a_worker_with_other_vectors_of_that_revision_never_serves(sqlite_database_url):
    (reviewed,) = golden.reviewed()
    fake = ("--model", MODEL, "--vocabulary-sha256", VOCABULARY, "--dimensions", "384")
    with running("backends.fake", *fake, "--revision", reviewed.revision) as worker:
        async with open_api(sqlite_database_url[0], f"{MODEL}={worker.url}") as api:
            pool = api.gateway.core.router.pools[MODEL]
            await changed_to(pool, WorkerState.WARMING)
            assert "golden row 0 at 384: cosine" in pool.workers()[0].reason
            api.headers["prefer"] = "wait=0"
            assert (await api.embed()).status_code == 503


async def test_a_revision_without_golden_vectors_is_kept_out_until_it_is_pinned(
    sqlite_database_url: list[str], shell: Shell
):
    fake = ("--model", MODEL, "--vocabulary-sha256", VOCABULARY, "--dimensions", "384")
    with running("backends.fake", *fake, "--revision", "new", "--salt", "another model") as worker:
        options = {"catalog_refresh_seconds": 0.05}
        async with open_api(sqlite_database_url[0], f"{MODEL}={worker.url}", **options) as api:
            pool = api.gateway.core.router.pools[MODEL]
            await changed_to(pool, WorkerState.WARMING)
            assert f"gateway workers pin {MODEL}" in pool.workers()[0].reason
            api.headers["prefer"] = "wait=0"
            assert (await api.embed()).status_code == 503
            said = await asyncio.to_thread(shell.run, "workers", "pin", MODEL, worker.url)
            assert "revision new" in said
            await api.ready()
            assert (await api.embed()).status_code == 200


def test_a_trusted_worker_is_pinned_once(shell: Shell):
    with running(*FAKE_STELLA, *DIMENSIONS) as trusted, running("backends.fake") as another:
        said = shell.run("workers", "pin", STELLA, trusted.url)
        assert f"Pinned {len(golden.TEXTS)} golden rows of revision fake" in said
        assert "already" in shell.run("workers", "pin", STELLA, trusted.url, status=1)
        assert "serves 'fake'" in shell.run("workers", "pin", STELLA, another.url, status=1)
        assert "no model" in shell.run("workers", "pin", "none", trusted.url, status=1)


async def changed_to(pool: Pool, state: WorkerState) -> None:
    async with asyncio.timeout(20):
        while all(worker.state is not state for worker in pool.workers()):
            await asyncio.sleep(0.01)
