"""The part of ASGI that a worker's application needs: bodies in, whole answers out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import msgspec

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers, body."""


class Failure(NamedTuple):
    """Why a request gets no vectors; each endpoint formats it in its own way."""

    status: int
    code: str
    message: str
    retry_after_seconds: float | None = None


async def read(receive: Receive, bytes_max: int) -> bytes | None:
    """Read the whole body; None if it is over the limit."""
    chunks, size = [], 0
    while True:
        message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            return None
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body again that was already read, and then what follows."""
    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def first() -> MutableMapping[str, Any]:
        return unread.pop() if unread else await receive()

    return first


def json_answer(status: int, value: Any, retry_after_seconds: float | None = None) -> Answer:
    """Write a JSON answer."""
    headers = [(b"content-type", b"application/json")]
    if retry_after_seconds is not None:
        headers.append((b"retry-after", f"{retry_after_seconds:.3f}".encode()))
    return status, headers, msgspec.json.encode(value)


def error_answer(failure: Failure) -> Answer:
    """Write a failure as `{"error": {"code", "message"}}`."""
    error = {"code": failure.code, "message": failure.message}
    return json_answer(failure.status, {"error": error}, failure.retry_after_seconds)
