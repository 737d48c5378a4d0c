"""Retries that are not billed again: the answer of a request, kept for whoever asks once more.

SDKs retry a request whose answer came too late, with the same bytes and without saying so in any
standard way. A retry is recognised by its `Idempotency-Key`, or by the `x-stainless-retry-count`
that OpenAI's SDKs send; it joins the request that is still at work, or is given the answer that
another connection lost, for free. Two equal requests that are no retries are two requests.

Answers live in this process alone, bounded in time and bytes: a retry that another process gets is
a new request. Of a retry nothing is kept but a digest: its body is let go of once it is known whose
it is, and how many connections wait for one request is bounded.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from gateway.data_plane.api.exchange import ClientGone, Exchange
from gateway.data_plane.routing.request import Progress
from gateway.errors import BadRequest, TooManyRequests, Unavailable
from gateway.snapshots import KeySnapshot

_WORKS_MAX = 100_000
_RETRY_AFTER_SECONDS = 1.0


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
    """A finished answer: its body, and the headers about its cost."""

    body: bytes
    headers: list[tuple[str, str]]

    @property
    def size(self) -> int:
        """Bytes that it takes to keep."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers)


class Print(NamedTuple):
    """What tells a request from another of the same API key, and whether it says it is a retry."""

    identity: tuple[str, str]
    body_digest: bytes
    is_retry: bool


class Work:
    """A request at work, or done; any number of exchanges may wait for it."""

    def __init__(
        self, request_id: str, body_digest: bytes, task: asyncio.Task[Reply], progress: Progress
    ) -> None:
        self.request_id = request_id
        self.body_digest = body_digest
        self.task = task
        self.progress = progress
        self.waiting = 0
        """How many connections wait for the reply."""

    async def reply_to(self, exchange: Exchange) -> Reply:
        """Wait for the reply, as long as the client does.

        The last client that leaves ends the work, unless a worker computes it already: then it is
        finished and charged, and a retry gets it. Raises ClientGone, WorkEnded (503), or what the
        work raises.
        """
        self.waiting += 1
        try:
            reply = await exchange.while_connected(self.task)
        except ClientGone:
            if self.waiting == 1 and not self.progress.begun:
                self.task.cancel()
            raise
        except asyncio.CancelledError:
            if not self.task.cancelled():
                raise  # it is this connection that is ended
            raise WorkEnded("The gateway ended this request. Try again.") from None
        finally:
            self.waiting -= 1
        if exchange.request_id == self.request_id:
            return reply
        told = [("idempotent-replayed", "true"), ("x-original-request-id", self.request_id)]
        return Reply(reply.body, [*reply.headers, *told])


class Replays:
    """The works of this process, for `seconds` after they are done."""

    def __init__(
        self,
        *,
        seconds: float,
        bytes_max: int,
        waiting_max: int,
        key_characters_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._bytes_max = bytes_max
        self._waiting_max = waiting_max
        self._key_characters_max = key_characters_max
        self._clock = clock
        self._works: OrderedDict[tuple[str, str], Work] = OrderedDict()
        self._done: OrderedDict[Work, tuple[tuple[str, str], float, int]] = OrderedDict()
        self._bytes = 0

    def print_of(self, exchange: Exchange, key: KeySnapshot, body: bytes) -> Print:
        """Take a request's print: its Idempotency-Key where there is one, else its very bytes.

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
        """Return the work that a retry means.

        Raises IdempotencyKeyReused (400) or TooManyRetries (429).
        """
        self._expire()
        work = self._works.get(print_.identity) if print_.is_retry else None
        if work is not None and work.task.cancelling():
            return None  # its client left a moment ago: begin again
        if work is not None and work.body_digest != print_.body_digest:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was sent with another body a moment ago. Use a new one for "
                "a new request."
            )
        if work is not None and work.waiting >= self._waiting_max:
            raise TooManyRetries(
                f"{work.waiting} connections wait for this very request already. Wait for the "
                "answer before you try again, or close what no longer reads it.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        return work

    def begin(
        self,
        print_: Print,
        request_id: str,
        run: Callable[[Progress], Coroutine[Any, Any, Reply]],
    ) -> Work:
        """Start the work of a request, and remember it; one that fails is forgotten at once."""
        progress = Progress()
        task = asyncio.create_task(run(progress))
        work = Work(request_id, print_.body_digest, task, progress)
        self._works[print_.identity] = work
        if len(self._works) > _WORKS_MAX:
            self._works.popitem(last=False)
        task.add_done_callback(lambda _: self._finish(print_.identity, work))
        return work

    @property
    def bytes(self) -> int:
        """How many bytes of answers are kept, their headers included."""
        return self._bytes

    def _finish(self, identity: tuple[str, str], work: Work) -> None:
        work.progress.request = None  # its rows and vectors, and those it was batched with
        # asking for the error also tells asyncio that it is seen, when every client has gone
        if work.task.cancelled() or work.task.exception() is not None:
            self._forget(identity, work)
            return
        size = work.task.result().size
        self._done[work] = (identity, self._clock() + self._seconds, size)
        self._bytes += size
        while self._bytes > self._bytes_max:
            self._drop_oldest()

    def _expire(self) -> None:
        now = self._clock()
        while self._done:
            _, until, _ = next(iter(self._done.values()))
            if until > now:
                return
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        work, (identity, _, size) = self._done.popitem(last=False)
        self._bytes -= size
        self._forget(identity, work)

    def _forget(self, identity: tuple[str, str], work: Work) -> None:
        if self._works.get(identity) is work:
            del self._works[identity]
