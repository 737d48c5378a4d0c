"""A worker's HTTP server: one small ASGI application in front of an `Engine`.

    POST /embed   the binary hop (`backends.hop`)
    GET  /info    what is served here
    GET  /ready   200 only after a real forward pass, and not while warming, draining or broken
    GET  /live    200 as long as the event loop runs
    POST /session only behind a guard (`backends.guard`)

It may listen before there is an engine: until then everything but `/live` answers 503 `warming`.
Errors are `{"error": {"code", "message"}}`. `backends.process` runs it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from backends import hop
from backends.asgi import Answer, Failure, Receive, Scope, Send, error_answer, json_answer, read
from backends.engine import (
    Computed,
    DeadlinePassed,
    Engine,
    EngineBroken,
    EngineBusy,
    EngineRefusal,
)
from backends.guard import Guard
from backends.protocol import TokenRow

if TYPE_CHECKING:  # where traces are off, nothing of them is imported
    from backends.work_trace import WorkTrace, WorkTracing

TIMEOUT_SECONDS_DEFAULT = 30.0
TIMEOUT_SECONDS_MAX = 600.0
PROCESS_HEADER = b"x-worker-process"
"""Names the process that answers, since gateways believe only the one that they examined."""
_WARMING_RETRY_SECONDS = 1.0
_WARMING_BYTES_MAX = 1 << 20
"""Most bytes that are read of a request while no engine says how large one may be."""
_PRIVATE = {"/embed", "/info"}
"""Paths that only gateways may use at a worker that others can reach."""


class WorkerApp:
    """The ASGI application. Set `draining` to make the worker leave the pool."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.draining = False
        self.warming = "starting"
        """Why there is no engine yet."""
        self.broken = ""
        """Why the engine can't compute anymore; empty as long as it can."""
        self.on_broken: Callable[[], None] = lambda: None
        self.guard: Guard | None = None
        """What admits requests; None if only this machine can reach the worker."""
        self.tracing: WorkTracing | None = None
        """None where traces are off."""
        self.process = secrets.token_hex(8).encode()
        """Tells this process from its successor at the same address."""
        self._engine = engine
        self._proven = False

    @property
    def engine(self) -> Engine:
        """The engine. Only valid if `has_engine`."""
        assert self._engine is not None
        return self._engine

    @property
    def has_engine(self) -> bool:
        """Whether the engine has started."""
        return self._engine is not None

    @property
    def serving(self) -> bool:
        """Whether the worker accepts calls."""
        return self.has_engine and not self.draining and not self.broken

    def start(self, engine: Engine) -> None:
        """Begin to serve. May be called from any thread, once."""
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        if self.guard is None:
            answer = await self.answer(scope, receive)
        else:
            answer = await self.guard.answer(
                scope,
                receive,
                self.answer,
                private=scope["path"] in _PRIVATE,
                bytes_max=(
                    hop.request_bytes_max(self._engine.info) if self._engine else _WARMING_BYTES_MAX
                ),
            )
        status, headers, body = answer
        headers += [
            (b"content-length", str(len(body)).encode()),
            (PROCESS_HEADER, self.process),
        ]
        if self.draining:
            headers.append((b"connection", b"close"))  # so that none is idle when the server closes
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        """Route one request. Workers with more endpoints override this and fall back to it."""
        match scope["method"], scope["path"]:
            case "GET", "/live":
                return json_answer(200, {"state": "live"})
            case "GET", "/ready":
                return await self._ready()
            case ("GET", "/info") | ("POST", "/embed") if self._engine is None:
                return error_answer(self.warming_up())
            case "GET", "/info":
                return json_answer(200, self.engine.info)
            case "POST", "/embed":
                return await self._embed(scope, receive)
            case _:
                message = f"no {scope['method']} {scope['path']} here"
                return error_answer(Failure(404, "not_found", message))

    def warming_up(self) -> Failure:
        """Return the failure of a request that came before the engine."""
        return Failure(503, "warming", self.warming, _WARMING_RETRY_SECONDS)

    async def compute(self, scope: Scope, receive: Receive, rows: Sequence[TokenRow]) -> Computed:
        """Check and compute the rows; the request's body must have been read.

        Raises what `Engine.embed` raises, and CallerGone when the caller hangs up.
        """
        if misfit := self.engine.info.misfit(rows):
            raise EngineRefusal(misfit)
        work = self.engine.embed(rows, time.monotonic() + _timeout_seconds(scope))
        try:
            return await _while_connected(receive, work)
        except EngineBroken as error:
            self._break(str(error))
            raise

    async def _embed(self, scope: Scope, receive: Receive) -> Answer:
        if self.tracing is None:
            return await self._embedded(scope, receive, None)
        trace, status = self.tracing.begin("/embed", dict(scope["headers"]), "decode"), 500
        try:
            answer = await self._embedded(scope, receive, trace)
            status = answer[0]
        finally:
            if trace is not None:
                trace.end(status)
        return answer

    async def _embedded(self, scope: Scope, receive: Receive, trace: WorkTrace | None) -> Answer:
        started = time.monotonic()
        info = self.engine.info
        bytes_max = hop.request_bytes_max(info)
        body = await read(receive, bytes_max)
        if body is None:
            message = f"the body is too large; at most {bytes_max} bytes fit"
            return error_answer(Failure(413, "too_large", message))
        try:
            rows = hop.decode_request(
                body, rows_max=info.rows_max, tokens_max=info.batch_tokens_max
            )
            if trace is not None:
                trace.wait()
            computed = await self.compute(scope, receive, rows)
        except Exception as error:  # noqa: BLE001 - `explain` raises unknown ones again
            return error_answer(explain(error))
        if trace is not None:
            trace.computed(info, rows, computed)
        headers = [(b"content-type", hop.CONTENT_TYPE.encode()), *timings(rows, computed, started)]
        return 200, headers, hop.encode_answer(rows, computed.vectors)

    async def _ready(self) -> Answer:
        if self.broken:
            return json_answer(503, {"state": "broken", "reason": self.broken})
        if self.draining:
            return json_answer(503, {"state": "draining"})
        if self._engine is None:
            return json_answer(503, {"state": "warming", "reason": self.warming})
        if not self._proven:
            try:
                await self._engine.probe()
            except EngineBusy:
                pass  # a full queue proves that it works
            except EngineBroken as error:
                self._break(str(error))
                return json_answer(503, {"state": "broken", "reason": str(error)})
            except Exception as error:  # noqa: BLE001 - the engine is not ready, whatever the error
                return json_answer(503, {"state": "warming", "reason": str(error)})
            self._proven = True
        return json_answer(200, {"state": "ready"})

    def _break(self, reason: str) -> None:
        if not self.broken:
            self.broken = reason
            self.on_broken()


