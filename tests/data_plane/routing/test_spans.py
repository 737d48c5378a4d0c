"""What the trace of a sampled request shows of the queue and of its calls to workers."""

import asyncio
import contextlib

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from backends import spans, tracing
from backends.protocol import WorkerUnreachable
from gateway.data_plane.routing.outcomes import NoWorker
from gateway.data_plane.routing.router import Router
from gateway.observability.tracing import Trace, Tracing
from tests.data_plane.routing.test_pool import ROW, SETTINGS, Bench, Standin, ready


class Noting(Standin):
    """Notes the headers of work, and refuses the first of it that comes to any of them."""

    refusals = 0
    headers: list[dict[str, str]]

    async def embed(self, rows, *, timeout_seconds, request_id="", headers=None):
        if not request_id:
            self.headers.append(headers)
            if len(self.headers) <= self.refusals:
                raise WorkerUnreachable(self.url, "what it says is not for spans")
        return await super().embed(rows, timeout_seconds=timeout_seconds, request_id=request_id)


class Traces:
    """Begins traces, and tells the spans of them once they have ended."""

    def __init__(self, exported: InMemorySpanExporter) -> None:
        self._exported = exported
        started = tracing.start("gateway", print)
        assert started
        self._spans = started
        self._tracing = Tracing(started, trusts_callers=False, database="sqlite")

    def begin(self) -> Trace:
        trace = self._tracing.begin("/v1/embeddings", "POST", {}, "id")
        assert trace
        trace.step("dispatch")
        return trace

    def end(self, trace: Trace, status: int = 200) -> list[ReadableSpan]:
        trace.end(status, None, None)
        self._spans.close()
        found = self._exported.get_finished_spans()
        return [span for span in found if span.name in ("queue", "embeddings fake")]


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    exported = InMemorySpanExporter()
    monkeypatch.setattr(spans, "OTLPSpanExporter", lambda: exported)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    return Traces(exported)


@pytest.fixture
async def bench():
    made = Bench()
    Noting.headers = []

    def connect(url: str, **_: object) -> Standin:
        made.standins[url] = Noting(url)
        return made.standins[url]

    made.router = Router(connect, settings=SETTINGS)
    yield made
    await made.router.close()


async def test_a_retry_is_a_span_of_its_own_linked_to_the_call_before(bench, traces, monkeypatch):
    monkeypatch.setattr(Noting, "refusals", 1)
    await ready(bench.serve("http://a:1", "http://b:2"), workers=2)
    trace = traces.begin()
    await bench.embed(ROW, trace=trace)
    queue, first, second = traces.end(trace)
    assert [queue.name, first.name, second.name] == ["queue", *["embeddings fake"] * 2]
    assert (first.attributes["error.type"], first.status.is_ok) == ("WorkerUnreachable", False)
    assert (second.attributes["http.request.resend_count"], second.status.is_ok) == (1, True)
    assert [link.context for link in second.links] == [first.context]
    assert not any("not for spans" in span.to_json() for span in (first, second))
    called = [headers["traceparent"].split("-")[1:3] for headers in Noting.headers]
    assert called == [[trace.id, f"{span.context.span_id:016x}"] for span in (first, second)]


async def test_a_call_that_nobody_needs_any_more_is_canceled_not_failed(bench, traces):
    await ready(bench.serve("http://a:1"))
    standin = bench.standins["http://a:1"]
    standin.gate, trace = asyncio.Event(), traces.begin()
    asking = asyncio.create_task(bench.embed(ROW, trace=trace))
    await standin.asked.wait()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    await standin.left.wait()
    await asyncio.sleep(0)
    _, call = traces.end(trace, 499)
    assert call.attributes["gateway.call.canceled"] is True
    assert call.status.is_ok


async def test_a_request_that_no_worker_got_only_queued(bench, traces):
    bench.serve()
    trace = traces.begin()
    with pytest.raises(NoWorker):
        await bench.embed(ROW, trace=trace, seconds=5, hold_seconds=0.01)
    assert [span.name for span in traces.end(trace, 503)] == ["queue"]


async def test_work_without_a_trace_says_nothing_of_one(bench):
    await ready(bench.serve("http://a:1"))
    await bench.embed(ROW)
    assert Noting.headers == [{}]
