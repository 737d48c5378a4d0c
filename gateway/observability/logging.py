"""Structured logs on standard error.

Only names and numbers are logged. As a second line of defense, anything that looks like an API key
is redacted before a line is written. A line that belongs to a request has its id as `request`, and
as `trace` the id of its trace if it is sampled.

Libraries log warnings at every level: their debugging shows SQL with its values, bodies and
addresses, which hold what customers sent.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

import structlog

Form = Literal["console", "json"]
Level = Literal["debug", "info", "warning", "error"]
_LEVELS: Mapping[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_KEY = re.compile(r"sk-[0-9A-Za-z]{8,}")


def configure(form: Form, level: Level = "info") -> None:
    """Configure structlog for this process, and route the libraries' warnings through it."""
    least = _LEVELS[level]
    renderer: Any = structlog.processors.JSONRenderer()
    if form == "console":
        # plain traces: the pretty ones print local variables, and with them customers' texts
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact_keys,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        # looked up for each logger: standard error may have been replaced by then
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
    )
    theirs = max(least, logging.WARNING)
    logging.basicConfig(level=theirs, handlers=[_Forward(theirs)], force=True)


def follow(traces: Mapping[str, str]) -> None:
    """Add their traces to the lines of requests; `traces` has those in progress, by request."""
    global _traces  # noqa: PLW0603 - there is one log
    _traces = traces


_traces: Mapping[str, str] = {}


def _add_trace(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    trace = _traces.get(event.get("request", ""))
    if trace is not None:
        event["trace"] = trace
    return event


def redact_keys(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Redact whatever looks like an API key in an event."""
    for name, value in event.items():
        if isinstance(value, str) and "sk-" in value:
            event[name] = _KEY.sub("sk-***", value)
    return event


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)
