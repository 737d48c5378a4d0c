"""The contract of `backends.protocol.Backend`: every adapter must pass it.

A test module inherits `BackendContract` and gives it a `worker` fixture: a `Subject`.
"""

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from backends.protocol import (
    Backend,
    RequestRefused,
    TokenRow,
    WorkerLost,
    WorkerTimeout,
    WorkerUnreachable,
)
from backends.registry import connect

HELLO = struct.pack("<3I", 101, 7592, 102)
WORLD = struct.pack("<4I", 101, 2088, 2088, 102)
WORDS = struct.pack("<21I", 101, *range(1996, 2015), 102)
"""Whole words of BERT's vocabulary ("the of and in ..."): text engines can take them exactly, so
any engine can be timed with them."""


@dataclass
class Subject:
    """A running worker to test against the contract."""

    url: str
    dimensions: int
    tolerance: float = 0.0
    """How far a value may change with the other rows of its batch."""
    closed_url: str = "http://127.0.0.1:1"
    """The same kind of address, with nothing listening there."""


def floats(vector: memoryview) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector)


class BackendContract:
    """What every backend guarantees, whatever serves behind it."""

    @pytest.fixture
    async def backend(self, worker: Subject) -> AsyncIterator[Backend]:
        backend = connect(worker.url)
        yield backend
        await backend.close()

    async def test_info_names_what_is_served(self, backend: Backend, worker: Subject):
        info = await backend.info(timeout_seconds=10)
        assert worker.dimensions in info.dimensions
        assert info.tokens_max > 1
        assert info.rows_max > 1

    async def test_vectors_are_unit_length_and_in_the_rows_order(
        self, backend: Backend, worker: Subject
    ):
        rows = [TokenRow(HELLO, worker.dimensions), TokenRow(WORLD, worker.dimensions)]
        forth = await backend.embed(rows, timeout_seconds=10)
        back = await backend.embed(rows[::-1], timeout_seconds=10)
        assert [len(vector) for vector in forth] == [4 * worker.dimensions] * 2
        for vector in forth:
            assert sum(x * x for x in floats(vector)) == pytest.approx(1, abs=1e-5)
        assert floats(forth[0]) != floats(forth[1])
        for one, other in zip(forth, back[::-1], strict=True):
            assert floats(one) == pytest.approx(floats(other), abs=worker.tolerance)

    async def test_a_row_alone_equals_the_row_in_a_batch(self, backend: Backend, worker: Subject):
        rows = [TokenRow(HELLO, worker.dimensions), TokenRow(WORLD, worker.dimensions)] * 20
        together = await backend.embed(rows, timeout_seconds=20)
        alone = await backend.embed(rows[:1], timeout_seconds=10)
        assert floats(together[0]) == pytest.approx(floats(alone[0]), abs=worker.tolerance)

    async def test_a_row_of_whole_words_is_served(self, backend: Backend, worker: Subject):
        (vector,) = await backend.embed([TokenRow(WORDS, worker.dimensions)], timeout_seconds=10)
        assert len(vector) == 4 * worker.dimensions

    async def test_concurrent_calls_get_their_own_vectors(self, backend: Backend, worker: Subject):
        rows = [
            TokenRow(struct.pack("<3I", 101, 1000 + i, 102), worker.dimensions) for i in range(12)
        ]
        alone = [(await backend.embed([row], timeout_seconds=10))[0] for row in rows]
        at_once = await asyncio.gather(
            *(backend.embed([row], timeout_seconds=20) for row in rows for _ in range(2))
        )
        for index, answer in enumerate(at_once):
            expected = floats(alone[index // 2])
            assert floats(answer[0]) == pytest.approx(expected, abs=worker.tolerance)

    async def test_what_it_does_not_serve_is_our_mistake_not_its_fault(
        self, backend: Backend, worker: Subject
    ):
        with pytest.raises(RequestRefused):
            await backend.embed([TokenRow(HELLO, worker.dimensions + 1)], timeout_seconds=10)

    async def test_an_expired_deadline_is_a_timeout(self, backend: Backend, worker: Subject):
        started = time.monotonic()
        with pytest.raises(WorkerTimeout):
            await backend.embed([TokenRow(HELLO, worker.dimensions)], timeout_seconds=0.00001)
        assert time.monotonic() - started < 20

    async def test_a_closed_port_is_unreachable(self, worker: Subject):
        backend = connect(worker.closed_url)
        with pytest.raises(WorkerUnreachable) as caught:
            await backend.embed([TokenRow(HELLO, 8)], timeout_seconds=5)
        assert not isinstance(caught.value, WorkerLost), "it never had the rows"
        await backend.close()

    async def test_closing_twice_is_fine(self, backend: Backend, worker: Subject):
        await backend.embed([TokenRow(HELLO, worker.dimensions)], timeout_seconds=10)
        await backend.close()
        await backend.close()
