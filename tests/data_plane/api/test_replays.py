"""Works in progress and answers kept, without a server: joined, bounded and forgotten."""

import asyncio
import contextlib
import gc
from typing import Any

import pytest

from gateway.data_plane.api.bills import Bill
from gateway.data_plane.api.exchange import Disconnected, Ended
from gateway.data_plane.api.prints import Print
from gateway.data_plane.api.replays import IdempotencyKeyReused, Replays, TooManyRetries
from gateway.data_plane.limits.abandonment import Abandonment
from gateway.data_plane.metering.port import Charge, CreditUnavailable, InsufficientCredit
from gateway.identifiers import new_id


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Exchanging:
    """An exchange, as far as a work knows it."""

    def __init__(self, request_id: str = "1") -> None:
        self.request_id = request_id
        self.has_left = False
        self.on_leave = None
        self.on_lost = None
        self.trace = None

    def leave_quietly(self) -> None:
        """Leave when nothing can be canceled any more."""
        self.has_left = True

    async def read_end(self) -> None:
        """Its end is told by `leave`."""

    def leave(self) -> None:
        self.has_left = True
        if self.on_leave:
            self.on_leave()


class Credit:
    """Credit without end, and what was done with it."""

    def __init__(self) -> None:
        self.charged: list[str] = []
        self.kept: list[str] = []
        self.missed: list[str] = []
        self.settling = asyncio.Event()
        self.commits = asyncio.Event()
        self.commits.set()
        self.refusal: Exception | None = None

    async def reserve(self, _charge: Charge) -> int:
        return 0

    async def settle(self, charge: Charge) -> str | None:
        self.settling.set()
        await self.commits.wait()
        self.charged.append(charge.request_id)
        return None

    async def release(self, _charge: Charge) -> None: ...

    def keep(self, charge: Charge, _seconds: float) -> None:
        self.kept.append(charge.request_id)

    def undelivered(self, charge: Charge, _seconds: float) -> None:
        self.missed.append(charge.request_id)

    async def resume(self, _charge: Charge) -> int:
        if self.refusal:
            raise self.refusal
        return 0


LINES = b"x-cost-nanos: 8\r\nx-balance-nanos: 0\r\n"


def bill(credit: Credit, request_id: str = "1", *, tokens: int = 1) -> Bill:
    charge = Charge(
        request_id=request_id, organization_id="o", key_id=new_id(), model_id="m",
        price_id=new_id(), inputs=1, tokens=tokens, cost_nanos=8,
    )  # fmt: skip
    return Bill(credit, charge)


def kept(clock: Clock | None = None, **bounds: int) -> Replays:
    chosen = {"bytes_max": 200, "waiting_max": 3, **bounds}
    abandonment = Abandonment(requests_max=2, tokens_share=0.1, clock=clock or Clock())
    return Replays(seconds=60, clock=clock or Clock(), abandonment=abandonment, **chosen)


def of(name: str, body: bytes = b"", *, is_retry: bool = True, organization: str = "o") -> Print:
    return Print(organization, name.encode(), body, name, is_named=False, is_retry=is_retry)


async def answer(replays: Replays, print_: Print, size: int) -> None:
    with replays.begin(print_, Exchanging()) as work:
        await work.deliver(bytes(size), bill(Credit()))


async def test_answers_are_forgotten_in_time():
    clock = Clock()
    replays = kept(clock)
    await answer(replays, of("a"), 10)
    clock.now = 59
    again = await replays.find(of("a")).reply_to(Exchanging("2"))
    assert again.body == bytes(10)
    assert again.lines == LINES + b"idempotent-replayed: true\r\nx-original-request-id: 1\r\n"
    clock.now = 61
    assert replays.find(of("a")) is None
    assert replays.bytes == 0


async def test_a_kept_answer_is_bytes_alone_and_keeps_nothing_of_the_work():
    replays = kept()
    with replays.begin(of("a"), Exchanging()) as work:
        work.progress.request = object()  # as the pool does: it holds rows, vectors, and its batch
        await work.deliver(b"x", bill(Credit()))
    assert replays.bytes == 1 + len(LINES)
    assert work.progress.request is None
    assert not work.progress.begun
    assert not replays._running
    (held,) = replays._kept.answers.values()
    gc.collect()
    assert not gc.is_tracked(held)  # nothing in it is for the collector to look at


