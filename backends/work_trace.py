"""The trace of one request to a worker: a span for it, and one for each thing that it waited for.

A worker begins no trace: it continues those of callers that proved to be a gateway or have its key.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

from backends import semantics
from backends.engine import Computed
from backends.protocol import TokenRow, WorkerInfo
from backends.spans import Spans, parent_of

_NANOS = 1_000_000_000


class WorkTracing:
    """Begins the worker's part of traces."""

    def __init__(self, spans: Spans) -> None:
        self.spans = spans

    def begin(self, path: str, headers: Mapping[bytes, bytes], first: str) -> WorkTrace | None:
        """Begin a request's span and its first step; None if it is not sampled."""
        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        context = parent_of(carrier) if carrier else Context()
        span = self.spans.sampled.start_span(f"POST {path}", context=context, kind=SpanKind.SERVER)
        if not span.is_recording():
            return None
        span.set_attributes(
            {
                "http.request.method": "POST",
                "http.route": path,
                "url.path": path,
                **semantics.OPERATION,
            }
        )
        return WorkTrace(self.spans, span, first)


class WorkTrace:
    """The spans of one sampled request."""

    __slots__ = ("_inside", "_span", "_spans", "_step")

    def __init__(self, spans: Spans, span: Span, first: str) -> None:
        self._spans = spans
        self._span = span
        self._inside = set_span_in_context(span, Context())
        self._step: Span | None = self._begin(first)

    def wait(self) -> None:
        """End the current step: from now on, the engine has the rows."""
        self._end_step()

    def computed(self, info: WorkerInfo, rows: Sequence[TokenRow], computed: Computed) -> None:
        """Add the steps of queue and computation, which ends now, and begin that of encoding."""
        ended = time.time_ns()
        began = ended - round(computed.compute_seconds * _NANOS)
        queued = began - round(computed.queue_seconds * _NANOS)
        self._begin("queue", queued).end(began)
        self._begin("infer", began).end(ended)
        self._step = self._begin("encode", ended)
        self._span.set_attributes(
            {
                "gen_ai.request.model": info.model,
                "gen_ai.usage.input_tokens": sum(row.tokens for row in rows),
                "gateway.call.rows": len(rows),
                "worker.revision": info.revision,
                "worker.dtype": info.dtype,
            }
        )

    def end(self, status: int) -> None:
        """End it with the answer's status."""
        self._end_step()
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()

    def _begin(self, name: str, start_ns: int | None = None) -> Span:
        return self._spans.inner.start_span(name, context=self._inside, start_time=start_ns)

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.end()
            self._step = None
