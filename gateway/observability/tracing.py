"""The trace of a request: a span for it, one for each step, and one for each call to a worker.

Only sampled requests have a trace; for all others, and where traces are off, it is None. Spans hold
names, numbers and ids that are ours: never a text, a key, or any other word of a client.

A client's `traceparent` is a link: a stranger decides neither what is sampled nor under which trace
id. Where GATEWAY_TRACE_CALLERS says `trust`, it is the parent, and its sampled flag counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)

from backends import semantics
from backends.spans import LINKS_MAX, Spans, headers_of, parent_of
from gateway.observability.methods import known_method

_ROOT = Context()
_CARRIED_MAX = 8
"""Most requests of one call to a worker that see it in their traces."""
_CALLS_KEPT = 16
"""Most calls of a request that later ones are linked to."""

Attributes = Mapping[str, str | int | float | bool]


class Tracing:
    """Begins the traces of one process."""

    def __init__(self, spans: Spans, *, trusts_callers: bool, database: str) -> None:
        """`database` is the ledger's: postgresql or sqlite."""
        self.spans = spans
        self.database = database
        self.live: dict[str, str] = {}
        """The trace ids of the sampled requests in progress, by their own ids."""
        self._trusts_callers = trusts_callers

    def begin(
        self, path: str, method: str, headers: Mapping[bytes, bytes], request_id: str
    ) -> Trace | None:
        """Begin the trace of a request; None if it isn't sampled."""
        caller = _ROOT
        has_caller = b"traceparent" in headers
        if has_caller and self._trusts_callers:
            caller = _context(headers)
        span = self.spans.sampled.start_span(f"POST {path}", context=caller, kind=SpanKind.SERVER)
        if not span.is_recording():
            return None
        if has_caller and not self._trusts_callers:
            linked = get_current_span(_context(headers)).get_span_context()
            if linked.is_valid:
                span.add_link(linked)
        span.set_attributes(
            {
                "http.request.method": known_method(method),
                "http.route": path,
                "url.path": path,
                "url.scheme": "http",
                "gateway.request.id": request_id,
                **semantics.OPERATION,
            }
        )
        return Trace(self, span, request_id)


class Trace:
    """The spans of one sampled request. After its `end`, all else does nothing."""

    __slots__ = ("_calls", "_ended", "_queue", "_request_id", "_span", "_step", "_tracing", "id")

    def __init__(self, tracing: Tracing, span: Span, request_id: str) -> None:
        self.id = f"{span.get_span_context().trace_id:032x}"
        self._tracing = tracing
        self._span = span
        self._request_id = request_id
        self._queue: Span | None = None
        self._calls: list[SpanContext] = []
        """Of its calls to workers, in order."""
        self._ended = False
        self._step = self._inside(span, "authenticate")
        tracing.live[request_id] = self.id

    @property
    def context(self) -> SpanContext:
        """What others are linked to."""
        return self._span.get_span_context()

    def step(self, name: str) -> None:
        """End the step that the request was in, and begin the next."""
        if not self._ended:
            self._step.end()
            self._step = self._inside(self._span, name)

    def describe(self, attributes: Attributes) -> None:
        """Add to what is known of the request."""
        if not self._ended:
            self._span.set_attributes(dict(attributes))

    def join(self, original: Trace | None) -> None:
        """Begin to wait for the work of an equal request."""
        self.step("wait for the original")
        if original is not None:
            self._step.add_link(original.context)

    def wait(self) -> None:
        """Begin to wait in the queue, until the first call."""
        self._queue = self._inside(self._step, "queue")

    @staticmethod
    def call(url: str, model: str, **attributes: int) -> Call:
        """Make the spans of a call to a worker; requests are then put in it."""
        return Call(url, model, attributes)

    def tick(self, traces: Sequence[Trace], number: int, requests: int) -> TickSpan:
        """Make the span of a tick of the ledger that carries this request and others."""
        return TickSpan(self._tracing, traces, number, requests)

    def end(self, status: int, code: str | None, organization_id: str | None) -> None:
        """End it with the answer's status, and with the error's code if it is one."""
        if self._queue is not None:
            self._queue.end()
        self._step.end()
        self._span.set_attribute("http.response.status_code", status)
        if organization_id is not None:
            self._span.set_attribute("gateway.organization.id", organization_id)
        if code is not None:
            self._span.set_attribute("error.type", code)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
        self._ended = True
        self._tracing.live.pop(self._request_id, None)

    def _inside(self, parent: Span, name: str) -> Span:
        context = set_span_in_context(parent, _ROOT)
        return self._tracing.spans.inner.start_span(name, context=context)

    def _called(self, name: str, attributes: dict[str, Any], links: Sequence[Link]) -> Span:
        """Begin the span of a call to a worker."""
        if self._queue is not None:
            self._queue.end()
            self._queue = None
        again = len(self._calls)
        if again:  # a retry, the double of a slow call, or another part of a large request
            attributes = {**attributes, "http.request.resend_count": again}
            links = [*links, Link(self._calls[-1])]
        span = self._tracing.spans.inner.start_span(
            name,
            context=set_span_in_context(self._step, _ROOT),
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=links,
        )
        if again < _CALLS_KEPT:
            self._calls.append(span.get_span_context())
        return span

    def _ticked(self, tick: SpanContext) -> None:
        """Link the step that waits for a tick of the ledger to it."""
        if not self._ended:
            self._step.add_link(tick)


