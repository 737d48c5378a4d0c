"""The asyncio shell, over stand-ins whose answers the test holds in its hand."""

import asyncio
import contextlib
import gc
import struct
import time
from collections.abc import Callable, Sequence
from itertools import chain

import msgspec
import numpy as np
import pytest

from backends.fake import vector
from backends.protocol import (
    InvalidAnswer,
    RequestRefused,
    TokenRow,
    WorkerBusy,
    WorkerInfo,
    WorkerUnreachable,
)
from gateway.data_plane.routing import gathering
from gateway.data_plane.routing import pool as pool_module
from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.examination import PoolSpec
from gateway.data_plane.routing.outcomes import (
    AllAttemptsFailed,
    Closing,
    NoWorker,
    RoutingError,
    Shed,
    UnknownModel,
)
from gateway.data_plane.routing.request import Attempt, Request, Shard
from gateway.data_plane.routing.router import Router
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.snapshots import GoldenRow, WorkerState
from tests.data_plane.routing.world import DIMENSIONS, INFO, answer, idle, row

SETTINGS = RoutingSettings(
    warming_seconds=0.02, quarantine_seconds_min=0.02, pass_seconds=0.01, check_seconds=0.1
)
ROW = row(1)
GOLDEN = GoldenRow(ids=ROW.ids, vectors={DIMENSIONS: vector(ROW.ids, DIMENSIONS)})


class Standin:
    """A backend whose calls end when the test wants."""

    def __init__(self, url: str, **_: object) -> None:
        self.url = url
        self.tells = INFO
        self.salt = ""
        self.down: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()
        self.cancelled = 0
        self.sizes: list[int] = []
        """Rows of each call, canaries left out."""
        self.closed = asyncio.Event()
        self.left = asyncio.Event()

    async def info(self, *, timeout_seconds: float) -> WorkerInfo:
        assert timeout_seconds > 0
        if self.down:
            raise self.down
        return self.tells

    async def embed(
        self, rows: Sequence[TokenRow], *, timeout_seconds: float, request_id: str = "", **_
    ) -> list[memoryview]:
        assert timeout_seconds > 0
        if self.down:
            raise self.down
        if not request_id:  # canaries have one, as work has
            self.sizes.append(len(rows))
        if self.gate and not request_id:
            self.asked.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            finally:
                self.left.set()
        return [memoryview(vector(row.ids, row.dimensions, self.salt)) for row in rows]

    async def close(self) -> None:
        assert not self.closed.is_set(), "closed twice"
        self.closed.set()


class Bench:
    """A router over stand-ins, by URL."""

    def __init__(self) -> None:
        self.standins: dict[str, Standin] = {}
        self.prepare: Callable[[Standin], None] = lambda _: None
        self.router = Router(self._connect, settings=SETTINGS)

    def _connect(self, url: str, **_: object) -> Standin:
        made = self.standins[url] = Standin(url)
        self.prepare(made)
        return made

    def serve(self, *urls: str, **spec):
        pool = self.router.serve(PoolSpec(model="fake", **spec))
        for url in urls:
            pool.add(url)
        return pool

    async def embed(self, *rows: TokenRow, seconds: float = 5.0, trace=None, **options):
        return await self.router.dispatch("fake", rows, offer(seconds, **options), trace=trace)


def offer(seconds: float, tokens: int = 3, **options) -> Offer:
    return Offer("org", tokens, time.monotonic() + seconds, **options)


@pytest.fixture
async def bench():
    made = Bench()
    yield made
    await made.router.close()


async def ready(pool, workers=1):
    async with asyncio.timeout(20):
        while sum(w.state is WorkerState.READY for w in pool.workers()) < workers:
            await asyncio.sleep(0.001)


async def turns():
    """Let whatever is due run, in some fifty turns of the loop."""
    for _ in range(50):
        await asyncio.sleep(0)