async def test_answers_are_bounded_in_bytes():
    replays = kept()
    for name in "abcde":
        await answer(replays, of(name), 30)
        assert replays._kept.bytes <= 200
    assert [replays.find(of(name)) is not None for name in "abcde"] == [False] * 3 + [True] * 2
    await answer(replays, of("huge"), 201)
    assert replays.find(of("huge")) is None
    assert replays._kept.bytes == 2 * (30 + len(LINES))  # what can't be kept evicts nothing
    await answer(replays, of("e"), 2)  # instead of the one before
    assert replays._kept.bytes == 30 + 2 + 2 * len(LINES)


async def test_large_answers_of_one_customer_push_out_its_own():
    replays = kept(bytes_max=2_000)
    names = [str(number) for number in range(9)]
    for name in names:
        await answer(replays, of(name, organization="small"), 60)
    for name in "abcde":
        await answer(replays, of(name, organization="large"), 900)
    assert all(replays.find(of(name, organization="small")) for name in names)
    assert [replays.find(of(name)) is not None for name in "abcde"] == [False] * 4 + [True]
    for name in "fghij":
        await answer(replays, of(name, organization="third"), 200)
        assert replays._kept.bytes <= 2_000
    assert replays._kept._shares["small"].bytes > 2_000 // 3 // 2  # half of an equal share


async def test_what_was_paid_is_remembered_longer_than_its_vectors():
    replays = kept(bytes_max=2_000)
    await answer(replays, of("a"), 900)
    for name in "bc":
        await answer(replays, of(name), 900)
    assert replays.find(of("a")) is None
    assert replays.paid(of("a", is_retry=False)) is None
    assert replays.paid(of("a", b"another body")) is None
    paid = replays.paid(of("a"))
    assert paid.original_id == "1"
    credit = Credit()
    again = Exchanging("2")
    with replays.begin(of("a"), again) as work:
        made = Bill(credit, bill(credit, "2").charge, paid)
        async with made:
            reply = await work.deliver(bytes(900), made)
    assert credit.charged == []
    assert reply.lines == LINES + b"idempotent-replayed: true\r\nx-original-request-id: 1\r\n"
    assert replays.paid(of("a")) is None  # its vectors are kept again
    assert replays.find(of("a")).kept.request_id == "1"


async def test_what_was_paid_once_is_not_computed_for_nothing_for_ever():
    """Answers that push each other out would be, as long as each is asked for in time."""
    clock = Clock()
    replays = kept(clock, bytes_max=2_000)
    for name in "abc":
        await answer(replays, of(name), 900)
    computed = []
    for at, name in ((30, "a"), (31, "b"), (59, "c"), (61, "a"), (62, "b")):
        clock.now = at
        paid = replays.paid(of(name))
        assert (paid is not None) == (at < 60)
        if paid and replays.find(of(name)) is None:
            computed.append(name)
            with replays.begin(of(name), Exchanging("2")) as work:
                await work.deliver(bytes(900), Bill(Credit(), bill(Credit(), "2").charge, paid))
        assert at < 60 or replays.find(of(name)) is None
    assert computed == ["a", "b", "c"]


async def test_another_body_is_refused():
    replays = kept()
    await answer(replays, of("a", b"one"), 1)
    with pytest.raises(IdempotencyKeyReused):
        replays.find(of("a", b"two"))


class Working:
    """A work that goes on until it is told to end, with any number of retries."""

    def __init__(self, replays: Replays) -> None:
        self.replays = replays
        self.credit = Credit()
        self.bill = bill(self.credit)
        self.first = Exchanging()
        self.hold = asyncio.Event()
        self.begins = asyncio.Event()
        self.task = asyncio.create_task(self._run())
        self.error: Exception | None = None

    async def _run(self) -> Any:
        with self.replays.begin(of("a"), self.first) as self.work:
            self.begins.set()
            await self.hold.wait()
            if self.error:
                raise self.error
            return await self.work.deliver(b"done", self.bill)

    async def join(self) -> tuple[Exchanging, asyncio.Task]:
        await self.begins.wait()
        exchange = Exchanging("2")
        waiting = self.work.waiting
        task = asyncio.create_task(self.replays.find(of("a")).reply_to(exchange))
        while self.work.waiting == waiting:
            await asyncio.sleep(0)
        return exchange, task


