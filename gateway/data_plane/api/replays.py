"""Retries that are not billed again: they share the work, and the answer, of the first request.

SDKs retry a request whose answer came too late, with the same bytes and no standard sign of it. A
retry is recognized by its `Idempotency-Key`, or by the `x-stainless-retry-count` that OpenAI's SDKs
send. It joins the request in progress, or gets the answer that another connection lost, for free.
Two equal requests that aren't retries are two requests.

Answers are kept by this process alone, as bytes, bounded in time and size: a retry that reaches
another process is a new request. A retry's body is dropped as soon as its work is found, and the
number of connections that wait for one request is bounded.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from gateway.data_plane.api.exchange import Disconnected, Ended, Exchange, Reply, head_lines
from gateway.data_plane.routing.request import Progress
from gateway.errors import BadRequest, TooManyRequests
from gateway.snapshots import KeySnapshot

_RETRY_AFTER_SECONDS = 1.0


class Replays:
    """The works of this process: those in progress, and answers for `seconds` after them."""

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
        self._running: dict[bytes, Work] = {}
        """By identity; each holds a place among the requests in flight, which bounds them."""
        self._kept = _Kept(seconds, bytes_max, clock)

    def print_of(self, exchange: Exchange, key: KeySnapshot, body_digest: bytes) -> Print:
        """Return a request's print: of its Idempotency-Key if it has one, else of its body.

        Raises IdempotencyKeyTooLong (400).
        """
        if given := exchange.header(b"idempotency-key"):
            if len(given) > self._key_characters_max:
                raise IdempotencyKeyTooLong(
                    f"An Idempotency-Key has at most {self._key_characters_max} characters; this "
                    f"one has {len(given)}. A UUID will do."
                )
            named = hashlib.sha256(given.encode()).digest()
            return Print(b"%b key %b" % (key.id.encode(), named), body_digest, is_retry=True)
        count = exchange.header(b"x-stainless-retry-count")
        is_retry = count is not None and count.isdecimal() and bool(count.strip("0"))
        return Print(b"%b body %b" % (key.id.encode(), body_digest), body_digest, is_retry)

    def find(self, print_: Print) -> Work | KeptReply | None:
        """Return what a retry gets its answer from, if there is anything.

        Raises IdempotencyKeyReused (400) or TooManyRetries (429).
        """
        if not print_.is_retry:
            return None
        work = self._running.get(print_.identity)
        found = self._kept.get(print_.identity) if work is None else work
        if found is None or (work is not None and work.is_ending):
            return None
        if found.body_digest != print_.body_digest:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was sent with a different body a moment ago. Use a new one "
                "for a new request."
            )
        if work is not None and work.waiting >= self._waiting_max:
            raise TooManyRetries(
                f"{work.waiting} connections wait for this request already. Wait for the answer "
                "before you try again, or close connections that no longer need it.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        return found

    def begin(self, print_: Print, exchange: Exchange) -> Work:
        """Begin a work in the current task, for retries to join; its answer is kept.

        The block does the work, and hands the answer to `Work.done`. Raises Disconnected.
        """
        if exchange.has_left:
            raise Disconnected
        work = self._running[print_.identity] = Work(self, print_, exchange)
        self._kept.forget(print_.identity)
        return work

    @property
    def bytes(self) -> int:
        """Bytes of the answers kept, the lines of their heads included."""
        return self._kept.bytes

    def end(self, work: Work, reply: Reply | None) -> None:
        """Forget a work, and keep its answer if it is the latest of its print."""
        if self._running.get(work.identity) is not work:
            return
        del self._running[work.identity]
        if reply is not None:
            self._kept.put(work.identity, KeptReply(work.request_id, work.body_digest, *reply))


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


class Print(NamedTuple):
    """What identifies a request, and whether it says that it is a retry."""

    identity: bytes
    """The API key's id, and what a request is recognized by."""
    body_digest: bytes
    is_retry: bool


