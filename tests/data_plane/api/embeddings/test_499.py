"""499: the client left. It pays nothing if its request was not begun, however late that is seen."""

import asyncio
import os
import re
import signal
import socket
import sys
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from testing.gateways import METRICS_TOKEN, MODEL, MONITORING, SECRET, Api, Ledger
from testing.processes import Process
from tests.data_plane.api.embeddings.conftest import BODY


async def test_a_client_that_leaves_before_its_body_is_whole_costs_nothing(
    api: Api, capfd: pytest.CaptureFixture[str]
):
    client = api.connect()
    await client.send(api.request(BODY)[:-9])
    while not api.gateway.data.hot_path.in_flight:  # its place is taken before its body is whole
        await asyncio.sleep(0)
    assert api.gateway.data.hot_path.in_flight.bytes == len(BODY)
    client.leave()
    while api.gateway.data.hot_path.in_flight:
        await asyncio.sleep(0)
    (counted,) = api.gateway.data.records.answers.drain().answers
    assert counted.status_class == 4
    assert api.gateway.data.hot_path.in_flight.bytes == 0
    assert await client.answered() == b""
    assert "request failed" not in capfd.readouterr().err
    await api.assert_untouched()


async def test_who_left_while_the_gateway_stood_still_pays_nothing(
    sqlite_ledger: Ledger,
    sqlite_database_url: list[str],
    fake_worker: Process,
    fault: httpx.AsyncClient,
):
    """Requests and the ends of their connections lie in the socket when the process goes on.

    What a worker had begun by then nobody waits for either, so it isn't charged.
    """
    await sqlite_ledger.grant(10**9)
    environment = {
        **os.environ,
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": sqlite_database_url[0],
        "GATEWAY_WORKERS": f"{MODEL}={fake_worker.url}",
        "GATEWAY_METRICS_TOKEN": METRICS_TOKEN,
    }
    gateway = Process([sys.executable, "-m", "testing.serve"], environment)
    try:
        embed(gateway, sqlite_ledger)  # its key and its credit are known there from now on
        begun = [connect(gateway) for _ in range(4)]
        await fault.put("/fault", json={"kind": "slow", "times": -1, "seconds": 0.3})
        for connection in begun:
            connection.sendall(request(sqlite_ledger, "word " * 200))
        async with asyncio.timeout(30):
            while tokens_in_flight(gateway) < 200:  # until a worker has it: canaries are shorter
                await asyncio.sleep(0.01)
        waiting = [connect(gateway) for _ in range(4)]
        gateway.child.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(
            os.waitpid, gateway.child.pid, os.WUNTRACED
        )  # until it stands still
        for connection in (*waiting, *(connect(gateway) for _ in range(4))):
            connection.sendall(request(sqlite_ledger))
            connection.close()
        for connection in begun:
            connection.close()
        gateway.child.send_signal(signal.SIGCONT)
        embed(gateway, sqlite_ledger)
        gateway.kill(signal.SIGTERM)  # what is at work is finished first
    finally:
        gateway.close()
    assert len(await sqlite_ledger.usage()) == 2
    assert await sqlite_ledger.breaches() == []


def tokens_in_flight(gateway: Process) -> float:
    metrics = httpx.get(f"{gateway.url}/metrics", headers=MONITORING).text
    found = re.search(r"^gateway_worker_tokens_in_flight\{.*\} (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def connect(gateway: Process) -> socket.socket:
    address = urlsplit(gateway.url)
    return socket.create_connection((address.hostname, address.port))


def request(ledger: Ledger, text: str = "hello world") -> bytes:
    body = msgspec.json.encode({"model": MODEL, "input": text})
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {ledger.secret}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def embed(gateway: Process, ledger: Ledger) -> None:
    answer = httpx.post(
        f"{gateway.url}/v1/embeddings",
        json={"model": MODEL, "input": "hello world"},
        headers={"authorization": f"Bearer {ledger.secret}"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
