"""A real Infinity behind its adapter, where GATEWAY_TEST_INFINITY says how to start one.

It is not among the tests' dependencies: it wants versions of its own, and weights of the model.
In a virtual environment of its own (docs/engines.md has the line that installs it), and with a
folder of all-MiniLM-L6-v2: GATEWAY_TEST_INFINITY="PATH/bin/infinity_emb FOLDER".
"""

import os
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from backends.protocol import (
    AS_ADDRESSED,
    Backend,
    InvalidAnswer,
    RequestRefused,
    TokenRow,
    WorkerFailed,
)
from backends.registry import connect
from gateway.control_plane.catalog import golden
from gateway.data_plane.metering import tokens
from gateway.data_plane.routing.examination import Examiner, PoolSpec
from gateway.snapshots import GoldenRow
from testing.gateways import MODEL

TOLD = os.environ.get("GATEWAY_TEST_INFINITY", "")
VOCABULARY = Path(tokens.__file__).parent / "vocabulary" / "bert-base-uncased.txt"
_SUFFIX = 2015  # ##s, which no text begins with

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not TOLD, reason="GATEWAY_TEST_INFINITY names no Infinity to start"),
]


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    command, folder = TOLD.split()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = subprocess.Popen(
        [
            *(command, "v2", "--model-id", folder, "--served-model-name", "minilm"),
            *("--engine", "torch", "--device", "cpu", "--dtype", "float32"),
            *("--no-bettertransformer", "--no-compile", "--no-model-warmup"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"},
    )
    base = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 100
    while not _answers(base):
        assert started.poll() is None, "Infinity ended; its own lines say why"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield base
    started.terminate()
    started.wait(30)


def _answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/health").status_code == 200
    except httpx.ConnectError:
        return False


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Backend]:
    backend = connect(url)
    try:
        yield backend
    finally:
        await backend.close()


def address(base: str, **more: str) -> str:
    options = {"vocabulary": str(VOCABULARY), "revision": "fp32", "tokens_max": "256", **more}
    return f"infinity+{base}?" + "&".join(f"{name}={value}" for name, value in options.items())


def reviewed() -> tuple[GoldenRow, ...]:
    """Return the golden rows of the model, which 32-bit weights meet as well as quantized ones."""
    (rows,) = [known.rows for known in golden.reviewed() if known.model == MODEL]
    return tuple(rows)


async def test_it_is_examined_and_embeds_as_the_reference_does(base: str):
    async with client(address(base, model="minilm")) as backend:
        examiner = Examiner(PoolSpec(model=MODEL, golden={"fp32": reviewed()}))
        info = await examiner.handshake(backend, timeout_seconds=30)
        assert (info.model, info.dimensions) == (AS_ADDRESSED, (384,))
        assert "golden" in await examiner.canary(backend, info, timeout_seconds=30)
        row = TokenRow(struct.pack("<3I", 101, _SUFFIX, 102), 384)
        with pytest.raises(RequestRefused, match="can't be sent as text"):
            await backend.embed([row], timeout_seconds=30)


async def test_what_its_address_says_wrongly_is_said(base: str):
    for url, error, words in (
        (base, WorkerFailed, "infinity.http://"),
        (address(base, model="other"), InvalidAnswer, "serves 'minilm', not 'other'"),
    ):
        async with client(url) as backend:
            with pytest.raises(error, match=words):
                await backend.info(timeout_seconds=30)
