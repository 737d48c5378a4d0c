"""A collector of traces for tests: rotel, a real receiver of OTLP, and what it passes on.

Rotel takes spans as any collector does, over OTLP/HTTP in protobuf; what is not OTLP it refuses. It
hands them on to a server of ours, which keeps them.
"""

from __future__ import annotations

import contextlib
import gzip
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from testing.servers import free_port

_SECONDS = 30.0


@dataclass(frozen=True)
class Span:
    """A span as the receiver took it."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    is_error: bool
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    """Trace and span ids."""


class Collector:
    """What was taken so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        self.spans: list[Span] = []
        self._changed = threading.Condition()

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that make a process send all its traces here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_TRACES_SAMPLER_ARG": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def take(self, body: bytes) -> None:
        """Keep what was exported."""
        found = list(_spans(ExportTraceServiceRequest.FromString(body)))
        with self._changed:
            self.bodies.append(body)
            self.spans += found
            self._changed.notify_all()

    def wait(self, *names: str) -> list[Span]:
        """Wait until there is a span of each of these names; returns all spans."""
        with self._changed:
            came = self._changed.wait_for(
                lambda: set(names) <= {span.name for span in self.spans}, _SECONDS
            )
            assert came, f"no {set(names) - {span.name for span in self.spans}} came"
            return list(self.spans)


@contextlib.contextmanager
def collecting(folder: Path) -> Iterator[Collector]:
    """Run rotel, with what keeps the spans behind it."""
    port = free_port()
    collector = Collector(f"http://127.0.0.1:{port}")
    with _kept(collector) as keeper:
        command = [
            str(files("rotel") / "rotel-agent"), "start",
            "--otlp-http-endpoint", f"127.0.0.1:{port}",
            "--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}",
            "--exporter", "otlp", "--otlp-exporter-protocol", "http",
            "--otlp-exporter-endpoint", keeper,
            "--disable-batching",
            "--pid-file", str(folder / "rotel.pid"), "--log-file", str(folder / "rotel.log"),
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as rotel:
            try:
                _await_port(port, rotel)
                yield collector
            finally:
                rotel.kill()


@contextlib.contextmanager
def _kept(collector: Collector) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            is_packed = self.headers.get("content-encoding") == "gzip"
            collector.take(gzip.decompress(body) if is_packed else body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _await_port(port: int, rotel: subprocess.Popen[bytes]) -> None:
    import socket

    deadline = time.monotonic() + _SECONDS
    while rotel.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise AssertionError(f"rotel does not listen; it exited with {rotel.poll()}")


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        about = {pair.key: _value(pair.value) for pair in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service=about["service.name"],
                    name=span.name,
                    kind=span.kind,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    is_error=span.status.code == 2,
                    attributes={pair.key: _value(pair.value) for pair in span.attributes},
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                )


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")