class CallerGone(Exception):
    """The caller hung up before the answer was ready."""


def explain(error: Exception) -> Failure:
    """Map an error of `WorkerApp.compute` to a failure; raises unknown errors again."""
    match error:
        case hop.HopTooLarge():
            return Failure(413, "too_large", str(error))
        case EngineRefusal() | ValueError():
            return Failure(400, "bad_request", str(error))
        case EngineBusy():
            return Failure(429, "busy", str(error), error.retry_after_seconds)
        case DeadlinePassed():
            return Failure(504, "deadline_passed", "the caller's time ran out in the queue")
        case CallerGone():
            return Failure(499, "caller_gone", "the caller hung up")
        case EngineBroken():
            return Failure(500, "engine_broken", f"this worker broke and will exit: {error}")
        case _:
            raise error


def timings(
    rows: Sequence[TokenRow], computed: Computed, started: float
) -> list[tuple[bytes, bytes]]:
    """Return headers with the answer's timings and the number of tokens computed."""
    elapsed = time.monotonic() - started
    return [
        (b"x-worker-ms", _milliseconds(elapsed)),
        (b"x-queue-ms", _milliseconds(computed.queue_seconds)),
        (b"x-compute-ms", _milliseconds(computed.compute_seconds)),
        (b"x-compute-tokens", str(sum(row.tokens for row in rows)).encode()),
    ]


_T = TypeVar("_T")


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, _T]) -> _T:
    """Await the work; cancel it and raise CallerGone when the caller hangs up."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_hung_up(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise CallerGone
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _timeout_seconds(scope: Scope) -> float:
    asked = float(dict(scope["headers"]).get(hop.TIMEOUT_HEADER.encode(), b"0")) / 1000
    return min(asked, TIMEOUT_SECONDS_MAX) if asked > 0 else TIMEOUT_SECONDS_DEFAULT


def _milliseconds(seconds: float) -> bytes:
    return f"{seconds * 1000:.3f}".encode()
