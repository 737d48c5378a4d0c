"""A worker that lies must not know when it is tested, and honest ones are never blamed."""

import random
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import pytest

from backends.fake import vector
from backends.protocol import RequestRefused, TokenRow
from gateway.data_plane.routing.examination import Examiner, PoolSpec
from gateway.data_plane.routing.request import Attempt
from gateway.data_plane.routing.witnesses import RIDE_SHARE, ROWS_MAX
from gateway.data_plane.routing.worker import Worker
from gateway.identifiers import is_id
from gateway.snapshots import GoldenRow, WorkerState
from tests.data_plane.routing.world import DIMENSIONS, INFO, World, answer, right, row

GOLDEN = [
    GoldenRow(ids=r.ids, vectors={DIMENSIONS: vector(r.ids, DIMENSIONS, INFO.revision)})
    for r in (row(number) for number in range(9_001, 9_006))
]
Tell = Callable[[Sequence[TokenRow]], Sequence[memoryview]]


def lie(rows: Sequence[TokenRow]) -> list[memoryview]:
    return answer(rows, "a lie")


def honest(rows: Sequence[TokenRow]) -> list[memoryview]:
    return answer(rows, INFO.revision)


class Cheat:
    """Answers well what it has seen three times, calls or rows, and lies about the rest."""

    def __init__(self, *, learns_rows: bool) -> None:
        self._learns_rows = learns_rows
        self._seen: Counter[object] = Counter()
        self.lies = False

    def __call__(self, rows: Sequence[TokenRow]) -> list[memoryview]:
        keys = list(rows) if self._learns_rows else [tuple(rows)] * len(rows)
        known = [self._seen[key] >= 3 for key in keys]
        self._seen.update(set(keys))
        return [
            (honest if good or not self.lies else lie)([asked])[0]
            for asked, good in zip(rows, known, strict=True)
        ]


class Pool:
    """A world whose workers answer as they are told to, and are examined when the core asks."""

    def __init__(self, *tells: Tell, seed: int = 1) -> None:
        self.world = World()
        self.core = self.world.core
        self.core.witnesses._random = random.Random(seed)
        self.core.witnesses.expect({INFO.revision: GOLDEN})
        self.workers = [self.world.worker(f"w{index}") for index in range(len(tells))]
        self.tells = dict(zip(self.workers, tells, strict=True))
        self._source = random.Random(seed)
        self._number = 0

    def work(self, requests: int = 1) -> None:
        """Serve requests of rows that were never there before."""
        for _ in range(requests):
            self._number += 10
            tokens = [self._source.randint(3, 40) for _ in range(self._source.randint(1, 5))]
            self.world.submit(*tokens, first=self._number)
            self.finish()

    def finish(self) -> None:
        while self.world.flying:
            self.world.now += 0.01
            for attempt in self.world.flying:
                if not attempt.over:
                    self.answer(attempt)
            for worker in self.world.suspects:
                self.examine(worker)
            self.world.suspects.clear()

    def answer(self, attempt: Attempt) -> None:
        self.core.succeed(attempt, self.tells[attempt.worker](attempt.rows))
        self.world.turn()

    def examine(self, worker: Worker) -> bool:
        """Examine a worker as `PoolMember` does; false if it lied."""
        known = self.core.witnesses.questions(worker, INFO)
        if not known and self.core.is_to_wait(worker):
            return False
        vectors = self.tells[worker]([one.row for one in known])
        lies = [
            said
            for one, vector in zip(known, vectors, strict=True)
            if (said := self.core.witnesses.compare(one, worker, vector))
        ]
        for said in lies:
            self.core._disprove(worker, said)
        return not lies

    def asked_until_out(self, liar: int = 0, most: int = 1000) -> int:
        """Work until a worker is out; return how many rows it was asked that others knew."""
        before = len(self.world.launched)
        while self.workers[liar].ready:
            assert len(self.world.launched) - before < most, "it is never out"
            self.work()
        calls = self.world.launched[before:]
        return sum(bool(a.rider) and a.worker is self.workers[liar] for a in calls)


