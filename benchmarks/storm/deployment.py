"""A deployment of real processes: PostgreSQL, Valkey, gateways, workers and a balancer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from benchmarks.faults.processes import Fleet
from benchmarks.storm.postgres import Postgres
from benchmarks.storm.processes import Gateway, Valkey
from benchmarks.storm.template import Template
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.storage.database import Database
from testing.balancer import Balancer, balancing
from testing.gateways import MODEL, SECRET
from testing.vouching import DIMENSIONS

GATEWAYS = 2
_PROBE_SECONDS = 0.5
"""How often the balancer asks for readiness; two misses take a gateway out."""


def fleet(*arguments: str) -> Fleet:
    """Return three workers that pass for the catalog's model; their vectors can be recomputed.

    `arguments` are for each of them.
    """
    told = (
        "--model",
        MODEL,
        "--dimensions",
        str(DIMENSIONS),
        "--vocabulary-sha256",
        BERT_UNCASED_SHA256,
    )
    return Fleet(3, *told, *arguments)


class Deployment:
    """One deployment in a folder of its own."""

    def __init__(self, folder: Path, workers: Fleet, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.workers = workers.workers
        self.postgres = Postgres(folder)
        self.valkey = Valkey(folder)
        self.settings = dict(settings)
        self.code = Path.cwd()
        """The tree whose version commands run."""
        self.gateways: list[Gateway] = []
        self.balancer: Balancer
        self.stack = contextlib.AsyncExitStack()
        """What else there is, closed at the end."""

    @property
    def environment(self) -> dict[str, str]:
        """The settings that all gateways and commands share."""
        return {
            "GATEWAY_SECRET": SECRET,
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.valkey.url,
            "GATEWAY_WORKERS": " ".join(f"{MODEL}={worker.url}" for worker in self.workers),
            "GATEWAY_DRAIN_SECONDS": "0",
            **self.settings,
        }

    @contextlib.asynccontextmanager
    async def running(self, template: Template) -> AsyncIterator[None]:
        """Start everything, and kill what is left of it at the end."""
        await asyncio.to_thread(template.copy, self.folder)
        try:
            await asyncio.gather(
                self.postgres.start(),
                self.valkey.start(),
                *(worker.ready() for worker in self.workers),
            )
            self.gateways = [
                Gateway(number, self.folder, self.environment) for number in range(GATEWAYS)
            ]
            await asyncio.gather(*(gateway.start() for gateway in self.gateways))
            async with balancing(
                [gateway.url for gateway in self.gateways], every_seconds=_PROBE_SECONDS
            ) as self.balancer:
                yield
        finally:
            for gateway in self.gateways:
                gateway.end()
            self.valkey.end()
            self.postgres.kill()
            await self.stack.aclose()

    async def restart_gateways(self, **changes: str) -> None:
        """Start both anew, with other settings."""
        self.settings |= changes
        await self.stop_gateways()
        for gateway in self.gateways:
            gateway.environment |= changes
        await asyncio.gather(*(gateway.start() for gateway in self.gateways))

    async def roll(self, **changes: str) -> None:
        """Restart one after the other with other settings, as a deployment does."""
        self.settings |= changes
        for gateway, target in zip(self.gateways, self.balancer.targets, strict=True):
            gateway.environment |= changes
            await gateway.stop()
            await gateway.start()
            await asyncio.sleep(2 * _PROBE_SECONDS)
            # the next one goes once the balancer has this one back
            while not target.is_in:  # noqa: ASYNC110 - it asks from time to time, too
                await asyncio.sleep(_PROBE_SECONDS)

    async def stop_gateways(self) -> None:
        """Stop in order those that run: they hand in all that they have."""
        await asyncio.gather(*(gateway.stop() for gateway in self.gateways if gateway.runs))

    async def command(self, *words: str, **changes: str) -> tuple[int, str]:
        """Run `gateway ...`; return its status and what it said."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.code,
            env={**os.environ, **self.environment, **changes},
        )
        said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode(errors="replace")

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """Open the database as the product does, to change something behind the gateways."""
        database = Database(self.postgres.url)
        try:
            yield database
        finally:
            await database.close()
