"""Infinity: the contract, then what it hides: truncation, characters as usage, a hang at 200."""

import struct
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from backends.protocol import (
    AS_ADDRESSED,
    InvalidAnswer,
    RequestRefused,
    TokenRow,
    WorkerBusy,
    WorkerFailed,
    WorkerTimeout,
)
from backends.registry import UnknownBackend, connect
from gateway.data_plane.routing.examination import Examiner, PoolSpec
from testing.gateways import STELLA
from tests.backends.contract import HELLO, WORLD, BackendContract, Subject
from tests.backends.standins import vectors
from tests.backends.standins.control import Engine, engine

ROWS = [TokenRow(HELLO, 16), TokenRow(WORLD, 16)]
LIMIT = 40


@pytest.fixture(scope="module")
def infinity(vocabulary: Path) -> Iterator[Engine]:
    arguments = ("--url-prefix", "/v1", "--tokens-max", str(LIMIT))
    with engine("infinity", "infinity", vocabulary, *arguments) as running:
        yield running


@pytest.fixture(scope="module")
def pooling(vocabulary: Path) -> Iterator[Engine]:
    with engine("infinity", "infinity", vocabulary, "--no-normalise") as running:
        yield running


@pytest.fixture
def url(infinity: Engine, vocabulary: Path) -> str:
    return infinity.url("/v1", vocabulary=vocabulary, revision="r1", tokens_max=LIMIT)


class TestInfinity(BackendContract):
    @pytest.fixture
    def worker(self, url: str, infinity: Engine) -> Subject:
        return Subject(url, dimensions=16, closed_url=url.replace(infinity.base[7:], "127.0.0.1:1"))


class TestInfinityPooled(BackendContract):
    @pytest.fixture
    def worker(self, pooling: Engine, vocabulary: Path, heads: Path) -> Subject:
        url = pooling.url(vocabulary=vocabulary, revision="r1", tokens_max=512, heads=heads)
        closed = url.replace(pooling.base[7:], "127.0.0.1:1")
        return Subject(url, dimensions=32, tolerance=1e-6, closed_url=closed)


async def test_it_is_sent_text_and_gives_the_vectors_of_the_ids(url: str, infinity: Engine):
    backend = connect(url)
    found = await backend.embed(ROWS, timeout_seconds=10)
    await backend.close()
    body = (await infinity.seen())[-1]["body"]
    assert body == {
        "model": "stella",
        "encoding_format": "base64",
        "input": ["hello", "world world"],
    }
    expected = vectors.normalised([101, 2088, 2088, 102], 16)
    assert np.frombuffer(found[1], "<f4") == pytest.approx(expected, abs=1e-7)


async def test_ids_without_a_text_and_rows_too_long_are_our_mistake(url: str):
    """It would truncate the second silently, and nothing in its answer would show it."""
    backend = connect(url)
    with pytest.raises(RequestRefused, match="can't be sent as text"):
        await backend.embed([TokenRow(struct.pack("<3I", 101, 3000, 102), 16)], timeout_seconds=10)
    ids = [101, *[1000] * (LIMIT - 1), 102]
    row = TokenRow(struct.pack(f"<{len(ids)}I", *ids), 16)
    with pytest.raises(RequestRefused, match="41 tokens"):
        await backend.embed([row], timeout_seconds=10)
    await backend.close()


async def test_it_hangs_while_its_health_is_200(url: str, infinity: Engine):
    backend = connect(url)
    async with infinity.fault("hang") as control:
        with pytest.raises(WorkerTimeout):
            await backend.info(timeout_seconds=0.5)
        with pytest.raises(WorkerTimeout):
            await backend.embed(ROWS, timeout_seconds=0.5)
        assert (await control.get("/health")).status_code == httpx.codes.OK
    assert len(await backend.embed(ROWS, timeout_seconds=10)) == 2
    await backend.close()


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        ("overloaded", WorkerBusy, "429"),
        ("error", WorkerFailed, "500.*CUDA"),
        ("nulls", InvalidAnswer, "got `null`"),
        ("nan", InvalidAnswer, "NaN"),
        ("missing", InvalidAnswer, "1 items"),
        ("dimension", InvalidAnswer, r"\[15\], not 16"),
    ],
)
async def test_each_fault_is_told_apart(url: str, infinity: Engine, kind: str, error, reason: str):
    backend = connect(url)
    await backend.info(timeout_seconds=10)
    async with infinity.fault(kind):
        with pytest.raises(error, match=reason):
            await backend.embed(ROWS, timeout_seconds=10)
    assert len(await backend.embed(ROWS, timeout_seconds=10)) == 2
    await backend.close()


@pytest.mark.parametrize("missing", ["vocabulary", "revision", "tokens_max"])
def test_what_it_does_not_tell_must_be_stated(infinity: Engine, vocabulary: Path, missing: str):
    stated = {"vocabulary": vocabulary, "revision": "r1", "tokens_max": 512}
    del stated[missing]
    with pytest.raises(UnknownBackend, match=f"state {missing}="):
        connect(infinity.url(**stated))


async def test_what_calls_the_model_otherwise_joins_its_pool(vocabulary: Path):
    """`model=` is its name there. GATEWAY_WORKERS says which model of the catalog it is."""
    stated = {"vocabulary": vocabulary, "revision": "r1", "tokens_max": 512}
    with engine("infinity", "infinity", vocabulary) as running:
        served = connect(running.url(model="stella", **stated))
        other = connect(running.url(model="local/path", **stated))
        examiner = Examiner(PoolSpec(model=STELLA))
        info = await examiner.handshake(served, timeout_seconds=10)
        assert info.model == AS_ADDRESSED
        assert len(await served.embed(ROWS, timeout_seconds=10)) == 2
        assert (await running.seen())[-1]["body"]["model"] == "stella"
        with pytest.raises(InvalidAnswer, match="serves 'stella', not 'local/path'"):
            await examiner.handshake(other, timeout_seconds=10)
        for backend in (served, other):
            await backend.close()


async def test_behind_an_address_of_our_workers_it_is_named(infinity: Engine):
    backend = connect(infinity.base)
    with pytest.raises(WorkerFailed, match=r"404 .*another engine.*infinity\+http://.*engines.md"):
        await backend.info(timeout_seconds=10)
    await backend.close()
