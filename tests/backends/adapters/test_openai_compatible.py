"""vLLM: the contract, then its ids, its orders, its errors, and NaN inside base64."""

import asyncio
import errno
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backends.protocol import (
    AS_ADDRESSED,
    InvalidAnswer,
    OutOfResources,
    RequestRefused,
    TokenRow,
    WorkerBusy,
    WorkerFailed,
    WorkerTimeout,
    WorkerUnreachable,
)
from backends.registry import connect
from tests.backends.contract import HELLO, WORLD, BackendContract, Subject
from tests.backends.standins import vectors
from tests.backends.standins.control import Engine, engine
from tests.backends.standins.heads import applied

ROWS = [TokenRow(HELLO, 16), TokenRow(WORLD, 16)]
EXPECTED = [
    vectors.normalised([101, 7592, 102], 16),
    vectors.normalised([101, 2088, 2088, 102], 16),
]


@pytest.fixture(scope="module")
def vllm(vocabulary: Path) -> Iterator[Engine]:
    with engine("openai", "vllm", vocabulary) as running:
        yield running


@pytest.fixture(scope="module")
def pooling(vocabulary: Path) -> Iterator[Engine]:
    with engine("openai", "vllm", vocabulary, "--no-normalise") as running:
        yield running


@pytest.fixture
def url(vllm: Engine) -> str:
    return vllm.url(revision="r1")


class TestOpenAICompatible(BackendContract):
    @pytest.fixture
    def worker(self, url: str) -> Subject:
        return Subject(url, dimensions=16, closed_url="openai+http://127.0.0.1:1?revision=r1")


class TestOpenAICompatiblePooled(BackendContract):
    @pytest.fixture
    def worker(self, pooling: Engine, heads: Path) -> Subject:
        closed = f"openai+http://127.0.0.1:1?revision=r1&heads={heads}"
        url = pooling.url(revision="r1", heads=heads)
        return Subject(url, dimensions=1024, tolerance=1e-6, closed_url=closed)


def values(found: list[memoryview]) -> list[np.ndarray]:
    return [np.frombuffer(vector, "<f4") for vector in found]


async def test_ids_that_no_text_gives_are_served(url: str, vllm: Engine):
    ids = [3000, 9_999_999, 102]
    backend = connect(url)
    (found,) = await backend.embed([TokenRow(struct.pack("<3I", *ids), 16)], timeout_seconds=10)
    await backend.close()
    assert np.frombuffer(found, "<f4") == pytest.approx(vectors.normalised(ids, 16))
    body = (await vllm.seen())[-1]["body"]
    assert body == {"model": "stella", "encoding_format": "base64", "input": [ids]}


async def test_pooled_mode_applies_the_heads(pooling: Engine, heads: Path):
    backend = connect(pooling.url(revision="r1", heads=heads))
    (found,) = await backend.embed([TokenRow(HELLO, 512)], timeout_seconds=10)
    await backend.close()
    expected = applied(heads, vectors.pooled([101, 7592, 102], 16), 512)
    assert np.frombuffer(found, "<f4") == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize("kind", ["shuffled", "usageless", "floats"])
async def test_answers_that_are_odd_and_right_come_through(url: str, vllm: Engine, kind: str):
    backend = connect(url)
    async with vllm.fault(kind):
        found = values(await backend.embed(ROWS, timeout_seconds=10))
    await backend.close()
    assert found[0] == pytest.approx(EXPECTED[0], abs=1e-7)
    assert found[1] == pytest.approx(EXPECTED[1], abs=1e-7)


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        ("dead", WorkerFailed, "500.*EngineCore"),
        ("queue", WorkerBusy, "queue is full"),
        ("nan", InvalidAnswer, "vector at 1 has NaN"),
        ("zero", InvalidAnswer, "all zero"),
        ("missing", InvalidAnswer, "1 items that do not match the 2"),
        ("duplicate", InvalidAnswer, "do not match the 2"),
        ("dimension", InvalidAnswer, r"vectors of \[15\], not 16"),
        ("ragged", InvalidAnswer, "different lengths"),
        ("cut", InvalidAnswer, "63 bytes are not float32s"),
        ("garbled", InvalidAnswer, "not base64"),
        ("foreign", InvalidAnswer, "vectors of 'another'"),
        ("specials", InvalidAnswer, "computed 11 tokens where 7"),
        ("html", InvalidAnswer, "malformed"),
        ("short", InvalidAnswer, "incomplete answer"),
        ("flood", InvalidAnswer, "more than"),
        ("reset", WorkerUnreachable, "Error"),
        ("hang", WorkerTimeout, "0.5"),
    ],
)
async def test_each_fault_is_told_apart(url: str, vllm: Engine, kind: str, error, reason: str):
    backend = connect(url)
    await backend.info(timeout_seconds=10)
    async with vllm.fault(kind):
        with pytest.raises(error, match=reason):
            await backend.embed(ROWS, timeout_seconds=0.5 if kind == "hang" else 10)
        with pytest.raises(error):
            await backend.info(timeout_seconds=0.5 if kind == "hang" else 10)
    assert len(await backend.embed(ROWS, timeout_seconds=10)) == 2
    await backend.close()


