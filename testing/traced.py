"""A gateway and a worker, as processes of their own, that send all their traces to a collector."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from gateway.storage.database import Database
from testing.collector import Collector, Span, collecting
from testing.gateways import MODEL, SECRET, Ledger
from testing.processes import Process


@dataclass
class Traced:
    """Both processes, and a key with credit."""

    url: str
    ledger: Ledger
    collector: Collector
    worker: Process
    gateway: Process

    def embed(self, texts: Sequence[str], **headers: str) -> httpx.Response:
        """POST /v1/embeddings."""
        named = {"authorization": f"Bearer {self.ledger.secret}", **headers}
        body = {"model": MODEL, "input": texts, "encoding_format": "base64"}
        return httpx.post(f"{self.url}/v1/embeddings", json=body, headers=named, timeout=60)

    def closed(self) -> list[Span]:
        """End both as SIGTERM does, so that nothing is left to come; returns all spans."""
        for process in (self.gateway, self.worker):
            process.child.terminate()
        for process in (self.gateway, self.worker):
            assert process.child.wait(timeout=60) == 0
        return self.collector.spans


@contextlib.contextmanager
def traced(folder: Path, database_url: str, worker: Sequence[str]) -> Iterator[Traced]:
    """Run `python -m worker...`, a gateway before it, and a collector of their traces."""
    with contextlib.ExitStack() as stack:
        collector = stack.enter_context(collecting(folder))
        environment = os.environ | collector.environment

        def start(*command: str) -> Process:
            process = Process([sys.executable, "-m", *command], environment)
            stack.callback(process.close)
            return process

        computing = start(*worker)
        environment |= {
            "GATEWAY_SECRET": SECRET,
            "DATABASE_URL": database_url,
            "GATEWAY_ROLE": "data",
            "GATEWAY_WORKERS": f"{MODEL}={computing.url}",
            "GATEWAY_JOURNAL_PATH": str(folder / "journal"),
            "GATEWAY_DRAIN_SECONDS": "0",
        }
        gateway = start("gateway", "run", "--port", "0")
        ledger = asyncio.run(_funded(database_url))
        yield Traced(gateway.url, ledger, collector, computing, gateway)


async def _funded(url: str) -> Ledger:
    database = Database(url)
    try:
        return await Ledger.create(database, 10**12)
    finally:
        await database.close()