class Call:
    """One call to a worker: a span in the trace of each sampled request that it carries.

    The worker's own spans are in the trace of the first; the others are linked to that.
    """

    __slots__ = ("_attributes", "_model", "_spans", "_traces", "headers")

    def __init__(self, url: str, model: str, attributes: Mapping[str, int]) -> None:
        self._traces: set[Trace] = set()
        self._spans: list[Span] = []
        self._model = model
        self._attributes = {
            **semantics.OPERATION,
            **semantics.server_of(url),
            "gen_ai.request.model": model,
            "http.request.method": "POST",
            **{f"gateway.call.{name}": value for name, value in attributes.items()},
        }
        self.headers: Mapping[str, str] = {}
        """What makes the worker part of the trace."""

    def carry(self, trace: Trace) -> None:
        """Put a request in it."""
        if trace in self._traces or len(self._traces) >= _CARRIED_MAX:
            return
        self._traces.add(trace)
        links = [Link(self._spans[0].get_span_context())] if self._spans else []
        span = trace._called(f"embeddings {self._model}", self._attributes, links)  # noqa: SLF001
        self._spans.append(span)
        if not self.headers:
            self.headers = headers_of(span)

    def end(self, error: BaseException | None, *, canceled: bool = False) -> None:
        """End it: with the kind of its error alone, as a worker's words may hold a customer's."""
        for span in self._spans:
            if canceled:
                span.set_attribute("gateway.call.canceled", value=True)
            elif error is not None:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
            span.end()


class TickSpan:
    """A tick of the ledger: a trace of its own, linked to the requests that it carries."""

    __slots__ = ("_span",)

    def __init__(
        self, tracing: Tracing, traces: Sequence[Trace], number: int, requests: int
    ) -> None:
        linked = traces[:LINKS_MAX]
        self._span = tracing.spans.inner.start_span(
            "ledger tick",
            context=_ROOT,
            kind=SpanKind.CLIENT,
            links=[Link(trace.context) for trace in linked],
            attributes={
                "db.system.name": tracing.database,
                "gateway.tick.number": number,
                "gateway.tick.requests": requests,
                "gateway.tick.sampled": len(traces),
            },
        )
        for trace in linked:
            trace._ticked(self._span.get_span_context())  # noqa: SLF001

    def end(self, failure: str | None) -> None:
        """End it: `failure` is the kind of error if it failed, or was refused."""
        if failure is not None:
            self._span.set_attribute("error.type", failure)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def _context(headers: Mapping[bytes, bytes]) -> Context:
    """Return what a client's headers say of the trace that it is in."""
    carrier = {
        name: headers[name.encode()].decode("latin-1")
        for name in ("traceparent", "tracestate")
        if name.encode() in headers
    }
    with contextlib.suppress(ValueError):
        return parent_of(carrier)
    return _ROOT
