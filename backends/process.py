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
import ssl
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from backends import tracing
from backends.announcement import Announcer
from backends.engine import Engine, StartupError
from backends.guard import Guard
from backends.options import Options, keys_of
from backends.server import WorkerApp

if TYPE_CHECKING:  # where traces are off, nothing of them is imported
    from backends.spans import Spans

BROKEN_EXIT_STATUS = 70
"""Exit status after the engine broke: EX_SOFTWARE of sysexits.h, which means a crash."""
_FINISH_SECONDS_MAX = 30
"""How long shutdown waits for requests in flight."""
_TICKS_PER_LOOK = 10
"""Ticks of uvicorn, of 0.1 s, between looks at the certificate."""


def serve(
    app: WorkerApp,
    options: Options,
    *,
    service: str,
    warm_up: Callable[[], Engine] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; prints the line `listening on URL` once it listens.

    `warm_up` makes the engine while the server already listens; then the line `ready` is printed.
    A worker that other machines can reach has a key and asks everybody for a proof
    (`backends.guard`); with the same key it signs its announcements (`backends.announcement`).
    `service` is its name in traces (`backends.tracing`).
    Raises SystemExit when the engine can't start or breaks, and when the options don't allow it.
    """
    try:
        listener = _listen(options.host, options.port, options.uds)
    except OSError as error:
        where = options.uds or f"{options.host}:{options.port}"
        sys.exit(f"can't listen on {where}: {error.strerror or error}")
    port = 0 if options.uds else listener.getsockname()[1]
    keys = keys_of(options, port)
    if keys:
        app.guard = Guard(*keys, demanding=not options.is_local)
    server = _Server(_configured(app, options), app, options)
    if keys and options.announce:
        server.announcer = Announcer(
            app, url=options.known_as(port), gateways=options.announce, keys=keys
        )
        server.announcer.start()
    app.on_broken = server.close
    spans = _trace(app, service)
    if options.exit_with_stdin:
        threading.Thread(target=_follow_stdin, args=[server], daemon=True).start()
    print(f"listening on {options.url(port)}", flush=True)
    if warm_up is not None:
        threading.Thread(target=_warm, args=[server, app, warm_up], daemon=True).start()
    server.run(sockets=[listener])
    if server.announcer:
        server.announcer.leave()
    if spans:
        spans.close()
    if server.start_failure:
        sys.exit(server.start_failure)
    if app.broken:
        print(f"the engine broke: {app.broken}", file=sys.stderr, flush=True)
        sys.exit(BROKEN_EXIT_STATUS)


def _trace(app: WorkerApp, service: str) -> Spans | None:
    """Let the application continue the traces of gateways, where traces are on."""
    spans = tracing.start(service, partial(print, file=sys.stderr, flush=True), follows=True)
    if spans:
        from backends.work_trace import WorkTracing  # noqa: PLC0415 - where traces are on

        app.tracing = WorkTracing(spans)
    return spans


def _configured(app: WorkerApp, options: Options) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=_FINISH_SECONDS_MAX,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
    )
    try:
        config.load()
    except OSError as error:  # no such file, or not a certificate and its key
        sys.exit(f"--tls-cert {options.tls_cert}, --tls-key {options.tls_key}: {error}")
    return config


class _Server(uvicorn.Server):
    """uvicorn, but a signal drains before it closes the server, and the exit status is 0."""

    def __init__(self, config: uvicorn.Config, app: WorkerApp, options: Options) -> None:
        super().__init__(config)
        self.start_failure = ""
        self.announcer: Announcer | None = None
        self._app = app
        self._options = options
        self._certified = self._certificate_times()

    async def on_tick(self, counter: int) -> bool:
        """Check from time to time whether there is a new certificate."""
        if self.config.ssl and counter % _TICKS_PER_LOOK == 0:
            self._read_certificate()
        return await super().on_tick(counter)

    def _read_certificate(self) -> None:
        """Use a new certificate for new connections; one that can't be read changes nothing."""
        found = self._certificate_times()
        if found == self._certified or self.config.ssl is None or not self._options.tls_cert:
            return
        self._certified = found
        files = (self._options.tls_cert, self._options.tls_key)
        try:
            # tried separately: a certificate without its key would drop the context's old key
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files)
            self.config.ssl.load_cert_chain(*files)
        except OSError as error:  # half written: the next change is looked at again
            print(f"the certificate can't be read: {error}", file=sys.stderr, flush=True)
        else:
            print("a new certificate is used", file=sys.stderr, flush=True)

    def _certificate_times(self) -> list[int]:
        files = [path for path in (self._options.tls_cert, self._options.tls_key) if path]
        with contextlib.suppress(OSError):
            return [path.stat().st_mtime_ns for path in files]
        return []

    def handle_exit(self, sig: int, frame: Any) -> None:
        if self._app.draining or not self._options.drain_seconds:
            self.force_exit = self.should_exit  # a second signal skips the wait
            self.should_exit = True
            return
        self._app.draining = True
        if self.announcer:
            # on a thread, because a signal handler must not block
            threading.Thread(target=self.announcer.leave, daemon=True).start()
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._options.drain_seconds, self.close)

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
