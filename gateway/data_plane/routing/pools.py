"""The pools: for each model its workers, which must embed something real to stay in.

Work goes to the ready worker with the fewest tokens at work. A worker that misbehaves is out until
it passes its next health check, and its rows are tried on another one; nothing is delivered that
was not verified. What can't be done ends as one of the errors below, uncharged.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
import structlog

from backends.protocol import (
    Backend,
    BackendError,
    InvalidAnswer,
    RequestRefused,
    TokenRow,
    WorkerBusy,
    WorkerFault,
    WorkerInfo,
)
from gateway.data_plane.routing import verification
from gateway.errors import BadGateway, GatewayTimeout, ServerError, Unavailable
from gateway.snapshots import Catalog, ModelSnapshot

log = structlog.get_logger()

_CHECK_TIMEOUT_SECONDS = 5.0
_PROBE = b"".join(token.to_bytes(4, "little") for token in (101, 7592, 102))  # [CLS] hello [SEP]


class NoReadyWorker(Unavailable):
    """No worker of the model is ready."""

    code = "model_warming"


class WorkersBusy(Unavailable):
    """Every ready worker is full."""

    code = "overloaded"


class WorkersFailed(BadGateway):
    """Every worker that was tried misbehaved."""


class DeadlinePassed(GatewayTimeout):
    """The vectors did not come in time."""


class WorkerRefused(ServerError):
    """A worker refused what we sent: our mistake, which a retry won't mend."""


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a worker, for people."""

    model: str
    url: str
    ready: bool
    reason: str
    tokens_at_work: int
    info: WorkerInfo | None


class Worker:
    """One worker of one model."""

    def __init__(self, model_id: str, backend: Backend) -> None:
        self.model_id = model_id
        self.backend = backend
        self.ready = False
        self.reason = "not checked yet"
        self.tokens_at_work = 0
        self.info: WorkerInfo | None = None

    def admit(self, info: WorkerInfo) -> None:
        """Take it into the pool."""
        if not self.ready:
            log.info("worker ready", model=self.model_id, url=self.backend.url)
        self.info, self.ready, self.reason = info, True, ""

    def expel(self, reason: str) -> None:
        """Put it out of the pool until its next health check passes."""
        if self.ready:
            log.warning("worker out", model=self.model_id, url=self.backend.url, reason=reason)
        self.ready, self.reason = False, reason

    def status(self) -> WorkerStatus:
        """Describe it."""
        return WorkerStatus(
            model=self.model_id,
            url=self.backend.url,
            ready=self.ready,
            reason=self.reason,
            tokens_at_work=self.tokens_at_work,
            info=self.info,
        )


class Pools:
    """All workers, by model. `start` and `stop` it with the application."""

    def __init__(
        self,
        workers: Iterable[tuple[str, str]],
        *,
        connect: Callable[[str], Backend],
        catalog: Callable[[], Catalog],
        health_interval_seconds: float,
    ) -> None:
        self._workers = [Worker(model, connect(url)) for model, url in workers]
        self._catalog = catalog
        self._interval_seconds = health_interval_seconds
        self._checks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Check every worker once, then go on checking in the background."""
        await self.check()
        self._checks = [asyncio.create_task(self._keep_checking(w)) for w in self._workers]

    async def check(self) -> None:
        """Check every worker once, all at the same time."""
        await asyncio.gather(*(self._check(worker) for worker in self._workers))

    async def stop(self) -> None:
        """End the checks and close all connections."""
        for task in self._checks:
            task.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)
        for worker in self._workers:
            await worker.backend.close()

    def statuses(self) -> list[WorkerStatus]:
        """Describe every worker."""
        return [worker.status() for worker in self._workers]

    def ready_models(self) -> set[str]:
        """Return the models that have a ready worker."""
        return {worker.model_id for worker in self._workers if worker.ready}

    async def dispatch(
        self, model_id: str, rows: Sequence[TokenRow], *, deadline: float, request_id: str
    ) -> list[memoryview]:
        """Have the rows embedded: raw little-endian float32, verified, in order.

        `deadline` is in `time.monotonic()` seconds. Raises NoReadyWorker or WorkersBusy (503),
        WorkersFailed (502), DeadlinePassed (504), WorkerRefused (500).
        """
        tried: set[Worker] = set()
        failure: BackendError | None = None
        tokens = sum(row.tokens for row in rows)
        while left := self._candidates(model_id, tried):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            worker = min(left, key=lambda candidate: candidate.tokens_at_work)
            tried.add(worker)
            worker.tokens_at_work += tokens
            try:
                # a worker that hangs must leave time for the others
                return await _embed(worker, rows, remaining / len(left), request_id)
            except RequestRefused as error:
                log.error("worker refused our request", url=error.url, reason=error.reason)
                raise WorkerRefused("The gateway made a mistake; nothing was charged.") from None
            except WorkerFault as error:
                worker.expel(error.reason)
                failure = error
            except WorkerBusy as error:
                failure = failure or error
            finally:
                worker.tokens_at_work -= tokens
        raise self._failure(failure, deadline)

    def _candidates(self, model_id: str, tried: set[Worker]) -> list[Worker]:
        return [
            worker
            for worker in self._workers
            if worker.ready and worker.model_id == model_id and worker not in tried
        ]

    @staticmethod
    def _failure(failure: BackendError | None, deadline: float) -> Exception:
        if time.monotonic() >= deadline:
            return DeadlinePassed("The vectors were not ready in time; nothing was charged.")
        if isinstance(failure, WorkerBusy):
            return WorkersBusy(
                "All workers of this model are busy; nothing was charged. Try again shortly.",
                retry_after_seconds=failure.retry_after_seconds,
            )
        if failure is not None:
            return WorkersFailed("No worker could embed this; nothing was charged. Try again.")
        return NoReadyWorker(
            "No worker of this model is ready; nothing was charged. Try again shortly.",
            retry_after_seconds=5,
        )

    async def _keep_checking(self, worker: Worker) -> None:
        while True:
            # jitter, so that many gateways don't check one worker in step
            await asyncio.sleep(self._interval_seconds * random.uniform(0.8, 1.2))  # noqa: S311
            await self._check(worker)

    async def _check(self, worker: Worker) -> None:
        """Have the worker embed one word, after it said that it serves what we sell."""
        model = self._catalog().models.get(worker.model_id)
        if model is None:
            worker.expel(f"the catalogue has no model {worker.model_id}")
            return
        try:
            info = await worker.backend.info(timeout_seconds=_CHECK_TIMEOUT_SECONDS)
            if reason := _mismatch(info, model):
                worker.expel(reason)
                return
            probe = [TokenRow(_PROBE, info.dimensions[0])]
            await _embed(worker, probe, _CHECK_TIMEOUT_SECONDS, "health-check")
        except WorkerBusy as error:
            if not worker.ready:  # one that is ready and full of work is healthy
                worker.expel(error.reason)
        except BackendError as error:
            worker.expel(error.reason)
        else:
            worker.admit(info)