class KeptReply(NamedTuple):
    """An answer that is kept."""

    request_id: str
    body_digest: bytes
    body: bytes
    lines: bytes

    async def reply_to(self, _exchange: Exchange) -> Reply:
        """Give the answer again."""
        return _replayed(self.request_id, Reply(self.body, self.lines))


class Work:
    """A request in progress: its exchange, and those of retries that wait for the same answer.

    When the last client leaves, the work's task is canceled, unless a worker has begun it: then it
    is finished and charged, and a retry gets it.
    """

    def __init__(self, replays: Replays, print_: Print, exchange: Exchange) -> None:
        self.identity, self.body_digest, _ = print_
        self.request_id = exchange.request_id
        self.progress = Progress()
        self.is_ending = False
        """Its last client has left before a worker had it."""
        self._replays = replays
        self._exchange = exchange
        self._task = asyncio.current_task()
        self._reply: Reply | None = None
        self._retries: set[asyncio.Future[Reply]] = set()

    @property
    def waiting(self) -> int:
        """How many exchanges wait for the reply."""
        return len(self._retries) + (not self._exchange.has_left)

    def done(self, reply: Reply) -> Reply:
        """Give the answer to all who wait; returns it."""
        self._reply = reply
        return reply

    async def reply_to(self, exchange: Exchange) -> Reply:
        """Wait for the reply while the client of a retry is connected."""
        if exchange.has_left:
            raise Disconnected
        told: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._retries.add(told)
        exchange.on_leave = lambda: _fail(told, Disconnected())
        try:
            return _replayed(self.request_id, await told)
        finally:
            exchange.on_leave = None
            self._retries.discard(told)
            self._cancel_if_unwanted()

    def __enter__(self) -> Self:
        self._exchange.on_leave = self._cancel_if_unwanted
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._exchange.on_leave = None
        self._task = None
        self.progress.request = None  # its rows and vectors, and those it was batched with
        self._replays.end(self, self._reply if error is None else None)
        for told in self._retries:
            if error is None and self._reply is not None:
                if not told.done():
                    told.set_result(self._reply)
            elif isinstance(error, Exception):
                _fail(told, error)
            else:
                _fail(told, Ended("The gateway ended this request. Try again."))

    def _cancel_if_unwanted(self) -> None:
        if self._task is not None and not self.waiting and not self.progress.begun:
            self.is_ending = True
            self._task.cancel()


class _Kept:
    """Answers by identity, the oldest first, bounded in age and bytes."""

    def __init__(self, seconds: float, bytes_max: int, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._bytes_max = bytes_max
        self._clock = clock
        # plain tuples of bytes, which the garbage collector does not look at: when it expires, its
        # size, and the fields of a KeptReply
        self._answers: OrderedDict[bytes, tuple[float, int, str, bytes, bytes, bytes]]
        self._answers = OrderedDict()
        self.bytes = 0

    def get(self, identity: bytes) -> KeptReply | None:
        self._shrink()
        found = self._answers.get(identity)
        return KeptReply(*found[2:]) if found else None

    def put(self, identity: bytes, answer: KeptReply) -> None:
        """Keep an answer; one that is larger than all the room is not kept."""
        size = len(answer.body) + len(answer.lines)
        if size > self._bytes_max:
            return
        self.forget(identity)
        self._answers[identity] = (self._clock() + self._seconds, size, *answer)
        self.bytes += size
        self._shrink()

    def forget(self, identity: bytes) -> None:
        if found := self._answers.pop(identity, None):
            self.bytes -= found[1]

    def _shrink(self) -> None:
        """Drop what has expired, and the oldest that do not fit."""
        now = self._clock()
        while self._answers:
            oldest = next(iter(self._answers))
            expires, size, *_ = self._answers[oldest]
            if self.bytes <= self._bytes_max and expires > now:
                return
            del self._answers[oldest]
            self.bytes -= size


def _replayed(request_id: str, reply: Reply) -> Reply:
    told = [("idempotent-replayed", "true"), ("x-original-request-id", request_id)]
    return Reply(reply.body, reply.lines + head_lines(told))


def _fail(told: asyncio.Future[Reply], error: Exception) -> None:
    if not told.done():
        told.set_exception(error)
