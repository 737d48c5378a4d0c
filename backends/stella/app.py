"""The HTTP application of a Stella worker: `WorkerApp`, and what only Stella answers.

POST /v1/embeddings   OpenAI's embeddings, from text or from ids (`openai`), if `door` admits it
GET  /metrics         Prometheus
GET  /live            also 503 if a batch takes forever, because the device hangs
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends import asgi, server
from backends.stella import openai
from backends.stella.door import OpenAIDoor
from backends.stella.engine import StellaEngine
from backends.stella.metrics import CONTENT_TYPE, Metrics
from backends.stella.tokenizer import Tokenizer

if TYPE_CHECKING:  # where traces are off, nothing of them is imported
    from backends.work_trace import WorkTrace

BODY_BYTES_MAX = 8 << 20
STUCK_SECONDS = 120.0
"""A batch that takes longer means that the device hangs; a full one takes well under 30 s."""
_THREAD_BYTES_MIN = 64 << 10
"""Larger bodies are parsed, and larger answers written, on a thread: it takes milliseconds."""
_PATHS = ("/embed", "/v1/embeddings", "/info", "/ready", "/live", "/metrics")


class StellaApp(server.WorkerApp):
    """The worker's ASGI application; `open` hands over what was loaded."""

    def __init__(self, metrics: Metrics, openai: OpenAIDoor | None = None) -> None:
        super().__init__()
        self._door = openai or OpenAIDoor("", is_local=True)
        self._metrics = metrics
        self._stella: StellaEngine | None = None
        self._tokenizer: Tokenizer | None = None
        self._prompts: Mapping[str, str] = {}

    def open(self, engine: StellaEngine, tokenizer: Tokenizer, prompts: Mapping[str, str]) -> None:
        """Begin to answer /v1/embeddings; `start` begins the hop."""
        self._stella, self._tokenizer, self._prompts = engine, tokenizer, prompts

    async def answer(self, scope: asgi.Scope, receive: asgi.Receive) -> asgi.Answer:
        """Route one request and count its answer."""
        match scope["method"], scope["path"]:
            case "POST", "/v1/embeddings":
                answer = await self._embeddings(scope, receive)
            case "GET", "/metrics":
                kind = [(b"content-type", CONTENT_TYPE.encode())]
                answer = 200, kind, self._metrics.render()
            case "GET", "/live" if self._stella and self._stella.computing_seconds > STUCK_SECONDS:
                answer = asgi.json_answer(503, {"state": "stuck"})
            case _:
                answer = await super().answer(scope, receive)
        path = scope["path"] if scope["path"] in _PATHS else "other"
        self._metrics.request(path, answer[0])
        return answer

    async def _embeddings(self, scope: asgi.Scope, receive: asgi.Receive) -> asgi.Answer:
        if refusal := self._door.refusal(scope):
            return _envelope(refusal)
        if self._stella is None or self._tokenizer is None:
            return _envelope(self.warming_up())
        if self.tracing is None:
            return await self._answered(scope, receive, self._stella, self._tokenizer, None)
        headers, status = dict(scope["headers"]), 500
        trace = self.tracing.begin("/v1/embeddings", headers, "tokenize")
        try:
            answer = await self._answered(scope, receive, self._stella, self._tokenizer, trace)
            status = answer[0]
        finally:
            if trace is not None:
                trace.end(status)
        return answer

    async def _answered(
        self,
        scope: asgi.Scope,
        receive: asgi.Receive,
        stella: StellaEngine,
        tokenizer: Tokenizer,
        trace: WorkTrace | None,
    ) -> asgi.Answer:
        started = time.monotonic()
        body = await asgi.read(receive, BODY_BYTES_MAX)
        if body is None:
            message = f"at most {BODY_BYTES_MAX} bytes fit"
            return _envelope(asgi.Failure(413, "too_large", message))
        info = stella.info
        try:
            asked = await _maybe_on_thread(
                len(body), openai.decode, body, info, tokenizer, self._prompts
            )
            if trace is not None:
                trace.wait()
            computed = await self.compute(scope, receive, asked.rows)
        except openai.InvalidRequest as error:
            return _envelope(error.failure, error.param)
        except Exception as error:  # noqa: BLE001 - `explain` raises unknown ones again
            return _envelope(server.explain(error))
        if trace is not None:
            trace.computed(info, asked.rows, computed)
        size = sum(len(vector) for vector in computed.vectors)
        content = await _maybe_on_thread(size, openai.encode, asked, computed, info.model)
        headers = server.timings(asked.rows, computed, started)
        return 200, [(b"content-type", b"application/json"), *headers], content


async def _maybe_on_thread(size: int, function: Any, *args: Any) -> Any:
    if size < _THREAD_BYTES_MIN:
        return function(*args)
    return await asyncio.to_thread(function, *args)


def _envelope(failure: asgi.Failure, param: str | None = None) -> asgi.Answer:
    """Write a failure as OpenAI's error of four fields."""
    kind = "invalid_request_error" if failure.status < 429 else "server_error"
    error = {"message": failure.message, "type": kind, "param": param, "code": failure.code}
    return asgi.json_answer(failure.status, {"error": error}, failure.retry_after_seconds)
