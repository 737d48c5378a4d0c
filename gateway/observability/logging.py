"""Structured logs on standard error.

Only names and numbers are logged. As a second line of defense, anything that looks like an API key
is redacted before a line is written.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

_KEY = re.compile(r"sk-[0-9A-Za-z]{8,}")


def configure(form: Literal["console", "json"], level: int = logging.INFO) -> None:
    """Configure structlog for this process, and route the libraries' warnings through it."""
    renderer: Any = structlog.processors.JSONRenderer()
    if form == "console":
        # plain traces: the pretty ones print local variables, and with them customers' texts
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact_keys,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # looked up for each logger: standard error may have been replaced by then
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward(logging.WARNING)], force=True)


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