async def test_another_body_does_not_join_what_is_at_work():
    working = Working(kept())
    await working.begins.wait()
    with pytest.raises(IdempotencyKeyReused):
        working.replays.find(of("a", b"another"))
    working.hold.set()
    await working.task


async def test_the_last_one_who_leaves_ends_what_was_not_begun_and_no_other():
    working = Working(kept())
    leaves, left = await working.join()
    stays, staying = await working.join()
    working.first.leave()
    leaves.leave()
    with pytest.raises(Disconnected):
        await left
    assert not working.task.cancelling()
    working.hold.set()
    assert (await staying).body == b"done"  # the other one gets its answer
    assert stays.on_leave is None

    working = Working(kept())
    leaves, left = await working.join()
    leaves.leave()
    with pytest.raises(Disconnected):
        await left
    working.first.leave()
    assert working.replays.find(of("a")) is None
    with pytest.raises(asyncio.CancelledError):
        await working.task


async def test_what_a_worker_has_begun_goes_on_without_anybody():
    class Begun:
        begun = True

    working = Working(kept())
    await working.begins.wait()
    working.work.progress.request = Begun()
    working.first.leave()
    working.hold.set()
    with pytest.raises(Disconnected):
        await working.task
    assert (working.credit.charged, working.credit.kept) == ([], ["1"])
    fetched = await working.replays.find(of("a", is_retry=False)).reply_to(Exchanging("2"))
    assert fetched.body == b"done"
    assert b"x-original-request-id: 1" in fetched.lines
    assert working.credit.charged == ["1"]
    assert working.replays.find(of("a", is_retry=False)) is None  # it has reached somebody


async def test_equal_bytes_join_work_that_nobody_waits_for():
    class Begun:
        begun = True

    working = Working(kept())
    await working.begins.wait()
    working.work.progress.request = Begun()
    assert working.replays.find(of("a", is_retry=False)) is None  # its client is there
    working.first.leave()
    joined = working.replays.find(of("a", is_retry=False))
    assert joined is working.work
    waiting = asyncio.create_task(joined.reply_to(Exchanging("2")))
    while not working.work.waiting:
        await asyncio.sleep(0)
    assert working.replays.find(of("a", is_retry=False)) is None
    working.hold.set()
    assert (await waiting).body == b"done"
    assert working.credit.charged == ["1"]


async def test_who_leaves_while_it_is_charged_has_paid_and_gets_it_free_once():
    working = Working(kept())
    await working.begins.wait()
    working.credit.commits.clear()
    working.hold.set()
    await working.credit.settling.wait()
    working.first.leave()  # too late to cancel anything
    working.credit.commits.set()
    await working.task
    retry = of("a", is_retry=False)
    gone = Exchanging("2")
    gone.leave()
    await working.replays.find(retry).reply_to(gone)  # which reaches nobody either
    await working.replays.find(retry).reply_to(Exchanging("3"))
    assert (working.credit.charged, working.credit.missed) == (["1"], ["1"])
    assert working.replays.find(retry) is None


async def test_the_end_of_a_connection_is_read_before_its_answer_is_charged():
    class Begun:
        begun = True

    working = Working(kept())
    await working.begins.wait()
    working.work.progress.request = Begun()

    async def read_end() -> None:
        working.first.leave()  # as the client did while the worker was at it

    working.first.read_end = read_end
    working.hold.set()
    with pytest.raises(Disconnected):
        await working.task
    assert working.credit.charged == []


async def test_an_answer_that_could_not_be_written_is_given_again():
    working = Working(kept())
    working.hold.set()
    await working.task
    retry = of("a", is_retry=False)
    assert working.replays.find(retry) is None
    assert working.credit.missed == []
    working.first.on_lost()
    assert working.credit.missed == ["1"]
    assert (await working.replays.find(retry).reply_to(Exchanging("2"))).body == b"done"


async def test_one_that_was_written_to_a_retry_alone_has_reached_somebody():
    working = Working(kept())
    await working.begins.wait()
    second = Exchanging("2")
    joined = asyncio.create_task(working.work.reply_to(second))
    await asyncio.sleep(0)
    working.hold.set()
    await asyncio.gather(working.task, joined)
    working.first.on_lost()
    assert working.credit.missed == []
    second.on_lost()
    assert working.credit.missed == ["1"]