async def settled(pool, state: WorkerState, reason: str):
    async with asyncio.timeout(20):
        while not any(w.state is state and reason in w.reason for w in pool.workers()):
            await asyncio.sleep(0.001)


async def test_a_canary_takes_no_more_rows_than_the_worker(bench):
    sizes: list[int] = []
    asked: set[bytes] = set()

    class Small(Standin):
        async def embed(self, rows, **options):
            sizes.append(len(rows))
            asked.update(one.ids for one in rows)
            return await super().embed(rows, **options)

    def connect(url: str, **_: object) -> Standin:
        made = bench.standins[url] = Small(url)
        made.tells = msgspec.structs.replace(INFO, rows_max=2)
        return made

    bench.router = Router(connect, settings=SETTINGS)
    golden = tuple(
        GoldenRow(ids=one.ids, vectors={DIMENSIONS: vector(one.ids, DIMENSIONS)})
        for one in map(row, range(5))
    )
    pool = bench.serve("a", golden={"one": golden})
    await ready(pool)
    assert max(sizes) == 2
    assert asked >= {one.ids for one in golden}


@pytest.mark.parametrize("golden", [{}, {"one": (GOLDEN,)}], ids=["without", "with"])
async def test_a_worker_with_vectors_of_another_length_stays_out(bench, golden):
    """Of a model without golden vectors the canary looks at the length too, or garbage passes."""

    class Long(Standin):
        async def embed(self, rows, **options):
            found = await super().embed(rows, **options)
            return [memoryview((2 * np.frombuffer(one, "<f4")).tobytes()) for one in found]

    bench.router = Router(lambda url, **_: Long(url), settings=SETTINGS)
    pool = bench.serve("a", golden=golden)
    await settled(pool, WorkerState.WARMING, "length 2")


async def test_an_earlier_wake_is_not_replaced_by_a_later_one(bench):
    pool = bench.serve()
    pumped = asyncio.Event()
    pool._pump = pumped.set
    now = time.monotonic()
    pool.wake(now + 60)
    pool.wake(now + 0.01)
    pool.wake(now + 60)
    async with asyncio.timeout(10):
        await pumped.wait()
    pool._timer.cancel()
    del pool._pump


async def test_a_worker_proves_itself_and_serves(bench):
    pool = bench.serve("a")
    await ready(pool)
    assert await bench.embed(ROW, row(2)) == answer([ROW, row(2)])
    assert "without golden vectors" in pool.workers()[0].reason


async def test_golden_vectors_are_what_lets_a_worker_in(bench):
    pool = bench.serve("good", golden={"one": (GOLDEN,)})
    await ready(pool)
    assert "1 golden vectors" in pool.workers()[0].reason
    bench.prepare = lambda standin: setattr(standin, "salt", "another model")
    pool.add("impostor")
    await settled(pool, WorkerState.WARMING, "cosine")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"revision": "two"}, "not the pinned"),
        ({"vocabulary_sha256": "abc"}, "vocabulary"),
        ({"golden": {"two": (GOLDEN,)}}, "gateway workers pin fake"),
        ({"dimensions": frozenset({4, 1024})}, "[1024]"),
    ],
)
async def test_the_handshake_keeps_strangers_out(bench, spec, reason):
    pool = bench.serve("a", **spec)
    await settled(pool, WorkerState.WARMING, reason)
    with pytest.raises(NoWorker):
        await bench.embed(ROW, hold_seconds=0.01)


async def test_a_worker_that_can_not_repeat_itself_stays_out(bench):
    class Moody(Standin):
        async def embed(self, rows, **_):
            self.salt += "x"
            return [memoryview(vector(r.ids, r.dimensions, self.salt)) for r in rows]

    bench.router._connect = Moody
    await settled(bench.serve("a"), WorkerState.WARMING, "another vector each time")


async def test_a_closed_port_is_waited_for(bench):
    bench.prepare = lambda s: setattr(s, "down", WorkerUnreachable(s.url, "refused"))
    pool = bench.serve("a")
    await settled(pool, WorkerState.WARMING, "refused")
    asked = asyncio.create_task(bench.embed(ROW))
    bench.standins["a"].down = None
    assert await asked == answer([ROW])


