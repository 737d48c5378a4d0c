"""The worker's server over an engine that the test holds in its hand."""

from collections.abc import Sequence

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from backends import hop, spans, tracing
from backends.engine import Computed, EngineBroken
from backends.protocol import TokenRow, WorkerInfo
from backends.server import WorkerApp
from backends.work_trace import WorkTracing
from tests.data_plane.routing.world import INFO, answer, row


class Held:
    """An engine that counts its probes, and may be broken."""

    info: WorkerInfo = INFO

    def __init__(self) -> None:
        self.probes = 0
        self.broken = False

    async def embed(self, rows: Sequence[TokenRow], _deadline: float) -> Computed:
        if self.broken:
            raise EngineBroken("the device is lost")
        return Computed([bytes(one) for one in answer(rows)])

    async def probe(self) -> None:
        self.probes += 1


def client_of(app: WorkerApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker")


async def test_an_engine_is_probed_once():
    engine = Held()
    async with client_of(WorkerApp(engine)) as client:
        for _ in range(3):
            assert (await client.get("/ready")).status_code == 200
    assert engine.probes == 1


async def test_an_answer_tells_its_length():
    rows = [row(1), row(2)]
    async with client_of(WorkerApp(Held())) as client:
        told = await client.post("/embed", content=hop.encode_request(rows))
    assert told.status_code == 200
    assert int(told.headers["content-length"]) == len(told.content) > 0


async def test_a_broken_engine_is_told_once_and_refuses_all_that_follows():
    engine, told = Held(), []
    app = WorkerApp(engine)
    app.on_broken = lambda: told.append(app.broken)
    engine.broken = True
    async with client_of(app) as client:
        for _ in range(2):
            answered = await client.post("/embed", content=hop.encode_request([row(1)]))
            assert answered.status_code >= 500
        assert (await client.get("/ready")).status_code == 503
    assert told == ["the device is lost"]


async def test_a_worker_goes_on_with_its_gateways_traces_and_begins_none(
    monkeypatch: pytest.MonkeyPatch,
):
    exported = InMemorySpanExporter()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")  # which is its gateways' to obey
    monkeypatch.setattr(spans, "OTLPSpanExporter", lambda: exported)
    started = tracing.start("a worker", print, follows=True)
    assert started
    engine = Held()
    app = WorkerApp(engine)
    app.tracing = WorkTracing(started)
    sampled = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "vendor=opaque"}
    rows = [row(1), row(2)]
    async with client_of(app) as client:
        for headers in ({}, {"traceparent": f"00-{'c' * 32}-{'b' * 16}-00"}, sampled):
            await client.post("/embed", content=hop.encode_request(rows), headers=headers)
        await client.post("/embed", content=b"?", headers=sampled)
        engine.broken = True
        await client.post("/embed", content=hop.encode_request(rows), headers=sampled)
    started.close()
    made = exported.get_finished_spans()
    assert {span.context.trace_id for span in made} == {0xAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA}
    whole = [span for span in made if span.name == "POST /embed"]
    assert [span.parent.span_id for span in whole] == [0xBBBBBBBBBBBBBBBB] * 3
    names = [
        sorted(span.name for span in made if span.parent.span_id == one.context.span_id)
        for one in whole
    ]
    assert names == [["decode", "encode", "infer", "queue"], ["decode"], ["decode"]]
    told = [(span.attributes["http.response.status_code"], span.status.is_ok) for span in whole]
    assert told == [(200, True), (400, True), (500, False)]
    assert whole[0].attributes["gen_ai.usage.input_tokens"] == sum(one.tokens for one in rows)