async def test_one_that_no_retry_could_be_given_has_reached_nobody():
    """Its own client had left."""
    working = Working(kept())
    await working.begins.wait()
    second = Exchanging("2")
    joined = asyncio.create_task(working.work.reply_to(second))
    await asyncio.sleep(0)
    working.first.leave()
    working.hold.set()
    await asyncio.gather(working.task, joined)
    second.on_lost()
    assert working.credit.missed == ["1"]
    retry = of("a", is_retry=False)
    assert (await working.replays.find(retry).reply_to(Exchanging("3"))).body == b"done"


async def test_a_kept_answer_that_could_not_be_written_again_is_given_once_more():
    working = Working(kept())
    working.hold.set()
    await working.task
    working.first.on_lost()
    retry, second = of("a", is_retry=False), Exchanging("2")
    await working.replays.find(retry).reply_to(second)
    assert working.replays.find(retry) is None
    second.on_lost()
    assert (await working.replays.find(retry).reply_to(Exchanging("3"))).body == b"done"


async def test_what_a_retry_could_not_pay_is_kept_for_the_next():
    class Begun:
        begun = True

    working = Working(kept())
    await working.begins.wait()
    working.work.progress.request = Begun()
    working.first.leave()
    working.hold.set()
    await asyncio.gather(working.task, return_exceptions=True)
    retry = of("a", is_retry=False)
    working.credit.refusal = InsufficientCredit("gone")
    with pytest.raises(InsufficientCredit):
        await working.replays.find(retry).reply_to(Exchanging("2"))
    working.credit.refusal = None
    left = Exchanging("3")
    left.leave()
    with pytest.raises(Disconnected):
        await working.replays.find(retry).reply_to(left)
    assert (await working.replays.find(retry).reply_to(Exchanging("4"))).body == b"done"
    assert working.credit.charged == ["1"]


async def test_a_retry_that_leaves_before_it_is_charged_leaves_the_reservation_as_it_was():
    replays = kept()
    credit = await abandon(replays, "1", 1)
    assert credit.kept == ["1"]
    gone, retry = Exchanging("2"), of("1", is_retry=False)

    async def read_end() -> None:
        gone.leave()  # its end lay behind the request
        await asyncio.sleep(0)

    gone.read_end = read_end
    left = asyncio.create_task(replays.find(retry).reply_to(gone))
    with pytest.raises(asyncio.CancelledError):
        await left
    assert credit.kept == ["1", "1"], "or nothing would ever give it back"
    assert (await replays.find(retry).reply_to(Exchanging("3"))).body == b"done"
    assert credit.charged == ["1"]


async def test_an_answer_whose_charge_is_not_known_is_not_kept_to_be_charged_again():
    class Begun:
        begun = True

    working = Working(kept())
    await working.begins.wait()
    working.work.progress.request = Begun()
    working.first.leave()
    working.hold.set()
    await asyncio.gather(working.task, return_exceptions=True)

    async def fail(_charge: Charge) -> str | None:
        raise CreditUnavailable

    working.credit.settle = fail
    retry = of("a", is_retry=False)
    with pytest.raises(CreditUnavailable):
        await working.replays.find(retry).reply_to(Exchanging("2"))
    assert working.replays.find(retry) is None


async def test_two_retries_of_what_is_not_paid_pay_once():
    class Begun:
        begun = True

    working = Working(kept())
    await working.begins.wait()
    working.work.progress.request = Begun()
    working.first.leave()
    working.hold.set()
    await asyncio.gather(working.task, return_exceptions=True)
    working.credit.commits.clear()
    working.credit.settling.clear()
    one = asyncio.create_task(working.replays.find(of("a")).reply_to(Exchanging("2")))
    await working.credit.settling.wait()
    two = asyncio.create_task(working.replays.find(of("a")).reply_to(Exchanging("3")))
    working.credit.commits.set()
    assert {(await one).body, (await two).body} == {b"done"}
    assert working.credit.charged == ["1"]