def ready(pool: Pool) -> list[bool]:
    return [worker.ready for worker in pool.workers]


def cheats(seeds: range, *, learns_rows: bool) -> int:
    """Let one of three begin to cheat, in many pools; return the most that it took to see it."""
    taken = []
    for seed in seeds:
        cheat = Cheat(learns_rows=learns_rows)
        pool = Pool(cheat, honest, honest, seed=seed)
        pool.work(30)
        assert ready(pool) == [True] * 3, "nobody lied yet"
        cheat.lies = True
        taken.append(pool.asked_until_out())
        assert ready(pool) == [False, True, True]
        assert "asked unseen" in pool.workers[0].reason
    return max(taken)


@pytest.mark.parametrize("learns_rows", [False, True], ids=["calls", "rows"])
def test_a_cheat_that_learns_what_it_saw_is_out_with_the_second_row(learns_rows: bool):
    assert cheats(range(6), learns_rows=learns_rows) <= 2


@pytest.mark.long
@pytest.mark.parametrize("learns_rows", [False, True], ids=["calls", "rows"])
def test_so_it_is_in_two_hundred_pools(learns_rows: bool):
    assert cheats(range(6, 206), learns_rows=learns_rows) <= 2


def test_between_two_the_rows_that_both_agreed_on_before_decide():
    for seed in range(4):
        cheat = Cheat(learns_rows=True)
        pool = Pool(cheat, honest, seed=seed)
        pool.work(60)
        cheat.lies = True
        pool.asked_until_out()
        assert ready(pool) == [False, True]


def test_it_does_not_come_back_while_there_is_work():
    cheat = Cheat(learns_rows=True)
    pool = Pool(cheat, honest, honest)
    pool.work(40)
    cheat.lies = True
    pool.asked_until_out()
    for _ in range(6):
        assert not pool.examine(pool.workers[0])
        pool.work(3)
    cheat.lies = False
    assert [pool.examine(pool.workers[0]) for _ in range(2)] == [True, True]


def test_a_liar_waits_for_rows_while_anybody_makes_them():
    pool = Pool(honest, honest, honest)
    liar, other, last = pool.workers
    assert not pool.core.is_to_wait(liar)
    pool.core._disprove(liar, "it lied")
    liar.disproved = True
    assert pool.core.is_to_wait(liar)
    for worker, waits in ((other, True), (last, False)):
        pool.core.quarantine.take_out(worker, "gone", pool.world.now, hard=True)
        assert pool.core.is_to_wait(liar) is waits


def test_a_liar_is_asked_no_row_twice():
    pool = Pool(honest, honest, honest)
    pool.work(40)
    liar = pool.workers[0]
    liar.disproved = True
    asked = []
    while found := pool.core.witnesses.questions(liar, INFO):
        asked += found
    assert 1 < len(asked) == len({bytes(known.row.ids) for known in asked})


def test_what_a_worker_said_before_it_was_out_speaks_against_nobody():
    cheat = Cheat(learns_rows=True)
    pool = Pool(cheat, honest)
    first = pool.workers[0]
    cheat.lies = True
    for number in range(20):  # lies of the first, which nobody was asked about yet
        pool.core.witnesses._keep(first, [row(number)], lie([row(number)]), 0)
    cheat.lies = False
    pool.core.quarantine.take_out(first, "for a test", pool.world.now, hard=True)
    pool.work(60)
    pool.core.quarantine.readmit(first, "for a test", pool.world.now)
    pool.work(60)
    assert pool.core.counts["riders"] > 2
    assert not pool.core.counts["disputes"] + pool.core.counts["disproved"]


def test_honest_workers_are_never_in_doubt():
    pool = Pool(honest, honest, honest)
    pool.work(400)
    assert ready(pool) == [True] * 3
    assert pool.core.counts["riders"] > 4
    assert not pool.core.counts["disputes"] + pool.core.counts["disproved"]
    assert len(pool.core.witnesses._rows) <= ROWS_MAX


