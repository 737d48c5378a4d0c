"""Retries that are not billed again: they share the work, and the answer, of the first request.

SDKs retry a request whose answer came too late, with the same bytes and no standard sign of it. A
retry is recognized by its `Idempotency-Key`, or by the `x-stainless-retry-count` that OpenAI's SDKs
send. It joins the request in progress, or gets the answer that another connection lost, for free.
Two equal requests that aren't retries are two requests.

Answers are kept by this process alone, bounded in time and bytes: a retry that reaches another
process is a new request. A retry's body is dropped as soon as its work is found, and the number of
connections that wait for one request is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

from cachetools import LRUCache, TTLCache

from gateway.data_plane.api.exchange import Disconnected, Exchange
from gateway.data_plane.routing.request import Progress
from gateway.errors import BadRequest, TooManyRequests, Unavailable
from gateway.snapshots import KeySnapshot

_WORKS_MAX = 100_000
_RETRY_AFTER_SECONDS = 1.0

Identity = tuple[str, str]
"""The API key's id, and what a request is recognized by."""


class Replays:
    """The works of this process: those in progress, and those done for `seconds` after it."""

    def __init__(
        self,
        *,
        seconds: float,
        bytes_max: int,
        waiting_max: int,
        key_characters_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting_max = waiting_max
        self._key_characters_max = key_characters_max
        self._running: LRUCache[Identity, Work] = LRUCache(_WORKS_MAX)
        self._done: TTLCache[Identity, Work] = TTLCache(
            bytes_max, seconds, clock, getsizeof=lambda work: work.task.result().size
        )

    def join(
        self,
        exchange: Exchange,
        key: KeySnapshot,
        body: bytes,
        run: Callable[[bytes, Progress], Coroutine[Any, Any, Reply]],
    ) -> Work:
        """Return the work that a retry belongs to, or begin one with `run`.

        Raises IdempotencyKeyTooLong or IdempotencyKeyReused (400), or TooManyRetries (429).
        """
        print_ = self.print_of(exchange, key, body)
        return self.find(print_) or self.begin(print_, exchange.request_id, partial(run, body))

    def print_of(self, exchange: Exchange, key: KeySnapshot, body: bytes) -> Print:
        """Return a request's print: of its Idempotency-Key if it has one, else of its body.

        Raises IdempotencyKeyTooLong (400).
        """
        digest = hashlib.sha256(body).digest()
        if given := exchange.header("idempotency-key"):
            if len(given) > self._key_characters_max:
                raise IdempotencyKeyTooLong(
                    f"An Idempotency-Key has at most {self._key_characters_max} characters; this "
                    f"one has {len(given)}. A UUID will do."
                )
            named = hashlib.sha256(given.encode()).hexdigest()
            return Print((key.id, f"key:{named}"), digest, is_retry=True)
        count = exchange.header("x-stainless-retry-count") or "0"
        return Print(
            (key.id, digest.hex()), digest, is_retry=count.isdecimal() and bool(count.strip("0"))
        )

    def find(self, print_: Print) -> Work | None:
        """Return the work that a retry belongs to, if any.

        Raises IdempotencyKeyReused (400) or TooManyRetries (429).
        """
        if not print_.is_retry:
            return None
        work = self._running.get(print_.identity) or self._done.get(print_.identity)
        if work is None or work.task.cancelling():
            return None  # none, or its last client has just left
        if work.body_digest != print_.body_digest:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was sent with a different body a moment ago. Use a new one "
                "for a new request."
            )
        if work.waiting >= self._waiting_max:
            raise TooManyRetries(
                f"{work.waiting} connections wait for this request already. Wait for the answer "
                "before you try again, or close connections that no longer need it.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        return work

    def begin(
        self,
        print_: Print,
        request_id: str,
        run: Callable[[Progress], Coroutine[Any, Any, Reply]],
    ) -> Work:
        """Start the work of a request and remember it, unless it fails."""
        progress = Progress()
        task = asyncio.create_task(run(progress))
        work = Work(request_id, print_.body_digest, task, progress)
        self._done.pop(print_.identity, None)
        self._running[print_.identity] = work
        task.add_done_callback(lambda _: self._finish(print_.identity, work))
        return work

    @property
    def bytes(self) -> int:
        """Bytes of the answers kept, headers included."""
        return int(self._done.currsize)

    def _finish(self, identity: Identity, work: Work) -> None:
        work.progress.request = None  # its rows and vectors, and those it was batched with
        is_latest = self._running.get(identity) is work
        if is_latest:
            del self._running[identity]
        # reading the error also tells asyncio that it is handled, if every client has left
        if work.task.cancelled() or work.task.exception() is not None or not is_latest:
            return
        with contextlib.suppress(ValueError):  # larger than the whole cache
            self._done[identity] = work


class IdempotencyKeyTooLong(BadRequest):
    """The `Idempotency-Key` is longer than allowed; the message says by how much."""

    code = "idempotency_key_too_long"
    remedy = "Use a random one, such as a UUID."


class IdempotencyKeyReused(BadRequest):
    """This `Idempotency-Key` was just used with a different body."""

    code = "idempotency_key_reused"
    remedy = "Use a new key for a new request."


class TooManyRetries(TooManyRequests):
    """This request is in progress, and too many retries of it are already waiting."""

    code = "too_many_retries"
    remedy = "Close the connection of one attempt before you start the next."


class WorkEnded(Unavailable):
    """The work was cancelled from outside, with somebody waiting for it."""

    code = "closing"


class Reply(NamedTuple):
    """A finished answer: its body, and the headers with its cost."""

    body: bytes
    headers: list[tuple[str, str]]

    @property
    def size(self) -> int:
        """Bytes that it takes up."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers)


class Print(NamedTuple):
    """What identifies a request, and whether it says that it is a retry."""

    identity: Identity
    body_digest: bytes
    is_retry: bool


class Work:
    """A request in progress or done; several exchanges may wait for it."""

    def __init__(
        self, request_id: str, body_digest: bytes, task: asyncio.Task[Reply], progress: Progress
    ) -> None:
        self.request_id = request_id
        self.body_digest = body_digest
        self.task = task
        self.progress = progress
        self.waiting = 0
        """How many exchanges wait for the reply."""

    async def reply_to(self, exchange: Exchange) -> Reply:
        """Wait for the reply while the client is connected.

        When the last client leaves, the work is canceled, unless a worker has begun it: then it is
        finished and charged, and a retry gets it. Raises Disconnected, WorkEnded (503), or what the
        work raises.
        """
        self.waiting += 1
        try:
            reply = await exchange.while_connected(self.task)
        except Disconnected:
            if self.waiting == 1 and not self.progress.begun:
                self.task.cancel()
            raise
        except asyncio.CancelledError:
            if not self.task.cancelled():
                raise  # this exchange was canceled, not the work
            raise WorkEnded("The gateway ended this request. Try again.") from None
        finally:
            self.waiting -= 1
        if exchange.request_id == self.request_id:
            return reply
        told = [("idempotent-replayed", "true"), ("x-original-request-id", self.request_id)]
        return Reply(reply.body, [*reply.headers, *told])
