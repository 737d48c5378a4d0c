"""A request leaves one trace, from the front door through the worker to the ledger's tick."""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from backends.tracing import start
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.observability.tracing import Trace, Tracing
from testing.collector import Span
from testing.gateways import MODEL, SECRET
from testing.traced import Traced, traced

TEXT = "a text that no span may hold"
CLIENT = "0af7651916cd43dd8448eb211c80319c"
"""A client's trace id."""
PARENT = {"traceparent": f"00-{CLIENT}-b7ad6b7169203331-01", "tracestate": "vendor=opaque"}


@pytest.fixture
def running(postgresql_database_url: list[str], tmp_path: Path) -> Iterator[Traced]:
    fake = ["--model", MODEL, "--dimensions", "384", "--vocabulary-sha256", BERT_UNCASED_SHA256]
    with traced(tmp_path, postgresql_database_url[0], ["backends.fake", *fake]) as opened:
        yield opened


def children(spans: list[Span], parent: Span) -> list[Span]:
    found = [span for span in spans if span.parent_id == parent.span_id]
    return sorted(found, key=lambda span: span.start_ns)


def only(spans: list[Span], name: str, **attributes: Any) -> Span:
    (found,) = (
        span
        for span in spans
        if span.name == name and attributes.items() <= span.attributes.items()
    )
    return found


def test_one_trace_goes_from_the_client_through_the_worker_to_the_ledger(running: Traced):
    answer = running.embed([TEXT, "another"], **PARENT)
    assert answer.status_code == 200
    request_id, cost = answer.headers["x-request-id"], int(answer.headers["x-cost-nanos"])
    spans = running.closed()

    whole = only(spans, "POST /v1/embeddings")
    assert (whole.service, whole.kind, whole.parent_id) == ("stella-gateway", 2, "")
    assert whole.trace_id != CLIENT, "a stranger does not choose it"
    assert whole.links == ((CLIENT, "b7ad6b7169203331"),)
    tokens = answer.json()["usage"]["prompt_tokens"]
    assert whole.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/embeddings",
        "http.response.status_code": 200,
        "url.path": "/v1/embeddings",
        "url.scheme": "http",
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "stella",
        "gen_ai.request.model": MODEL,
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.embeddings.dimension.count": 384,
        "gateway.inputs": 2,
        "gateway.tier": "default",
        "gateway.request.id": request_id,
        "gateway.cost.nanos": cost,
        "gateway.organization.id": running.ledger.organization_id,
    }
    steps = children(spans, whole)
    assert [step.name for step in steps] == [
        "authenticate", "read", "count", "reserve", "dispatch", "encode", "settle",
    ]  # fmt: skip
    for step, after in itertools.pairwise(steps):
        assert step.end_ns <= after.start_ns, "one after the other"
    queue, call = children(spans, steps[4])
    assert (queue.name, call.name, call.kind) == ("queue", f"embeddings {MODEL}", 3)
    worker_url = httpx.URL(running.worker.url)
    assert call.attributes["server.address"] == worker_url.host
    assert call.attributes["server.port"] == worker_url.port
    assert call.attributes["gateway.call.rows"] >= 2, "one may ride along"

    (served,) = children(spans, call)
    assert (served.service, served.name, served.kind) == ("fake-worker", "POST /embed", 2)
    assert served.trace_id == whole.trace_id
    tokens_called = call.attributes["gateway.call.tokens"]
    assert served.attributes["gen_ai.usage.input_tokens"] == tokens_called
    assert [inside.name for inside in children(spans, served)] == [
        "decode", "queue", "infer", "encode",
    ]  # fmt: skip

    settle, tick = steps[6], only(spans, "ledger tick")
    assert (whole.trace_id, whole.span_id) in tick.links
    assert (tick.trace_id, tick.span_id) in settle.links
    assert tick.attributes["db.system.name"] == "postgresql"
    assert tick.attributes["gateway.tick.requests"] == 1
    assert settle.start_ns <= tick.start_ns <= tick.end_ns <= settle.end_ns
    said = b"".join(running.collector.bodies)
    for secret in (TEXT, "another", running.ledger.secret, SECRET, "vendor=opaque"):
        assert secret.encode() not in said