def test_two_workers_that_agree_are_believed_and_a_golden_row_more_than_both():
    pool = Pool(lie, lie, honest)
    pool.world.submit(3)
    (attempt,) = pool.world.flying
    assert attempt.rider is not None
    assert not attempt.rider.known.revision, "the first one is golden: nothing else is known"
    pool.finish()
    assert ready(pool) == [False, True, True] or ready(pool)[2]
    pool.work(100)
    assert ready(pool) == [False, False, True]


def test_a_sole_worker_is_asked_golden_rows():
    pool = Pool(lie)
    pool.world.submit(3)
    pool.answer(pool.world.flying[0])
    assert pool.workers[0].state is WorkerState.QUARANTINED
    assert "golden row, asked unseen" in pool.workers[0].reason
    assert not pool.world.resolved, "what came with a lie is delivered to nobody"


def test_what_rides_along_goes_to_nobody():
    pool = Pool(honest, honest)
    pool.work(60)
    assert pool.core.counts["riders"]
    assert all(request.error is None and right(request) for request in pool.world.resolved)


def test_it_costs_a_small_share_and_is_anywhere_in_a_call():
    pool = Pool(honest, honest, honest)
    pool.work(400)
    riding = [a for a in pool.world.launched if a.rider]
    spent = sum(a.rider.known.row.tokens for a in riding)
    assert spent <= 1.5 * RIDE_SHARE * sum(a.tokens for a in pool.world.launched)
    assert {a.rider.place for a in riding} >= {0, 1, 2}
    sightings = Counter((a.worker, a.rider.known.row) for a in riding if a.rider.known.revision)
    assert max(sightings.values()) <= 2, "rows are learned by nobody"


def test_a_row_that_a_worker_refuses_costs_no_request_its_call():
    """The call is repeated without it: the rider may be what the worker can't take."""
    pool = Pool(honest)
    pool.world.submit(3)
    (attempt,) = pool.world.flying
    assert attempt.rider
    pool.core.fail(attempt, RequestRefused("w0", "400"))
    pool.world.turn()
    (again,) = pool.world.flying
    assert again.rider is None
    pool.finish()
    assert [request.error for request in pool.world.resolved] == [None]


def test_without_golden_rows_nothing_is_compared():
    """They say how close is equal, and what a revision is."""
    pool = Pool(honest, lie)
    pool.core.witnesses.expect({})
    pool.work(100)
    assert not pool.core.counts["riders"]
    assert ready(pool) == [True, True]


def test_a_newcomer_is_not_judged_by_one_worker_alone():
    pool = Pool(Cheat(learns_rows=True), honest)
    pool.core.membership.remove(pool.workers[1], pool.world.now)
    pool.work(60)
    newcomer = pool.core.membership.add("new", pool.world.now)
    assert not pool.core.witnesses.questions(newcomer, INFO)


class Recorder:
    url = "w"

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[TokenRow, ...], str]] = []

    async def embed(self, rows, *, timeout_seconds, request_id):
        assert timeout_seconds
        self.calls.append((tuple(rows), request_id))
        return honest(rows)


async def test_no_canary_is_like_another_and_all_are_like_work():
    examiner = Examiner(PoolSpec(model="fake", golden={INFO.revision: GOLDEN}))
    backend, real = Recorder(), [row(1), row(2, tokens=40)]
    for _ in range(40):
        proof, vectors = await examiner.canary(backend, INFO, timeout_seconds=1, among=real)
        assert proof == "proved itself on 5 golden vectors"
        assert vectors == honest(real)
    assert all(is_id(request_id) for _, request_id in backend.calls)
    assert len({request_id for _, request_id in backend.calls}) == len(backend.calls)
    large = [rows for rows, _ in backend.calls if len(rows) > 3]
    assert max(Counter(large).values()) < 3, "a cheat could learn it"
    assert len({len(rows) for rows, _ in backend.calls}) > 3


async def test_a_canary_fits_what_a_worker_takes():
    examiner = Examiner(PoolSpec(model="fake", golden={INFO.revision: GOLDEN}))
    backend, info = Recorder(), msgspec.structs.replace(INFO, rows_max=2)
    await examiner.canary(backend, info, timeout_seconds=1, among=[row(1)])
    assert max(len(rows) for rows, _ in backend.calls) <= 2
