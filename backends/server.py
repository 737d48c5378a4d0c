"""The door of a worker: one small ASGI application in front of an `Engine`.

    POST /embed   the binary hop (`backends.hop`)
    GET  /info    what is served here
    GET  /ready   200 only after a real forward pass, and not while draining
    GET  /live    200 as long as the event loop turns

SIGTERM makes `/ready` answer 503 at once, then what is in flight is finished, then the process
ends. Errors are `{"error": {"code", "message"}}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import uvicorn

from backends import hop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence
    from pathlib import Path

    from backends.protocol import TokenRow, WorkerInfo

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TIMEOUT_SECONDS_DEFAULT = 30.0
_ROW_BYTES = 8
_HEADER_BYTES = 8


class EngineBusy(Exception):
    """The queue is full; try again after `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EngineRefusal(Exception):
    """These rows can't be embedded here, now or later; the text says why."""


class DeadlinePassed(Exception):
    """Nobody waits for these rows any more."""


class Engine(Protocol):
    """What computes. `embed` may be called concurrently and queues within its own bounds."""

    info: WorkerInfo

    async def embed(self, rows: Sequence[TokenRow], deadline: float) -> list[bytes]:
        """Compute raw float32 vectors, in order; `deadline` is in `time.monotonic()` seconds.

        Raises EngineBusy, EngineRefusal or DeadlinePassed.
        """
        ...

    async def probe(self) -> None:
        """Run one real, small forward pass; raises when the engine can't compute."""
        ...


class WorkerApp:
    """The ASGI application. `draining` is set by whoever wants the worker to leave the pool."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.draining = False
        self._proven = False
        self._body_bytes_max = (
            _HEADER_BYTES + engine.info.rows_max * _ROW_BYTES + 4 * engine.info.batch_tokens_max
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        match scope["method"], scope["path"]:
            case "POST", "/embed":
                answer = await self._embed(scope, receive)
            case "GET", "/info":
                answer = _json(200, self.engine.info)
            case "GET", "/ready":
                answer = await self._ready()
            case "GET", "/live":
                answer = _json(200, {"state": "live"})
            case _:
                answer = _error(404, "not_found", f"no {scope['method']} {scope['path']} here")
        status, headers, body = answer
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _embed(self, scope: Scope, receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        body = await read(receive, self._body_bytes_max)
        if body is None:
            limit = f"at most {self._body_bytes_max} bytes fit"
            return _error(413, "too_large", f"the body is too large; {limit}")
        info = self.engine.info
        started = time.monotonic()
        try:
            timeout = float(headers.get(hop.TIMEOUT_HEADER.encode(), b"0")) / 1000
            deadline = started + (timeout or TIMEOUT_SECONDS_DEFAULT)
            rows = hop.decode_request(
                body, rows_max=info.rows_max, tokens_max=info.batch_tokens_max
            )
            _check(rows, info)
            vectors = await self.engine.embed(rows, deadline)
        except (ValueError, EngineRefusal) as error:
            return _error(400, "bad_request", str(error))
        except EngineBusy as error:
            return _error(429, "busy", str(error), retry_after_seconds=error.retry_after_seconds)
        except DeadlinePassed:
            return _error(504, "deadline_passed", "the caller's time ran out in the queue")
        elapsed = f"{(time.monotonic() - started) * 1000:.3f}".encode()
        kept = [(b"content-type", hop.CONTENT_TYPE.encode()), (b"x-worker-ms", elapsed)]
        return 200, kept, hop.encode_answer(rows, vectors)

    async def _ready(self) -> Answer:
        if self.draining:
            return _json(503, {"state": "draining"})
        if not self._proven:
            try:
                await self.engine.probe()
            except EngineBusy:
                pass  # full of work is as good a proof as any
            except Exception as error:  # noqa: BLE001 - whatever it is, the engine is not ready
                return _json(503, {"state": "warming", "reason": str(error)})
            self._proven = True
        return _json(200, {"state": "ready"})


Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


def serve(
    app: WorkerApp,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    uds: Path | None = None,
    drain_seconds: float = 0.0,
    exit_with_stdin: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; prints one line `listening on URL` when the door is open.

    `drain_seconds` is how long `/ready` says 503 before the door closes. With `exit_with_stdin`
    the process also ends when its standard input does, so that no child outlives its parent.
    """
    listener = _listen(host, port, uds)
    url = f"unix:{uds}" if uds else f"http://{host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
    server = _Server(config, app, drain_seconds)
    if exit_with_stdin:
        threading.Thread(target=_follow_stdin, args=[server], daemon=True).start()
    print(f"listening on {url}", flush=True)
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn, but a signal drains before it closes the door."""

    def __init__(self, config: uvicorn.Config, app: WorkerApp, drain_seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: Any) -> None:
        if self._app.draining or not self._drain_seconds:
            super().handle_exit(sig, frame)
            return
        self._app.draining = True
        closing = super().handle_exit
        asyncio.get_running_loop().call_later(self._drain_seconds, closing, sig, frame)


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


async def read(receive: Receive, bytes_max: int) -> bytes | None:
    """Read the whole body; None when it is over the limit."""
    chunks, size = [], 0
    while True:
        message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            return None
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _check(rows: Sequence[TokenRow], info: WorkerInfo) -> None:
    for index, row in enumerate(rows):
        if not 0 < row.tokens <= info.tokens_max:
            raise EngineRefusal(f"row {index} has {row.tokens} tokens; 1 to {info.tokens_max} fit")
        if row.dimensions not in info.dimensions:
            served = ", ".join(map(str, info.dimensions))
            raise EngineRefusal(f"row {index} wants {row.dimensions} dimensions; served: {served}")


def _json(status: int, value: Any) -> Answer:
    return status, [(b"content-type", b"application/json")], msgspec.json.encode(value)


def _error(
    status: int, code: str, message: str, *, retry_after_seconds: float | None = None
) -> Answer:
    answer = _json(status, {"error": {"code": code, "message": message}})
    if retry_after_seconds is not None:
        answer[1].append((b"retry-after", f"{retry_after_seconds:.3f}".encode()))
    return answer
