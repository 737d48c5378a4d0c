"""OpenTelemetry's SDK, its exporter and W3C's headers, for `backends.tracing`."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBasedTraceIdRatio, Sampler
from opentelemetry.trace import Span, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

LINKS_MAX = 32
"""Most links of one span: a tick of the ledger may carry thousands of requests."""
ATTRIBUTES_MAX = 32
_CLOSE_SECONDS = 3.0
"""How long an ending process waits for the collector."""
_W3C = TraceContextTextMapPropagator()
_INSTANCE = "service.instance.id"
_UNNAMED = "unknown_service"


class Spans:
    """The tracers of this process. `close` it, or the last sampled spans are lost."""

    def __init__(self, service: str, report: Callable[[str], None], *, ratio: float | None) -> None:
        """See `backends.tracing.start`; without a `ratio` OTEL_TRACES_SAMPLER says what is kept."""
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # `_Told` tells, once
        self._exporter = _Told(OTLPSpanExporter(), report)
        self._processor = BatchSpanProcessor(self._exporter)
        resource = _resource(service)
        sampler = None if ratio is None else ParentBasedTraceIdRatio(ratio)
        self.sampled = self._tracer(resource, sampler)
        """Begins traces, or continues a caller's, as the sampler decides."""
        self.inner = self._tracer(resource, ALWAYS_ON)
        """Makes spans that belong to sampled ones, inside them or linked to them."""

    @property
    def lost(self) -> int:
        """Spans that the collector did not accept."""
        return self._exporter.lost

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Send what is left, waiting at most `seconds`."""
        # a daemon, so that a collector that hangs can't keep the process from ending
        closing = threading.Thread(target=self._processor.shutdown, daemon=True)
        closing.start()
        closing.join(seconds)

    def _tracer(self, resource: Resource, sampler: Sampler | None) -> Tracer:
        provider = TracerProvider(
            sampler=sampler,
            resource=resource,
            span_limits=SpanLimits(max_links=LINKS_MAX, max_span_attributes=ATTRIBUTES_MAX),
            shutdown_on_exit=False,  # see `close`
        )
        provider.add_span_processor(self._processor)
        return provider.get_tracer("stella", _version())


def parent_of(headers: Mapping[str, str]) -> Context:
    """Return the context of a caller's `traceparent` and `tracestate`; empty without valid ones."""
    return _W3C.extract(headers, context=Context())


def headers_of(span: Span) -> dict[str, str]:
    """Return the headers by which the callee continues a span's trace."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, set_span_in_context(span, Context()))
    return headers


class _Told(SpanExporter):
    """Exports spans, and reports once that it can't, and once that it can again."""

    def __init__(self, exporter: SpanExporter, report: Callable[[str], None]) -> None:
        self._exporter = exporter
        self._report = report
        self._is_down = False
        self.lost = 0
        """Spans that the collector did not accept."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed:
            self.lost += len(spans)
        if failed != self._is_down:
            self._is_down = failed
            does = "does not take traces" if failed else "takes traces again"
            self._report(f"the collector at {_endpoint()} {does}")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _endpoint() -> str:
    """Return only the collector's host and port, as its address may hold a password."""
    variables = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    address = next(filter(None, map(os.environ.get, variables)), "")
    return urlsplit(address).netloc.rpartition("@")[2] or "an address without a host"


def _resource(service: str) -> Resource:
    """Describe this process, where OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES do not."""
    found = Resource.create()  # it has a name in any case
    ours = {SERVICE_VERSION: _version(), _INSTANCE: f"{os.uname().nodename}-{os.getpid()}"}
    if str(found.attributes[SERVICE_NAME]).startswith(_UNNAMED):
        found = found.merge(Resource({SERVICE_NAME: service}))
    return Resource(ours).merge(found)


def _version() -> str:
    try:
        return metadata.version("stella-gateway")
    except metadata.PackageNotFoundError:
        return "unknown"
