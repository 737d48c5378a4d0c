"""OpenTelemetry traces of the gateway and its workers, set up by the standard OTEL_* variables.

They are on where OTEL_EXPORTER_OTLP_ENDPOINT names a collector. Where it does not, `start` returns
None, nothing of OpenTelemetry is imported, and nobody makes a span. What is sampled is sent in
batches by a thread of its own; a collector that is down is reported once and holds up nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported only where traces are on: a tenth of a second and 8 MB
    from backends.spans import Spans

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"
SAMPLER, SAMPLER_ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
RATIO_DEFAULT = 0.01


def start(
    service: str,
    report: Callable[[str], None],
    *,
    follows: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Spans | None:
    """Begin to trace; None where traces are off.

    `service` is the name unless OTEL_SERVICE_NAME gives another. `report` is called, from any
    thread, with a line when the collector stops accepting spans, when it accepts them again, and
    if another protocol was asked for. A process that only `follows` continues the traces of callers
    and begins none.
    """
    if not is_on(environment):
        return None
    protocol = next(filter(None, map(environment.get, PROTOCOLS)), SPOKEN)
    if protocol != SPOKEN:
        report(f"traces are sent by {SPOKEN}, not by {protocol}")
    from backends.spans import Spans  # noqa: PLC0415

    return Spans(service, report, ratio=0.0 if follows else _ratio(environment))


def is_on(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether traces are on."""
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower()
    named = any(environment.get(name, "").strip() for name in ENDPOINTS)
    return named and not disabled and exporter != "none"


def _ratio(environment: Mapping[str, str]) -> float | None:
    """Return the share of traces to sample; None if OTEL_TRACES_SAMPLER decides."""
    if environment.get(SAMPLER, "").strip():
        return None
    try:
        ratio = float(environment.get(SAMPLER_ARGUMENT) or RATIO_DEFAULT)
    except ValueError:
        return RATIO_DEFAULT
    return ratio if 0 <= ratio <= 1 else RATIO_DEFAULT
