"""Who is to blame for an answer that is not 200: one table for every kind of worker.

    400, 413, 422   what we sent is wrong                            RequestRefused
    429, 503        alive and full, or warming                       WorkerBusy
    504             it says that our deadline passed                 WorkerTimeout
    500             our own worker says that it breaks and exits     WorkerLost
    424, 5xx        it failed (TEI answers 424 when its GPU did)     WorkerFailed
    anything else   it is not what its address says: no such model,  WorkerFailed
                    no such path, another host, a wrong key

The last line blames the worker and not the request, because another worker can serve the request.
Our own workers send 400, 413, 422, 504 and that 500 with an error body of their own. Without it,
something else answers there, such as the next owner of the address, which counts against the worker
too.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable

import msgspec

from backends.adapters.address import GUIDE
from backends.protocol import (
    BackendError,
    RequestRefused,
    WorkerBusy,
    WorkerFailed,
    WorkerLost,
    WorkerTimeout,
)

Refuse = Callable[[str, int, bytes, str | None], BackendError]
"""Turns the URL, status, body and Retry-After of an answer that is not 200 into an error."""

REFUSAL_BYTES_MAX = 65_536
"""Most bytes that are read of an answer that is not 200."""
OUR_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
"""Errors of this process (out of descriptors, ports or memory), not of the worker."""

_RETRY_AFTER_SECONDS_MAX = 60.0
_RETRY_AFTER_SECONDS_DEFAULT = 1.0  # no stock engine sends Retry-After, but proxies do
_REASON_BYTES_MAX = 200
_REFUSED = {400, 413, 422}
_BUSY = {429, 503}
_LATE = 504
_NO_SUCH_PATH = 404
_STOCK = (
    "no worker of ours answers there; if it is another engine, name it in the address: "
    f"infinity+http://, tei+http:// or openai+http:// (see {GUIDE})"
)
_DEADLINE_PASSED = "deadline_passed"
_BROKEN = "engine_broken"


def engine_refusal(url: str, status: int, content: bytes, retry_after: str | None) -> BackendError:
    """Map a stock engine's refusal to an error; its body has no fixed format and is only shown."""
    reason = f"{status} {content[:_REASON_BYTES_MAX].decode(errors='replace')}"
    if status in _BUSY:
        return WorkerBusy(url, reason, _seconds(retry_after))
    if status in _REFUSED:
        return RequestRefused(url, reason)
    return WorkerFailed(url, reason)


def worker_refusal(url: str, status: int, content: bytes, retry_after: str | None) -> BackendError:
    """Map the refusal of one of our own workers to an error."""
    try:
        code = msgspec.json.decode(content, type=_Envelope).error.code
    except msgspec.MsgspecError:
        code = ""
    meant = engine_refusal(url, status, content, retry_after)
    if status == _LATE and code == _DEADLINE_PASSED:
        return WorkerTimeout(url, meant.reason)
    if code == _BROKEN:
        return WorkerLost(url, meant.reason)
    if status == _NO_SUCH_PATH and not code:
        return WorkerFailed(url, f"{meant.reason}; {_STOCK}")
    if isinstance(meant, RequestRefused) and not code:
        return WorkerFailed(url, f"not an error of our worker: {meant.reason}")
    return meant


def reason_of(error: Exception) -> str:
    """Describe a connection error."""
    return f"{type(error).__name__}: {error}"


class _Envelope(msgspec.Struct):
    error: _Error


class _Error(msgspec.Struct):
    code: str
    message: str


def _seconds(value: str | None) -> float:
    try:
        seconds = float(value or _RETRY_AFTER_SECONDS_DEFAULT)
    except ValueError:
        return _RETRY_AFTER_SECONDS_DEFAULT  # an HTTP date: not worth parsing
    if not math.isfinite(seconds):
        return _RETRY_AFTER_SECONDS_DEFAULT
    return min(max(seconds, 0.0), _RETRY_AFTER_SECONDS_MAX)
