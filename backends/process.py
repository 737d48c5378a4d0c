"""A worker's process: listens, starts the engine, drains and exits.

On SIGTERM, `/ready` answers 503 at once, requests in flight are finished, and the process exits
with 0; a second signal skips the wait. It exits the same way with 70 when the engine breaks
(`EngineBroken`), and with 1 when the engine can't start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from backends.announcement import SECRET_VARIABLE, Announcer
from backends.engine import Engine, StartupError
from backends.server import WorkerApp

BROKEN_EXIT_STATUS = 70
"""Exit status after the engine broke: EX_SOFTWARE of sysexits.h, which means a crash."""
_FINISH_SECONDS_MAX = 30
"""How long shutdown waits for requests in flight."""


def serve(
    app: WorkerApp,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    uds: Path | None = None,
    drain_seconds: float = 0.0,
    exit_with_stdin: bool = False,
    warm_up: Callable[[], Engine] | None = None,
    announce_to: Sequence[str] = (),
    announce_as: str | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; prints the line `listening on URL` once it listens.

    `drain_seconds` is how long `/ready` says 503 before the server closes. With `exit_with_stdin`
    the process also exits when its standard input closes, so that no child outlives its parent.
    `warm_up` makes the engine while the server already listens; then the line `ready` is printed.
    The worker announces itself to the gateways of `announce_to` as `announce_as` (default: where it
    listens), signed with the secret from the environment; see `backends.announcement`.
    Raises SystemExit when the engine can't start or breaks.
    """
    secret = os.environ.get(SECRET_VARIABLE, "")
    if announce_to and not secret:
        sys.exit(
            f"--announce needs {SECRET_VARIABLE} in the environment, the same as the gateways'"
        )
    try:
        listener = _listen(host, port, uds)
    except OSError as error:
        sys.exit(f"can't listen on {uds or f'{host}:{port}'}: {error.strerror or error}")
    url = f"unix:{uds}" if uds else f"http://{host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_FINISH_SECONDS_MAX,
    )
    announcer = None
    if announce_to:
        announcer = Announcer(app, url=announce_as or url, gateways=announce_to, secret=secret)
        announcer.start()
    server = _Server(config, app, drain_seconds, announcer)
    app.on_broken = server.close
    if exit_with_stdin:
        threading.Thread(target=_follow_stdin, args=[server], daemon=True).start()
    print(f"listening on {url}", flush=True)
    if warm_up is not None:
        threading.Thread(target=_warm, args=[server, app, warm_up], daemon=True).start()
    server.run(sockets=[listener])
    if announcer:
        announcer.leave()
    if server.start_failure:
        sys.exit(server.start_failure)
    if app.broken:
        print(f"the engine broke: {app.broken}", file=sys.stderr, flush=True)
        sys.exit(BROKEN_EXIT_STATUS)


class _Server(uvicorn.Server):
    """uvicorn, but a signal drains before it closes the server, and the exit status is 0."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: WorkerApp,
        drain_seconds: float,
        announcer: Announcer | None,
    ) -> None:
        super().__init__(config)
        self._announcer = announcer
        self.start_failure = ""
        self._app = app
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: Any) -> None:
        if self._app.draining or not self._drain_seconds:
            self.force_exit = self.should_exit  # a second signal skips the wait
            self.should_exit = True
            return
        self._app.draining = True
        if self._announcer:
            # on a thread, because a signal handler must not block
            threading.Thread(target=self._announcer.leave, daemon=True).start()
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._drain_seconds, self.close)

    def close(self) -> None:
        """Stop listening, finish the requests in flight, exit."""
        self._app.draining = True
        self.should_exit = True


def _warm(server: _Server, app: WorkerApp, warm_up: Callable[[], Engine]) -> None:
    try:
        app.start(warm_up())
        print("ready", flush=True)
    except StartupError as error:
        server.start_failure = str(error)
        server.close()
    except Exception:  # noqa: BLE001 - a thread's error goes unseen; the process reports it
        server.start_failure = traceback.format_exc()
        server.close()


def _listen(host: str, port: int, uds: Path | None) -> socket.socket:
    if uds is None:
        return socket.create_server((host, port), backlog=1024)
    with contextlib.suppress(FileNotFoundError):
        uds.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(uds))
    listener.listen(1024)
    return listener


def _follow_stdin(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.should_exit = True