async def abandon(replays: Replays, name: str, tokens: int) -> Credit:
    """Have work done, and leave."""
    credit, exchange = Credit(), Exchanging(name)
    with contextlib.suppress(Disconnected), replays.begin(of(name), exchange) as work:
        exchange.leave_quietly()
        await work.deliver(b"done", bill(credit, name, tokens=tokens))
    return credit


async def test_who_abandons_much_pays_for_it_and_is_told():
    clock = Clock()
    replays = kept(clock)
    assert [(await abandon(replays, name, 8)).charged for name in "ab"] == [[], []]
    credit = await abandon(replays, "c", 8)  # the third
    assert credit.charged == ["c"]
    free = await replays.find(of("c", is_retry=False)).reply_to(Exchanging("2"))  # paid already
    assert b"x-abandoned-requests: 3" in free.lines
    with replays.begin(of("d"), Exchanging("3")) as work:
        reply = await work.deliver(b"done", bill(Credit(), tokens=1_000))
    assert b"x-abandoned-requests" not in reply.lines  # a small part of its tokens
    assert (await abandon(replays, "e", 8)).charged == []
    clock.now = 601
    with replays.begin(of("f"), Exchanging("4")) as work:
        await work.deliver(b"done", bill(Credit()))
    assert (await abandon(replays, "g", 8)).charged == []


async def test_what_a_retry_fetches_was_not_abandoned():
    replays = kept()
    for name in "abcd":
        assert (await abandon(replays, name, 8)).charged == []
        await replays.find(of(name)).reply_to(Exchanging("2"))


async def test_who_has_left_already_begins_and_joins_nothing():
    working = Working(kept())
    await working.begins.wait()
    gone = Exchanging("2")
    gone.leave()
    with pytest.raises(Disconnected):
        await working.replays.find(of("a")).reply_to(gone)
    with pytest.raises(Disconnected):
        working.replays.begin(of("b"), gone)
    working.hold.set()
    await working.task


async def test_what_is_cancelled_from_outside_is_an_error_for_all_who_wait():
    working = Working(kept())
    waiting = [(await working.join())[1] for _ in range(2)]
    working.task.cancel()
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, Ended)
        assert 1000 <= int(error.headers["retry-after-ms"]) <= 1500
    assert working.replays.find(of("a")) is None


async def test_a_failure_is_one_for_all_who_wait_and_is_not_kept():
    working = Working(kept())
    _, joined = await working.join()
    working.error = KeyError("ours")
    working.hold.set()
    for task in (working.task, joined):
        with pytest.raises(KeyError):
            await task
    assert working.replays.find(of("a")) is None


async def test_a_retry_that_is_ended_ends_no_other():
    working = Working(kept())
    _, stays = await working.join()
    _, ended = await working.join()
    ended.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended
    working.hold.set()
    assert (await stays).body == b"done"


async def test_only_so_many_wait_for_one():
    working = Working(kept(waiting_max=3))
    waiting = [(await working.join())[1] for _ in range(2)]
    with pytest.raises(TooManyRetries):
        working.replays.find(of("a"))
    working.hold.set()
    await asyncio.gather(*waiting)
    assert working.replays.find(of("a")) is not None


async def test_the_end_of_an_earlier_work_leaves_the_later_one():
    replays = kept()
    first, second = (replays.begin(of("a"), Exchanging(name)) for name in ("first", "second"))
    with second:
        with first:
            await first.deliver(b"first", bill(Credit()))
        assert replays.find(of("a")) is second
        await second.deliver(b"second", bill(Credit()))
    assert (await replays.find(of("a")).reply_to(Exchanging())).body == b"second"


async def test_an_answer_is_forgotten_once_its_request_begins_anew():
    replays = kept()
    await answer(replays, of("a"), 10)
    with pytest.raises(KeyError), replays.begin(of("a"), Exchanging("2")):
        raise KeyError
    assert replays.find(of("a")) is None


async def test_the_latest_of_equal_works_is_kept():
    replays = kept()
    with replays.begin(of("a"), Exchanging("first")) as first:
        with replays.begin(of("a"), Exchanging("second")) as second:
            await second.deliver(b"second", bill(Credit()))
        await first.deliver(b"first", bill(Credit()))
    assert (await replays.find(of("a")).reply_to(Exchanging())).body == b"second"
