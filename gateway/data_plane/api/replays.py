"""You pay once, and only for what reached you: retries share a request's work and its response.

SDKs retry a request whose response came too late, with the same bytes and no standard way to tell.
A retry is recognized by its `Idempotency-Key`, by the `x-stainless-retry-count` that OpenAI's SDKs
send, or because nobody received the response to the same bytes: their client left while the work
was in progress, or before the response was charged or written. A retry joins the work or gets its
response. Two identical requests whose clients both stay are two requests.

A response is charged if a client is connected when it is ready. If none is, it is kept with its
reservation, and a retry pays.

Responses are kept only by this process, as bytes, bounded in time and size. A retry's body is
dropped as soon as its work is found, and the number of connections that wait for one request is
bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from gateway.data_plane.api.bills import Bill, Paid
from gateway.data_plane.api.exchange import Disconnected, Ended, Exchange, Reply, head_lines
from gateway.data_plane.api.kept import Kept, KeptReply
from gateway.data_plane.api.prints import Print
from gateway.data_plane.limits.abandonment import Abandonment
from gateway.data_plane.routing.request import Progress
from gateway.errors import BadRequest, TooManyRequests

_RETRY_AFTER_SECONDS = 1.0
_FACTS_PART = 16
"""The fact of payment is kept longer than the vectors, in this share of their space."""


class Replays:
    """The works of this process: those in progress, and answers for `seconds` after them."""

    def __init__(
        self,
        *,
        seconds: float,
        bytes_max: int,
        waiting_max: int,
        abandonment: Abandonment,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self.abandonment = abandonment
        self._waiting_max = waiting_max
        self._running: dict[bytes, Work] = {}
        """By identity; each holds a place among the requests in flight, which bounds them."""
        self._facts = Kept(seconds, bytes_max // _FACTS_PART, clock)
        """For responses whose vectors had to make room: what was paid for them."""
        self._kept = Kept(seconds, bytes_max, clock, on_evict=self._keep_facts)

    def find(self, print_: Print) -> Work | Fetch | None:
        """Return what a retry gets its answer from, if there is anything.

        Raises IdempotencyKeyReused (400) or TooManyRetries (429).
        """
        identity = print_.identity
        work = self._running.get(identity)
        if work is None:
            kept = self._kept.get(identity) if identity in self._kept.answers else None
            if kept is None or not (print_.is_retry or kept.bill or not kept.has_reached):
                return None
            _check_body(print_, kept.body_digest)
            return Fetch(self, print_, kept)
        if work.is_ending or not (print_.is_retry or not work.waiting):
            return None
        _check_body(print_, work.print.body_digest)
        if work.waiting >= self._waiting_max:
            raise TooManyRetries(
                f"{work.waiting} connections are already waiting for this request. Wait for the "
                "response before you try again, or close connections that no longer need it.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        return work

    def begin(self, print_: Print, exchange: Exchange) -> Work:
        """Begin a work in the current task, for retries to join; its answer is kept.

        The block does the work, and hands the answer to `Work.deliver`. Raises Disconnected.
        """
        return self._begin(Work(self, print_, exchange, exchange.request_id))

    def resume(self, print_: Print, exchange: Exchange, kept: KeptReply) -> Work:
        """Begin to pay for a kept response; it stays kept if that fails. See `begin`."""
        work = Work(self, print_, exchange, kept.request_id)
        work.unpaid = kept
        return self._begin(work)

    def paid(self, print_: Print) -> Paid | None:
        """Return what was paid for a response without its vectors, if this request is a retry."""
        if print_.identity not in self._facts.answers:
            return None
        facts = self._facts.get(print_.identity)
        if facts is None or facts.body_digest != print_.body_digest:
            return None
        is_retry = print_.is_retry or not facts.has_reached
        return Paid(facts.lines, facts.request_id) if is_retry else None

    def end(self, work: Work, kept: KeptReply | None) -> None:
        """Forget a work, and keep its response if it is the latest with its print."""
        if self._running.get(work.identity) is not work:
            return
        del self._running[work.identity]
        if kept is not None:
            # computed again for nothing: not anew for as long, or that would never end
            until = self._facts.expiry(work.identity) if work.is_paid_before else None
            if work.identity in self._facts.answers:
                self._facts.forget(work.identity)
            self._kept.put(work.identity, kept, until)

    def mark_reached(self, identity: bytes, request_id: str, *, has_reached: bool) -> None:
        """Note whether a response reached anyone."""
        if not self._kept.mark_reached(identity, request_id, has_reached=has_reached):
            self._facts.mark_reached(identity, request_id, has_reached=has_reached)

    def lose(self, identity: bytes, request_id: str, bill: Bill) -> None:
        """Note that a charged response could not be written."""
        self.mark_reached(identity, request_id, has_reached=False)
        bill.miss(self.seconds)

    def _begin(self, work: Work) -> Work:
        if work.exchange.has_left:
            raise Disconnected
        self._running[work.identity] = work
        if work.identity in self._kept.answers:
            self._kept.forget(work.identity)
        return work

    def _keep_facts(self, identity: bytes, kept: KeptReply, until: float) -> None:
        if kept.bill is None:
            self._facts.put(identity, kept._replace(body=b""), until)

    @property
    def bytes(self) -> int:
        """Bytes of the responses kept, header lines included."""
        return self._kept.bytes + self._facts.bytes


class IdempotencyKeyReused(BadRequest):
    """This `Idempotency-Key` was just used with a different body."""

    code = "idempotency_key_reused"
    remedy = "Use a new key for a new request."


class TooManyRetries(TooManyRequests):
    """This request is in progress, and too many retries of it are already waiting."""

    code = "too_many_retries"
    remedy = "Close the connection of one attempt before you start the next."


class Fetch(NamedTuple):
    """A retry whose response is kept."""

    replays: Replays
    print_: Print
    kept: KeptReply

    async def reply_to(self, exchange: Exchange) -> Reply:
        """Give the response again, and charge it if it is not paid yet: 402, 499, 503."""
        kept = self.kept
        if kept.bill is not None:
            with self.replays.resume(self.print_, exchange, kept) as work:
                try:
                    await kept.bill.resume()
                    return await work.deliver(kept.body, kept.bill)
                finally:
                    if work.unpaid is not None:  # this client left too: it waits for another
                        kept.bill.keep(self.replays.seconds)
        if not kept.has_reached and not exchange.has_left:
            mark = partial(self.replays.mark_reached, self.print_.identity, kept.request_id)
            mark(has_reached=True)
            exchange.on_lost = partial(mark, has_reached=False)
        return _replayed(exchange, kept.request_id, Reply(kept.body, kept.lines))


class Work:
    """A request in progress: its exchange, and those of retries that wait for the same response.

    When the last client leaves, the work's task is canceled, unless a worker has begun it: then it
    is finished, and a retry gets it.
    """

    def __init__(
        self, replays: Replays, print_: Print, exchange: Exchange, request_id: str
    ) -> None:
        self.print = print_
        self.identity = print_.identity
        self.request_id = request_id
        """The request that is charged for it."""
        self.exchange = exchange
        self.progress = Progress()
        self.is_ending = False
        """Its last client has left before a worker had it."""
        self.unpaid: KeptReply | None = None
        """What is kept if it ends without having been paid."""
        self._replays = replays
        self._task = asyncio.current_task()
        self._reply: Reply | None = None
        self._has_reached = True
        self._retries: dict[asyncio.Future[Reply], Exchange] = {}

    @property
    def waiting(self) -> int:
        """How many exchanges wait for the reply."""
        return len(self._retries) + (not self.exchange.has_left)

    @property
    def is_paid_before(self) -> bool:
        """Whether another request is charged for it."""
        return self.request_id != self.exchange.request_id

    async def deliver(self, body: bytes, bill: Bill) -> Reply:
        """Charge the response and give it to all who wait. If nobody does, keep it unpaid.

        Raises what `Bill.pay` raises, or Disconnected.
        """
        await self.exchange.read_end()
        if not self.waiting and not self._pays_anyway(bill):
            self.unpaid = self._kept(body, b"", bill)
            bill.keep(self._replays.seconds)
            raise Disconnected
        if self.exchange.trace is not None:
            self.exchange.trace.step("settle")
        self._task = self.unpaid = None  # from here on it is charged, whoever leaves
        paid = await bill.pay()
        self.request_id = paid.original_id or self.request_id
        self._has_reached = bool(self.waiting)
        if not self._has_reached:
            bill.miss(self._replays.seconds)
        self._reply = Reply(body, paid.lines)
        if self.print.organization_id in self._replays.abandonment.watched:
            self._reply = Reply(body, paid.lines + self._lines_of_abandonment(bill))
        lose = partial(self._replays.lose, self.identity, self.request_id, bill)
        if not self._retries:
            self.exchange.on_lost = lose
        else:
            own = [] if self.exchange.has_left else [self.exchange]
            _lose_with_the_last([*own, *self._retries.values()], lose)
        if self.is_paid_before:
            return _replayed(self.exchange, self.request_id, self._reply)
        return self._reply

    async def reply_to(self, exchange: Exchange) -> Reply:
        """Wait for the reply while the client of a retry is connected."""
        if exchange.has_left:
            raise Disconnected
        if exchange.trace is not None:
            exchange.trace.join(self.exchange.trace)
        told: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._retries[told] = exchange
        exchange.on_leave = partial(_leave, told)
        try:
            return _replayed(exchange, self.request_id, await told)
        finally:
            exchange.on_leave = None
            self._retries.pop(told, None)
            del told  # an error that it holds would hold this frame, and the frame it
            self._cancel_if_unwanted()

    def __enter__(self) -> Self:
        self.exchange.on_leave = self._cancel_if_unwanted
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.exchange.on_leave = None
        self._task = None
        self.progress.request = None  # its rows and vectors, and those it was batched with
        kept = self.unpaid if self._reply is None else self._kept(*self._reply)
        self._replays.end(self, kept)
        for told in self._retries:
            if self._reply is not None:
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

    def _kept(self, body: bytes, lines: bytes, bill: Bill | None = None) -> KeptReply:
        return KeptReply(
            self.print.organization_id,
            self.request_id,
            self.print.body_digest,
            body,
            lines,
            self._has_reached,
            bill,
        )

    def _pays_anyway(self, bill: Bill) -> bool:
        """Count work that nobody waits for, once."""
        if bill.is_abandoned:
            return False
        bill.is_abandoned = True
        return self._replays.abandonment.abandon(self.print.organization_id, bill.charge.tokens)

    def _lines_of_abandonment(self, bill: Bill) -> bytes:
        abandonment = self._replays.abandonment
        tokens = bill.charge.tokens
        if not bill.is_abandoned:
            abandonment.deliver(self.print.organization_id, tokens)
        elif self._has_reached:
            abandonment.fetch(self.print.organization_id, tokens)
        count = abandonment.count(self.print.organization_id)
        return head_lines([("x-abandoned-requests", str(count))]) if count else b""


def _check_body(print_: Print, digest: bytes) -> None:
    if digest != print_.body_digest:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was sent with a different body a moment ago. Use a new one for "
            "a new request."
        )


def _replayed(exchange: Exchange, request_id: str, reply: Reply) -> Reply:
    exchange.original_id = request_id
    told = [("idempotent-replayed", "true"), ("x-original-request-id", request_id)]
    return Reply(reply.body, reply.lines + head_lines(told))


def _lose_with_the_last(exchanges: Sequence[Exchange], lose: Callable[[], None]) -> None:
    """Call `lose` if the response could not be written to any of the exchanges."""
    left = len(exchanges)

    def lose_one() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            lose()

    for exchange in exchanges:
        exchange.on_lost = lose_one


def _leave(told: asyncio.Future[Reply]) -> None:
    _fail(told, Disconnected())


def _fail(told: asyncio.Future[Reply], error: Exception) -> None:
    if not told.done():
        told.set_exception(error)
