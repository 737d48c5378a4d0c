"""A world for the core that a test moves by hand: a clock, and calls that end when told to."""

import random
import struct
from collections.abc import Sequence
from functools import partial

import msgspec

from backends.fake import vector
from backends.protocol import BackendError, TokenRow, WorkerFailed, WorkerInfo
from gateway.data_plane.routing.dispatcher import Dispatcher
from gateway.data_plane.routing.examination import flaw
from gateway.data_plane.routing.fair_queue import FairQueue, QueueAccount
from gateway.data_plane.routing.request import Attempt, Request
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import Worker
from gateway.snapshots import Tier

DIMENSIONS = 4
INFO = WorkerInfo(
    model="fake",
    revision="one",
    dtype="float32",
    dimensions=(DIMENSIONS,),
    tokens_max=8192,
    rows_max=64,
    batch_tokens_max=16_384,
    vocabulary_sha256="",
)
REVISED = partial(msgspec.structs.replace, INFO)
LINE = (0.002, 1e-5)


def row(number: int, tokens: int = 3) -> TokenRow:
    return TokenRow(struct.pack(f"<{tokens}I", number, *range(tokens - 1)), DIMENSIONS)


def answer(rows: Sequence[TokenRow], revision: str = "") -> list[memoryview]:
    """Each revision has vectors of its own, so that two in one answer are seen."""
    return [memoryview(vector(row.ids, row.dimensions, revision)) for row in rows]


class World:
    """The core's shell, and what a test can do to it."""

    def __init__(self, settings: RoutingSettings | None = None, gateways: int = 1) -> None:
        self.now = 100.0
        self.lag = 0.0
        self.due = False
        """The core asked for a pump, to be made when the turn is over."""
        self.launched: list[Attempt] = []
        self.asked: dict[Attempt, str] = {}
        """The revision that each call was sent to."""
        self.abandoned: list[Attempt] = []
        self.suspects: list[Worker] = []
        self.resolved: list[Request] = []
        self.settings = settings or RoutingSettings()
        self.core = Dispatcher(
            self.settings,
            clock=lambda: self.now,
            shell=self,
            flaw=flaw,
            random=random.Random(1),
            lag=lambda: self.lag,
            gateways=lambda: gateways,
        )

    # the shell

    def launch(self, attempt: Attempt) -> None:
        self.launched.append(attempt)
        self.asked[attempt] = attempt.worker.revision

    def abandon(self, attempt: Attempt) -> None:
        self.abandoned.append(attempt)

    def examine(self, worker: Worker) -> None:
        self.suspects.append(worker)

    def changed(self, worker: Worker) -> None:
        assert worker.reason

    def soon(self) -> None:
        self.due = True

    def wake(self, at: float) -> None:
        assert at > self.now

    # what a test does

    def worker(self, url: str = "w1", info: WorkerInfo = INFO, line=LINE) -> Worker:
        worker = self.core.membership.add(url, self.now)
        self.core.membership.examined(worker, info, line, "proved itself", self.now)
        worker.window_share = 1.0
        return worker

    def submit(
        self,
        *tokens: int,
        organization: str = "org",
        seconds: float = 30.0,
        first: int = 0,
        tier: Tier = "default",
        hold_seconds: float = 15.0,
        turn: bool = True,
    ) -> Request:
        """Submit a request; if `turn`, it ends the turn of the loop."""
        request = Request(
            organization=organization,
            rows=[row(first + index, count) for index, count in enumerate(tokens)],
            deadline=self.now + seconds,
            resolve=self.resolved.append,
            tier=tier,
            hold_seconds=hold_seconds,
        )
        self.core.submit(request)
        if turn:
            self.turn()
        return request

    def turn(self, *, busy: bool = False) -> None:
        """End a turn of the loop."""
        while self.due:
            self.due = False
            self.core.pump(quiet=not busy)

    @property
    def flying(self) -> list[Attempt]:
        return [attempt for attempt in self.launched if not attempt.over]

    def succeed(self, attempt: Attempt) -> None:
        self.core.succeed(attempt, answer(attempt.rows, self.asked[attempt]))
        self.turn()

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.core.pump()
        self.turn()

    def finish(self) -> None:
        """Let everything that flies come home, until nothing does."""
        while self.flying:
            self.now += 0.01
            for attempt in self.flying:
                self.succeed(attempt)


def fail(
    world: World, attempt: Attempt, error: type[BackendError] = WorkerFailed, reason: str = "500"
) -> None:
    world.core.fail(attempt, error(attempt.worker.url, reason))


def right(request: Request) -> bool:
    """Whether each row has the vector that is made of its own ids, all by one revision."""
    return [bytes(v) for v in request.vectors if v is not None] == [
        vector(row.ids, row.dimensions, request.revision or "") for row in request.rows
    ]


def idle(core: Dispatcher) -> bool:
    """Whether no request waits and no call is in flight."""
    return not core._active and not core._calls._flying


def waiting(queue: FairQueue) -> list[QueueAccount]:
    """The accounts that have something waiting."""
    return [account for account in queue._accounts.values() if account.shards]
