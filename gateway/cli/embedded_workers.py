"""Workers as processes of their own, restarted until they are closed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog

from gateway.cli.dev_environment import CannotStart
from gateway.cli.ending import AGAIN, QUIET_SECONDS
from gateway.cli.printing import say

log = structlog.get_logger()

RESTART_SECONDS = 1.0
_CANNOT_START = 1  # exit status of a worker that would fail the same way again
_SHUTDOWN_SECONDS = 10


class EmbeddedWorker:
    """A worker on a unix socket. `run` starts it, and starts it again when it dies."""

    def __init__(self, module: str, socket: Path, *options: str) -> None:
        self.url = f"unix:{socket}"
        self.listens: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the socket first accepts connections; fails with CannotStart."""
        self._module = module
        self._child: asyncio.subprocess.Process | None = None
        self._command = [
            *(sys.executable, "-m", module, "--uds", str(socket), "--exit-with-stdin", *options)
        ]

    async def run(self) -> None:
        """Keep the process running until this is canceled."""
        while True:
            child = self._child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C must not reach it before the last answer
            )
            try:
                assert child.stdout
                listening = (await child.stdout.readline()).startswith(b"listening on ")
                if not self.listens.done():
                    if not listening:
                        self.listens.set_exception(CannotStart(f"{self._module} did not start."))
                        return
                    self.listens.set_result(None)
                await child.wait()
            finally:
                await self._end(child)
            log.warning("a worker ended", worker=self._module, status=child.returncode)
            if child.returncode == _CANNOT_START:
                return  # its own line says why
            await asyncio.sleep(RESTART_SECONDS)

    def kill(self) -> None:
        """End the process now."""
        if self._child and self._child.returncode is None:
            self._child.kill()

    async def _end(self, child: asyncio.subprocess.Process) -> None:
        if child.stdin:
            child.stdin.close()
        ended = asyncio.create_task(child.wait())
        if not (await asyncio.wait([ended], timeout=QUIET_SECONDS))[0]:
            say(f"Waiting for {self._module} to end, at most {_SHUTDOWN_SECONDS} s. {AGAIN}")
        if not (await asyncio.wait([ended], timeout=_SHUTDOWN_SECONDS - QUIET_SECONDS))[0]:
            child.kill()
        await ended