class Took(SpanExporter):
    """A collector in this process; `is_down` if it refuses everything."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.is_down = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.is_down:
            return SpanExportResult.FAILURE
        self.spans += spans
        return SpanExportResult.SUCCESS


@pytest.fixture
def took(monkeypatch: pytest.MonkeyPatch) -> Took:
    took = Took()
    monkeypatch.setattr("backends.spans.OTLPSpanExporter", lambda: took)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:a-password@collector:4318")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1")
    return took


def begun(*, trusts_callers: bool, ratio: str = "1", **headers: str) -> Trace | None:
    """Begin a trace by these headers, at this ratio."""
    os.environ["OTEL_TRACES_SAMPLER_ARG"] = ratio  # the fixture puts it back
    spans = start("gateway", print)
    assert spans
    made = Tracing(spans, trusts_callers=trusts_callers, database="sqlite")
    named = {name.encode(): value.encode() for name, value in headers.items()}
    trace = made.begin("/v1/embeddings", "POST", named, "a request")
    spans.close()
    return trace


@pytest.mark.usefixtures("took")
def test_a_stranger_decides_neither_what_is_sampled_nor_under_which_id():
    for flags in ("00", "01"):
        named = {"traceparent": f"00-{CLIENT}-b7ad6b7169203331-{flags}"}
        assert begun(trusts_callers=False, ratio="0", **named) is None
        trace = begun(trusts_callers=False, **named)
        assert trace
        assert trace.id != CLIENT
    for malformed in ("", "00-1-2-3", "é" * 55, f"00-{'0' * 32}-b7ad6b7169203331-01"):
        assert begun(trusts_callers=False, traceparent=malformed)


@pytest.mark.usefixtures("took")
def test_a_proxy_of_ones_own_decides_both_if_it_is_trusted():
    sampled = begun(trusts_callers=True, ratio="0", **PARENT)
    assert sampled
    assert sampled.id == CLIENT
    assert sampled.context.trace_state["vendor"] == "opaque"
    assert begun(trusts_callers=True, traceparent=PARENT["traceparent"][:-1] + "0") is None
    fresh = begun(trusts_callers=True)
    assert fresh
    assert fresh.id != CLIENT


def test_a_collector_that_is_down_is_told_of_once_without_its_password(took: Took):
    said: list[str] = []
    spans = start("gateway", said.append)
    assert spans
    for took.is_down in (True, True, False, False):
        spans.sampled.start_span("one").end()
        spans.inner.start_span("another").end()
        spans._processor.force_flush()
    spans.close()
    assert said == [
        "the collector at collector:4318 does not take traces",
        "the collector at collector:4318 takes traces again",
    ]
    assert (spans.lost, len(took.spans)) == (4, 4)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_are_off_unless_a_collector_is_named(environment: dict[str, str]):
    assert start("gateway", print, environment=environment) is None


@pytest.mark.usefixtures("took")
def test_another_protocol_is_told_of(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    spans = start("gateway", said.append)
    assert spans
    spans.close()
    assert said == ["traces are sent by http/protobuf, not by grpc"]


def test_each_request_of_a_call_to_a_worker_has_it_in_its_trace(took: Took):
    spans = start("gateway", print)
    assert spans
    tracing = Tracing(spans, trusts_callers=False, database="sqlite")
    traces = [tracing.begin("/v1/embeddings", "POST", {}, str(number)) for number in range(40)]
    first, second, *_ = asked = [trace for trace in traces if trace]
    for number, url in enumerate(["http://[::1]:9000", "unix:/run/worker", "tei+https://a/?b=c"]):
        call = first.call(url, "m", rows=2)
        for trace in asked[: 2 if number else 40]:
            call.carry(trace)
        call.end(ValueError(TEXT), canceled=number == 1)
    first.tick(asked, number=1, requests=40).end("LedgerUnavailable")
    for trace in asked:
        trace.end(502, "upstream_error", None)
    spans.close()
    calls = [span for span in took.spans if span.name == "embeddings m"]
    assert len(calls) == 8 + 2 + 2, "of 40 requests, 8 have the call in their traces"
    others = [span for span in calls if span.context.trace_id != first.context.trace_id]
    assert all(len(span.links) == (1 if "::1" in str(span.attributes) else 2) for span in others)
    own = [span for span in calls if span not in others]
    assert [span.attributes.get("http.request.resend_count") for span in own] == [None, 1, 2]
    assert [(s.attributes["server.address"], s.attributes.get("server.port")) for s in own] == [
        ("::1", 9000),
        ("/run/worker", None),
        ("a", 443),
    ]
    assert [span.attributes.get("error.type") for span in own] == ["ValueError", None, "ValueError"]
    (tick,) = (span for span in took.spans if span.name == "ledger tick")
    assert (len(tick.links), tick.attributes["gateway.tick.sampled"]) == (32, 40)
    assert tick.attributes["error.type"] == "LedgerUnavailable"
    assert not any(TEXT in span.to_json() for span in took.spans)
    second.step("late")
    second.describe({"late": 1})
    assert not tracing.live
