"""PostgreSQL as a process that crashes, hangs, fills its disk and fails over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from benchmarks.faults.processes import fixed_port
from testing import servers

_STOP_SECONDS = 30.0
_SMALL = {"shared_buffers": "32MB", "max_wal_size": "64MB", "min_wal_size": "32MB"}


class Postgres:
    """One server on a data folder and a port of its own, which it keeps."""

    def __init__(self, folder: Path, *, name: str = "data", **changes: str | int) -> None:
        self.port = fixed_port()
        self.data = folder / name
        self.changes: dict[str, str | int] = {**_SMALL, **changes}
        self._log = folder / "postgresql.log"
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its database is."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def runs(self) -> bool:
        """Whether its process lives."""
        return self._server is not None and self._server.poll() is None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self._server = await asyncio.to_thread(
            servers.start_postgres,
            self.data, self.port, is_durable=False, changes=self.changes, log=self._log,
        )  # fmt: skip

    async def crash(self) -> None:
        """End it at once, as in a power failure: its next start recovers."""
        await self._end(signal.SIGQUIT)

    async def stop(self) -> None:
        """Stop it in order, without waiting for its clients."""
        await self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it, whatever its state."""
        if self._server is None:
            return
        self._send(signal.SIGCONT)
        self._server.send_signal(signal.SIGQUIT)
        try:
            self._server.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """It has crashed, until the block ends."""
        await self.crash()
        yield
        await self.start()

    @contextlib.asynccontextmanager
    async def hanging(self) -> AsyncIterator[None]:
        """All its processes are stopped; connections stay open and are taken, nothing answers."""
        self._send(signal.SIGSTOP)
        try:
            yield
        finally:
            self._send(signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """There is no connection left for anybody but the superuser who takes them all."""
        taken: list[asyncpg.Connection] = []
        try:
            async with self.admin() as connection:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid() AND usename IS NOT NULL"
                )
            with contextlib.suppress(asyncpg.PostgresError, OSError):
                while True:
                    taken.append(await asyncpg.connect(self.url))
            yield
        finally:
            await asyncio.gather(*(one.close() for one in taken))

    @contextlib.asynccontextmanager
    async def read_only(self) -> AsyncIterator[None]:
        """Every transaction is read-only, as on a replica that nobody has promoted."""
        await self.configure("default_transaction_read_only = on")
        try:
            yield
        finally:
            await self.configure("default_transaction_read_only = off")

    @contextlib.asynccontextmanager
    async def locked(self, statement: str) -> AsyncIterator[None]:
        """A transaction holds what a statement locks."""
        async with self.admin() as connection, connection.transaction():
            await connection.execute(statement)
            yield

    async def configure(self, setting: str) -> None:
        """Change a setting of the running server."""
        async with self.admin() as connection:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute(f"ALTER SYSTEM SET {setting}")
            await connection.execute("SELECT pg_reload_conf()")

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[asyncpg.Connection]:
        """Connect as its administrator."""
        connection = await asyncpg.connect(self.url, timeout=30)
        try:
            yield connection
        finally:
            await connection.close()

    async def replica(self, folder: Path) -> Postgres:
        """Make a server that follows this one, and make this one wait for it at each commit."""
        made = Postgres(folder, name="replica", **self.changes)
        await run(
            "pg_basebackup", "-D", str(made.data), "-R", "-X", "stream", "-c", "fast",
            "-d", f"host=127.0.0.1 port={self.port} user=postgres",
        )  # fmt: skip
        await made.start()
        await self.configure("synchronous_standby_names = '*'")
        return made

    async def promote(self) -> None:
        """Let a replica become the one that is written to, and wait for nobody."""
        async with self.admin() as connection:
            assert await connection.fetchval("SELECT pg_promote()"), "it was not promoted"
        await self.configure("synchronous_standby_names = ''")

    def _send(self, number: signal.Signals) -> None:
        if self._server is not None:
            for pid in _family(self._server.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    async def _end(self, number: signal.Signals) -> None:
        assert self._server is not None, "it does not run"
        self._server.send_signal(number)
        await asyncio.to_thread(self._server.wait, _STOP_SECONDS)
        self._server = None


async def run(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs. Raises AssertionError with what it said."""
    process = await asyncio.create_subprocess_exec(
        *servers.postgres_command(program), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, f"{program}: {said.decode()}"


def _family(pid: int) -> list[int]:
    """Return a process and its children, which are in sessions of their own."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return [pid]
    return [pid, *map(int, children.split())]
