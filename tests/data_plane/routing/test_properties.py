"""Whatever happens, in whatever order: each request ends once, with its own vectors or an error."""

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backends.protocol import (
    BeyondWorker,
    InvalidAnswer,
    RequestRefused,
    WorkerBusy,
    WorkerFailed,
    WorkerLost,
    WorkerTimeout,
    WorkerUnreachable,
)
from gateway.data_plane.routing.quarantine import NotReady
from gateway.data_plane.routing.request import Request
from gateway.data_plane.routing.worker import NEW, TRUSTED
from gateway.snapshots import WorkerState
from tests.data_plane.routing.world import INFO, LINE, World, answer, idle, right, waiting

ERRORS = [
    lambda url: InvalidAnswer(url, "nan"),
    lambda url: WorkerUnreachable(url, "refused"),
    lambda url: WorkerLost(url, "hung up"),
    lambda url: WorkerFailed(url, "500"),
    lambda url: WorkerTimeout(url, "late"),
    lambda url: WorkerBusy(url, "429", 0.1),
    lambda url: RequestRefused(url, "400"),
    lambda url: BeyondWorker(url, "no text"),
    lambda _: OSError("too many open files"),
]


class Interleavings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.taken: list[Request] = []
        self.cancelled: set[Request] = set()
        self.revisions: dict[str, str] = {}
        self.numbers = 0

    def workers(self):
        return list(self.world.core.workers.values())

    @rule(revision=st.sampled_from(["one", "one", "one", "two"]))
    def begin_work(self, revision):
        self.add(revision)

    def add(self, revision):
        if len(self.workers()) < 4:
            worker = self.world.core.membership.add(f"w{len(self.revisions)}", self.world.now)
            self.revisions[worker.url] = revision
            self.examined(worker)

    def examined(self, worker):
        info = msgspec.structs.replace(INFO, revision=self.revisions[worker.url])
        line = LINE if worker.state in NEW else None
        self.world.core.membership.examined(worker, info, line, "proof", self.world.now)

    @precondition(lambda self: self.workers())
    @rule(data=st.data(), what=st.sampled_from(["remove", "drain", "undrain", "fail", "pass"]))
    def change_a_worker(self, data, what):
        worker = data.draw(st.sampled_from(self.workers()))
        membership, now = self.world.core.membership, self.world.now
        match what:
            case "remove":
                membership.remove(worker, now)
            case "drain":
                membership.drain(worker, "asked", now)
            case "undrain":
                membership.undrain(worker, now)
            case "fail":
                membership.failed(worker, NotReady(worker.url, "draining"), now)
            case "pass":
                self.examined(worker)

    @rule(
        sizes=st.lists(st.integers(1, 6000), max_size=8),
        organization=st.sampled_from("abc"),
        tier=st.sampled_from(["default", "flex"]),
        seconds=st.one_of(st.floats(0.0, 3.0), st.just(20.0)),
        hold=st.floats(0.0, 3.0),
    )
    def arrive(self, sizes, organization, tier, seconds, hold):
        request = self.world.submit(
            *sizes,
            organization=organization,
            tier=tier,
            seconds=seconds,
            hold_seconds=hold,
            first=self.numbers,
        )
        self.numbers += len(sizes)
        self.taken.append(request)

    @precondition(lambda self: self.world.flying)
    @rule(data=st.data())
    def complete(self, data):
        attempt = data.draw(st.sampled_from(self.world.flying))
        self.world.succeed(attempt)

    @precondition(lambda self: self.world.flying)
    @rule(data=st.data(), error=st.sampled_from(ERRORS))
    def fail(self, data, error):
        attempt = data.draw(st.sampled_from(self.world.flying))
        self.world.core.fail(attempt, error(attempt.worker.url))

    @precondition(lambda self: self.world.flying)
    @rule(data=st.data())
    def answer_wrong(self, data):
        attempt = data.draw(st.sampled_from(self.world.flying))
        vectors = answer(attempt.rows)
        vectors[-1] = memoryview(bytes(len(vectors[-1])))
        repeated = all(shard.failed for shard in attempt.shards)
        self.world.core.succeed(attempt, vectors)
        assert repeated or attempt.worker.state is not WorkerState.READY

    @precondition(lambda self: self.world.launched)
    @rule(data=st.data())
    def answer_twice(self, data):
        attempt = data.draw(st.sampled_from(self.world.launched))
        if attempt.over:
            self.world.succeed(attempt)
            self.world.core.fail(attempt, WorkerFailed("", "late"))

    @precondition(lambda self: any(not request.finished for request in self.taken))
    @rule(data=st.data())
    def cancel(self, data):
        request = data.draw(st.sampled_from([r for r in self.taken if not r.finished]))
        self.cancelled.add(request)
        self.world.core.cancel(request)

    @precondition(lambda self: self.workers())
    @rule(how=st.sampled_from(["in place", "beside"]))
    def another_revision_is_rolled_out(self, how):
        """Calls of the old workers may end after the new ones serve."""
        old = self.workers()
        revision = "two" if self.revisions[old[0].url] == "one" else "one"
        for worker in old:
            if how == "beside":
                self.world.core.membership.remove(worker, self.world.now)
            else:
                self.revisions[worker.url] = revision
                self.examined(worker)
        if how == "beside":
            self.add(revision)

    @rule(seconds=st.one_of(st.floats(0.001, 1.0), st.just(6.0)))
    def time_passes(self, seconds):
        self.world.later(seconds)

    @invariant()
    def each_is_resolved_at_most_once_and_right(self):
        resolved = self.world.resolved
        assert len(resolved) == len({id(request) for request in resolved})
        assert not self.cancelled & set(resolved)
        for request in resolved:
            assert request.error is not None or right(request)

    @invariant()
    def what_flies_is_what_the_workers_count(self):
        for worker in self.workers():
            mine = [a for a in self.world.flying if a.worker is worker]
            assert worker.tokens == sum(attempt.tokens for attempt in mine)
            assert worker.calls == len(mine)
            assert worker.suspects == sum(attempt.suspect for attempt in mine) <= 1
            assert worker.state in TRUSTED or not mine

    @invariant()
    def waiting_tokens_add_up(self):
        queue = self.world.core.queue
        accounts = waiting(queue)
        assert queue.tokens == sum(account.tokens for account in accounts)
        for account in accounts:
            assert account.tokens == sum(shard.tokens for shard in account.shards)
            assert all(shard.open and not shard.attempts for shard in account.shards)

    @invariant()
    def one_revision_serves(self):
        ready = {w.revision for w in self.workers() if w.state is WorkerState.READY}
        assert len(ready) <= 1

    def teardown(self):
        """Let time run out: whatever is left must end."""
        for _ in range(3):
            self.world.later(31.0)
        for attempt in self.world.flying:
            self.world.succeed(attempt)
        assert set(self.world.resolved) | self.cancelled == set(self.taken)
        assert idle(self.world.core)
        assert self.world.core.queue.tokens == 0
        assert all(worker.tokens == 0 and worker.calls == 0 for worker in self.workers())
        super().teardown()


Interleavings.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
TestInterleavings = Interleavings.TestCase