async def test_a_worker_that_warms_is_not_broken(bench):
    bench.prepare = lambda s: setattr(s, "down", WorkerBusy(s.url, "503 warming"))
    pool = bench.serve("a")
    await settled(pool, WorkerState.WARMING, "warming")


async def test_a_client_that_leaves_closes_the_call(bench):
    pool = bench.serve("a")
    await ready(pool)
    standin = bench.standins["a"]
    standin.gate = asyncio.Event()
    asked = asyncio.create_task(bench.embed(ROW))
    await standin.asked.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    async with asyncio.timeout(20):
        await standin.left.wait()
    assert standin.cancelled == 1
    assert idle(pool.core)
    assert pool.workers()[0].tokens_in_flight == 0


async def test_requests_of_one_turn_leave_in_one_call(bench):
    await ready(bench.serve("a"))
    asked = [bench.embed(row(number)) for number in range(20)]
    assert await asyncio.gather(*asked) == [answer([row(number)]) for number in range(20)]
    assert bench.standins["a"].sizes == [20]


async def test_requests_gather_while_a_call_is_in_flight_and_the_loop_is_busy(bench, monkeypatch):
    monkeypatch.setattr(gathering, "_GATHER_SECONDS", 60.0)
    monkeypatch.setattr(pool_module, "_QUIET_SECONDS", 0.0)  # however fast a turn is
    await ready(bench.serve("a", "b"), 2)
    for standin in bench.standins.values():
        standin.gate = asyncio.Event()
    tasks = [asyncio.create_task(bench.embed(row(1), seconds=60))]
    while not (sizes := [standin.sizes for standin in bench.standins.values() if standin.sizes]):
        await asyncio.sleep(0)
    for number in (2, 3):
        tasks.append(asyncio.create_task(bench.embed(row(number), seconds=60)))
        await turns()
    assert sizes == [[1]]
    for standin in bench.standins.values():
        standin.gate.set()
    await asyncio.gather(*tasks)
    assert sorted(chain(*(standin.sizes for standin in bench.standins.values()))) == [1, 2]


async def test_they_leave_at_once_when_the_loop_is_quiet(bench, monkeypatch):
    monkeypatch.setattr(gathering, "_GATHER_SECONDS", 60.0)
    monkeypatch.setattr(pool_module, "_QUIET_SECONDS", 60.0)  # however slow a turn is
    await ready(bench.serve("a"))
    standin = bench.standins["a"]
    standin.gate = asyncio.Event()
    first = asyncio.create_task(bench.embed(ROW))
    await standin.asked.wait()
    second = asyncio.create_task(bench.embed(row(2)))
    await turns()
    assert standin.sizes == [1, 1]
    standin.gate.set()
    await asyncio.gather(first, second)


async def test_a_client_that_can_not_even_begin_a_call_harms_nobody(bench):
    class Broken(Standin):
        def embed(self, rows, **_):
            if list(rows) == [row(9)]:
                raise struct.error("out of range")
            return super().embed(rows, **_)

    bench.router._connect = Broken
    await ready(bench.serve("a"))
    with pytest.raises(AllAttemptsFailed, match="out of range"):
        await bench.embed(row(9))
    assert await bench.embed(ROW) == answer([ROW])