def parse_workers(setting: str) -> list[tuple[str, str]]:
    """Read `MODEL=URL MODEL=URL ...`. Raises ValueError."""
    pairs = []
    for word in setting.split():
        model, equals, url = word.partition("=")
        if not (model and equals and url):
            raise ValueError(f"{word!r} is not MODEL=URL")
        pairs.append((model, url))
    return pairs


async def _embed(
    worker: Worker, rows: Sequence[TokenRow], timeout_seconds: float, request_id: str
) -> list[memoryview]:
    vectors = await worker.backend.embed(
        rows, timeout_seconds=timeout_seconds, request_id=request_id
    )
    if flaw := verification.flaw(rows, vectors, norm_tolerance=0.02):
        raise InvalidAnswer(worker.backend.url, flaw)
    return vectors


def _mismatch(info: WorkerInfo, model: ModelSnapshot) -> str | None:
    """Say why a worker that describes itself so can't serve the model, or None."""
    if info.model != model.id:
        return f"it serves {info.model}"
    if info.vocabulary_sha256 != model.vocabulary_sha256:
        return f"its vocabulary is {info.vocabulary_sha256[:12]}, not the model's"
    if missing := set(model.dimensions) - set(info.dimensions):
        return f"it has no {', '.join(map(str, sorted(missing)))} dimensions"
    if info.tokens_max < model.tokens_max:
        return f"it reads {info.tokens_max} tokens, the model {model.tokens_max}"
    return None