async def test_a_full_queue_says_how_long(url: str, vllm: Engine):
    backend = connect(url)
    async with vllm.fault("queue"):
        with pytest.raises(WorkerBusy) as caught:
            await backend.embed(ROWS, timeout_seconds=10)
    await backend.close()
    assert caught.value.retry_after_seconds == 7


async def test_another_model_under_the_same_address_is_its_fault(vocabulary: Path):
    """After a restart with another model every call is 404, but another worker can serve it."""
    with engine("openai", "vllm", vocabulary, "--models", "one", "two") as two:
        backend = connect(two.url(revision="r1", model="two"))
        assert (await backend.info(timeout_seconds=10)).model == AS_ADDRESSED
        proven = backend._proven
        backend._proven = proven._replace(about=proven.about._replace(model="three"))
        with pytest.raises(WorkerFailed, match="404"):
            await backend.embed(ROWS, timeout_seconds=10)
        await backend.close()
        for options, reason in (({}, "state one with model="), ({"model": "x"}, "not 'x'")):
            backend = connect(two.url(revision="r1", **options))
            with pytest.raises(InvalidAnswer, match=reason):
                await backend.info(timeout_seconds=10)
            await backend.close()


async def test_one_that_failed_its_examination_must_pass_one_before_it_serves(
    url: str, vllm: Engine
):
    backend = connect(url)
    assert len(await backend.embed(ROWS, timeout_seconds=10)) == 2
    async with vllm.fault("constant"):
        with pytest.raises(InvalidAnswer, match="same vector for two texts"):
            await backend.info(timeout_seconds=10)
        with pytest.raises(InvalidAnswer, match="same vector for two texts"):
            await backend.embed(ROWS, timeout_seconds=10)
    assert len(await backend.embed(ROWS, timeout_seconds=10)) == 2
    await backend.close()


async def test_an_examination_does_not_hold_up_the_work(url: str, vllm: Engine):
    backend = connect(url)
    await backend.info(timeout_seconds=10)
    async with vllm.fault("hang", times=1) as control:
        examination = asyncio.create_task(backend.info(timeout_seconds=20))
        await control.get("/hanging")
        before = len(await vllm.seen())
        assert len(await backend.embed(ROWS, timeout_seconds=10)) == 2
        assert len(await vllm.seen()) == before + 1
    assert (await examination).model == "stella"
    await backend.close()


async def test_raw_vectors_without_heads_do_not_get_in(pooling: Engine):
    """vLLM only logs a head that doesn't load, and serves the pooled vectors."""
    backend = connect(pooling.url(revision="r1"))
    with pytest.raises(InvalidAnswer, match="length 7: its normalization is off"):
        await backend.embed(ROWS, timeout_seconds=10)
    await backend.close()


async def test_one_that_does_not_tell_its_length_needs_it_stated(vocabulary: Path):
    with engine("openai", "vllm", vocabulary, "--mute") as mute:
        backend = connect(mute.url(revision="r1"))
        with pytest.raises(InvalidAnswer, match="state tokens_max="):
            await backend.info(timeout_seconds=10)
        await backend.close()
        backend = connect(mute.url(revision="r1", tokens_max=3))
        assert (await backend.info(timeout_seconds=10)).tokens_max == 3
        with pytest.raises(RequestRefused, match="row 1 has 4 tokens"):
            await backend.embed(ROWS, timeout_seconds=10)
        await backend.close()


async def test_a_key_comes_from_the_environment(vocabulary: Path, monkeypatch):
    monkeypatch.setenv("ENGINE_KEY", "secret")
    with engine("openai", "vllm", vocabulary, "--key", "secret") as locked:
        backend = connect(locked.url(revision="r1", key_env="ENGINE_KEY"))
        assert (await backend.info(timeout_seconds=10)).model == "stella"
        await backend.close()
        backend = connect(locked.url(revision="r1"))
        with pytest.raises(WorkerFailed, match="401"):
            await backend.info(timeout_seconds=10)
        await backend.close()


async def test_our_own_exhaustion_is_no_fault_of_the_worker(url: str, monkeypatch):
    async def no_descriptor(*_, **__):
        raise OSError(errno.EMFILE, "too many open files")

    backend = connect(url)
    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", no_descriptor)
    with pytest.raises(OutOfResources):
        await backend.embed(ROWS, timeout_seconds=5)
    await backend.close()


async def test_a_stale_connection_is_no_fault(url: str, vllm: Engine):
    backend = connect(url)
    await backend.info(timeout_seconds=10)
    before = len(await vllm.seen())
    async with vllm.fault("reset", times=1):
        assert len(await backend.embed(ROWS, timeout_seconds=10)) == 2
    assert len(await vllm.seen()) == before + 2
    await backend.close()


async def test_a_cancelled_call_leaves_the_client_usable(url: str, vllm: Engine):
    backend = connect(url)
    await backend.info(timeout_seconds=10)
    async with vllm.fault("hang", times=1) as control:
        call = asyncio.create_task(backend.embed(ROWS, timeout_seconds=20))
        await control.get("/hanging")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert len(await backend.embed(ROWS, timeout_seconds=10)) == 2
    await backend.close()