async def test_a_request_leaves_nothing_for_the_collector(bench):
    await ready(bench.serve("a"))
    for _ in range(20):
        await bench.embed(ROW)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for number in range(50):
            await bench.embed(row(number), row(number + 1))
            with pytest.raises(RoutingError):
                await bench.embed(row(number), seconds=-1.0)
        gc.collect()
        ours = [found for found in gc.garbage if isinstance(found, Request | Shard | Attempt)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert ours == []


async def test_a_removed_worker_finishes_what_it_has_then_its_client_is_closed(bench):
    pool = bench.serve("a")
    await ready(pool)
    standin = bench.standins["a"]
    standin.gate = asyncio.Event()
    asked = asyncio.create_task(bench.embed(ROW))
    await standin.asked.wait()
    pool.remove("a")
    await turns()
    assert not standin.closed.is_set()
    standin.gate.set()
    assert await asked == answer([ROW])
    async with asyncio.timeout(20):
        await standin.closed.wait()
    assert pool.workers() == []


async def test_a_worker_that_returns_gets_a_client_of_its_own(bench):
    pool = bench.serve("a")
    await ready(pool)
    first = bench.standins["a"]
    pool.remove("a")
    pool.remove("a")
    pool.add("a")
    pool.add("a")
    await ready(pool)
    assert bench.standins["a"] is not first
    assert first.closed.is_set()
    assert len(pool.workers()) == 1


async def test_draining_by_hand(bench):
    pool = bench.serve("a", "b")
    await ready(pool, 2)
    pool.drain("a")
    for number in range(20):
        await bench.embed(row(number))
    drained = next(w for w in pool.workers() if w.url == "a")
    assert drained.state is WorkerState.DRAINING
    pool.undrain("a")
    await ready(pool, 2)


async def test_a_check_by_hand_finds_what_is_wrong(bench):
    pool = bench.serve("a", golden={"one": (GOLDEN,)})
    await ready(pool)
    bench.standins["a"].salt = "another model"
    pool.check("a")
    await settled(pool, WorkerState.QUARANTINED, "cosine")
    bench.standins["a"].salt = ""
    await ready(pool)


@contextlib.asynccontextmanager
async def busy(bench):
    """Ask without a pause, so that no worker is ever idle; whatever comes of it."""

    async def ask() -> None:
        while True:
            with contextlib.suppress(RoutingError):
                await bench.embed(ROW, hold_seconds=0)
            await asyncio.sleep(0.005)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.wait([asking])


async def test_golden_rows_that_changed_hold_for_a_busy_worker_at_once(bench):
    pool = bench.serve("a", golden={"one": (GOLDEN,)})
    await ready(pool)
    async with busy(bench):
        changed = msgspec.structs.replace(GOLDEN, vectors={DIMENSIONS: vector(b"else", DIMENSIONS)})
        pool.expect(msgspec.structs.replace(pool.spec, golden={"one": (changed,)}))
        await settled(pool, WorkerState.QUARANTINED, "cosine")


async def test_a_busy_worker_computes_a_canary_every_so_often(bench):
    bench.router._settings = msgspec.structs.replace(SETTINGS, canary_seconds=0.2)
    pool = bench.serve("a", golden={"one": (GOLDEN,)})
    await ready(pool)
    async with busy(bench):
        bench.standins["a"].salt = "another model"
        await settled(pool, WorkerState.QUARANTINED, "cosine")


async def test_a_quarantined_worker_is_left_alone_until_its_time(bench):
    bench.router._settings = msgspec.structs.replace(SETTINGS, quarantine_seconds_min=9.0)
    pool = bench.serve("a")
    await ready(pool)
    standin = bench.standins["a"]
    standin.down = WorkerUnreachable("a", "refused")
    pool.check("a")
    await settled(pool, WorkerState.QUARANTINED, "refused")
    await turns()
    assert pool.workers()[0].ejections == 1, "it was examined again at once"


async def test_a_bug_of_ours_accuses_no_worker(bench):
    pool = bench.serve("a")
    await ready(pool)
    bench.standins["a"].down = OSError("too many open files")
    asked = asyncio.create_task(bench.embed(ROW))
    await asyncio.wait([asked])
    assert asked.exception() is not None
    assert pool.workers()[0].state is WorkerState.READY


async def test_closing_ends_what_waits_and_every_client(bench):
    pool = bench.serve("a")
    await ready(pool)
    bench.standins["a"].gate = asyncio.Event()
    asked = asyncio.create_task(bench.embed(ROW))
    await bench.standins["a"].asked.wait()
    await bench.router.close()
    with pytest.raises(Closing):
        await asked
    assert bench.standins["a"].closed.is_set()
    assert len(asyncio.all_tasks()) == 1


async def test_an_unknown_model_has_no_pool(bench):
    with pytest.raises(UnknownModel):
        await bench.embed(ROW)
    with pytest.raises(UnknownModel):
        bench.router.admit("fake", offer(1))


async def test_admission_is_asked_before_dispatch(bench):
    pool = bench.serve("a")
    with pytest.raises(NoWorker):
        bench.router.admit("fake", offer(1, hold_seconds=0))
    await ready(pool)
    bench.router.admit("fake", offer(1))
    with pytest.raises(Shed):
        bench.router.admit("fake", offer(1, tokens=10**9))


async def test_invalid_answers_go_elsewhere(bench):
    pool = bench.serve("a", "b")
    await ready(pool, 2)
    bench.standins["a"].down = InvalidAnswer("a", "html")
    for number in range(6):
        assert await bench.embed(row(number)) == answer([row(number)])
    await settled(pool, WorkerState.QUARANTINED, "html")


async def test_a_worker_that_refuses_everything_is_nobodys_loss(bench):
    pool = bench.serve("a", "b")
    await ready(pool, 2)
    bench.standins["a"].down = RequestRefused("a", "400")
    for number in range(6):
        assert await bench.embed(row(number)) == answer([row(number)])
    await settled(pool, WorkerState.QUARANTINED, "400")


async def test_a_look_without_a_canary_is_no_proof(bench):
    pool = bench.serve("a")
    await ready(pool)
    worker = bench.router.worker("fake", "a")
    worker.used_at = time.monotonic() + 60  # busy: it is only asked what it is
    worker.reason = "kept, for too few are left: it refused"
    looks = worker.examinations + 2
    async with asyncio.timeout(20):
        while worker.examinations < looks:
            await asyncio.sleep(0.01)
        assert worker.reason.startswith("kept")
        pool.check("a")
        while worker.reason.startswith("kept"):
            await asyncio.sleep(0.01)


async def test_a_timer_that_is_due_at_once_can_be_set_again(bench):
    """uvloop gives a handle without a time if that is at once."""
    pool = bench.serve("a")
    await ready(pool)
    pool.wake(time.monotonic() - 1)
    pool.wake(time.monotonic() + 1)
    assert await bench.embed(ROW) == answer([ROW])


async def test_an_examiner_outlives_a_mistake_of_ours(bench):
    mistakes = [KeyError("first"), KeyError("second")]

    def observe(*_):
        if mistakes:
            raise mistakes.pop()

    bench.router._observe = observe
    pool = bench.serve("a")
    await ready(pool)
    assert not mistakes
    assert await bench.embed(ROW) == answer([ROW])


async def test_a_stock_engine_that_may_be_another_process_is_examined_before_it_serves(bench):
    """It is back as another model at once, and tells no id."""
    pool = bench.serve("a", "b", golden={"one": (GOLDEN,)})
    await ready(pool, workers=2)
    standin = bench.standins["a"]
    standin.salt = "another model"
    standin.on_lost()
    for number in range(20):
        assert await bench.embed(row(number)) == answer([row(number)])
    await settled(pool, WorkerState.QUARANTINED, "cosine")


async def test_what_it_was_asked_before_is_asked_again(bench):
    pool = bench.serve("a", golden={"one": (GOLDEN,)})
    await ready(pool)
    standin = bench.standins["a"]
    standin.gate = asyncio.Event()
    embedding = asyncio.create_task(bench.embed(ROW))
    await standin.asked.wait()
    standin.salt = "another model"
    standin.on_lost()
    standin.gate.set()
    await settled(pool, WorkerState.QUARANTINED, "cosine")
    standin.salt = ""
    assert await embedding == answer([ROW])
