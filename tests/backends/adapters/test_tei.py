"""TEI: the contract, then what only TEI does, and what must not get through."""

import asyncio
import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backends.protocol import (
    InvalidAnswer,
    RequestRefused,
    TokenRow,
    WorkerBusy,
    WorkerFailed,
    WorkerTimeout,
)
from backends.registry import connect
from tests.backends.contract import HELLO, WORLD, BackendContract, Subject
from tests.backends.standins import vectors
from tests.backends.standins.control import Engine, engine
from tests.backends.standins.heads import applied

ROWS = [TokenRow(HELLO, 16), TokenRow(WORLD, 16)]
LIMIT = 40


@pytest.fixture(scope="module")
def tei(vocabulary: Path) -> Iterator[Engine]:
    arguments = ("--sha", "abc", "--permits", "40", "--tokens-max", str(LIMIT))
    with engine("tei", "tei", vocabulary, *arguments) as running:
        yield running


@pytest.fixture
def url(tei: Engine, vocabulary: Path) -> str:
    return tei.url(vocabulary=vocabulary)


@pytest.fixture
def sha256(vocabulary: Path) -> str:
    return hashlib.sha256(vocabulary.read_bytes()).hexdigest()


class TestTei(BackendContract):
    @pytest.fixture
    def worker(self, url: str, vocabulary: Path) -> Subject:
        closed = f"tei+http://127.0.0.1:1?vocabulary={vocabulary}"
        return Subject(url, dimensions=16, closed_url=closed)


class TestTeiPooled(BackendContract):
    @pytest.fixture
    def worker(self, tei: Engine, vocabulary: Path, heads: Path) -> Subject:
        url = tei.url(vocabulary=vocabulary, heads=heads)
        closed = f"tei+http://127.0.0.1:1?vocabulary={vocabulary}&heads={heads}"
        # a matrix product of many rows sums in a different order than that of one
        return Subject(url, dimensions=512, tolerance=1e-6, closed_url=closed)


def unpacked(ids: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(ids) // 4}I", ids)


def row_of(ids: list[int], dimensions: int = 16) -> TokenRow:
    return TokenRow(struct.pack(f"<{len(ids)}I", *ids), dimensions)


async def test_its_vectors_are_those_of_the_rows_ids(url: str):
    backend = connect(url)
    found = await backend.embed(ROWS, timeout_seconds=10)
    await backend.close()
    for row, vector in zip(ROWS, found, strict=True):
        expected = vectors.normalised(unpacked(row.ids), 16)
        assert np.frombuffer(vector, "<f4") == pytest.approx(expected, abs=1e-7)


async def test_info_is_what_it_tells_and_what_it_was_seen_to_do(url: str, sha256: str):
    backend = connect(url)
    info = await backend.info(timeout_seconds=10)
    await backend.close()
    assert (info.model, info.revision, info.dtype) == ("stella", "abc", "float32")
    assert info.dimensions == (16,)
    assert (info.tokens_max, info.rows_max, info.batch_tokens_max) == (LIMIT, 32, 32 * LIMIT)
    assert info.vocabulary_sha256 == sha256


@pytest.mark.parametrize("dimensions", [32, 512, 1024])
async def test_pooled_mode_applies_the_heads(
    tei: Engine, vocabulary: Path, heads: Path, dimensions: int
):
    backend = connect(tei.url(vocabulary=vocabulary, heads=heads))
    assert (await backend.info(timeout_seconds=10)).dimensions == (32, 512, 1024)
    mixed = [TokenRow(HELLO, dimensions), TokenRow(WORLD, 32), TokenRow(WORLD, dimensions)]
    found = await backend.embed(mixed, timeout_seconds=10)
    await backend.close()
    for row, vector in zip(mixed, found, strict=True):
        pooled = vectors.pooled(unpacked(row.ids), 16)
        expected = applied(heads, pooled, row.dimensions)
        assert np.frombuffer(vector, "<f4") == pytest.approx(expected, abs=5e-7)


async def test_a_large_call_becomes_several(url: str, tei: Engine):
    rows = [row_of([101, 1000 + i, 102]) for i in range(70)]
    backend = connect(url)
    await backend.info(timeout_seconds=10)
    before = len(await tei.seen())
    found = await backend.embed(rows, timeout_seconds=10)
    await backend.close()
    calls = (await tei.seen())[before:]
    assert [len(call["body"]["inputs"]) for call in calls] == [32, 32, 6]
    for row, vector in zip(rows, found, strict=True):
        expected = vectors.normalised(unpacked(row.ids), 16)
        assert np.frombuffer(vector, "<f4") == pytest.approx(expected, abs=1e-7)


async def test_a_call_is_cut_by_bytes_too(url: str, tei: Engine, monkeypatch):
    backend = connect(url)
    await backend.info(timeout_seconds=10)
    empty = len(backend._dialect.body([], None))
    item = len(b'"qabcd"') + 1
    monkeypatch.setattr(backend._dialect, "body_bytes_max", empty + 3 * item)
    rows = [row_of([101, 1000 + i, 102]) for i in range(7)]
    before = len(await tei.seen())
    assert len(await backend.embed(rows, timeout_seconds=10)) == 7
    calls = (await tei.seen())[before:]
    assert [len(call["body"]["inputs"]) for call in calls] == [3, 3, 1]
    assert max(int(call["headers"]["content-length"]) for call in calls) <= empty + 3 * item
    with pytest.raises(RequestRefused, match="row 1 takes"):
        await backend.embed([rows[0], row_of([101, *[1000] * 9, 102])], timeout_seconds=10)
    await backend.close()


async def test_it_is_never_left_to_truncate_normalise_or_slice(
    tei: Engine, url: str, vocabulary: Path, heads: Path
):
    for address, normalize in ((url, True), (tei.url(vocabulary=vocabulary, heads=heads), False)):
        backend = connect(address)
        await backend.info(timeout_seconds=10)
        await backend.close()
        body = (await tei.seen())[-1]["body"]
        assert body.keys() == {"inputs", "truncate", "normalize"}
        assert (body["truncate"], body["normalize"]) == (False, normalize)


async def test_a_row_over_its_limit_is_our_mistake(url: str):
    backend = connect(url)
    fits = row_of([101, *[1000] * (LIMIT - 2), 102])
    over = row_of([101, *[1000] * (LIMIT - 1), 102])
    assert len(await backend.embed([fits], timeout_seconds=10)) == 1
    with pytest.raises(RequestRefused, match="41 tokens; 1 to 40 fit"):
        await backend.embed([fits, over], timeout_seconds=10)
    await backend.close()


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        ("backend", WorkerFailed, "424.*CUDA"),
        ("unhealthy", WorkerBusy, "503"),
        ("nan", InvalidAnswer, "got `null`"),
        ("infinite", InvalidAnswer, "infinity"),
        ("zero", InvalidAnswer, "all zero"),
        ("missing", InvalidAnswer, "1 vectors for 2 rows"),
        ("dimension", InvalidAnswer, r"vectors of \[15\], not 16"),
        ("ragged", InvalidAnswer, "different lengths"),
        ("html", InvalidAnswer, "computed None"),
        ("truncate", InvalidAnswer, "computed 6 tokens where 7"),
        ("prompt", InvalidAnswer, "computed 9 tokens where 7"),
        ("headerless", InvalidAnswer, "computed None"),
        ("hang", WorkerTimeout, "0.5"),
    ],
)
async def test_each_fault_is_told_apart(url: str, tei: Engine, kind: str, error, reason: str):
    backend = connect(url)
    await backend.info(timeout_seconds=10)
    async with tei.fault(kind):
        with pytest.raises(error, match=reason):
            await backend.embed(ROWS, timeout_seconds=0.5 if kind == "hang" else 10)
        with pytest.raises(error):  # while its /health says 200
            await backend.info(timeout_seconds=0.5 if kind == "hang" else 10)
    assert len(await backend.embed(ROWS, timeout_seconds=10)) == 2
    await backend.close()


async def test_every_input_takes_a_permit(url: str, tei: Engine):
    """40 permits: the second of two calls with 30 rows is refused, which is no fault."""
    backend = connect(url)
    await backend.info(timeout_seconds=10)
    rows = [row_of([101, 1000 + i, 102]) for i in range(30)]
    async with tei.fault("hang", times=1) as control:
        first = asyncio.create_task(backend.embed(rows, timeout_seconds=20))
        await control.get("/hanging")
        with pytest.raises(WorkerBusy, match="overloaded"):
            await backend.embed(rows, timeout_seconds=10)
    assert len(await first) == 30
    await backend.close()


@pytest.mark.parametrize(
    "ids",
    [
        [101, 3100, 3001, 102],  # "a" "##b": the text "ab"
        [101, 102, 103, 100, 102],  # specials in between
        [101, 1, 0, 102],  # [PAD], which is not padding here
    ],
)
async def test_ids_that_a_text_says_exactly_are_served(url: str, ids: list[int]):
    backend = connect(url)
    (found,) = await backend.embed([row_of(ids)], timeout_seconds=10)
    await backend.close()
    assert np.frombuffer(found, "<f4") == pytest.approx(vectors.normalised(ids, 16), abs=1e-7)


@pytest.mark.parametrize(
    "ids",
    [
        [101, 3000, 102],  # "##a": the rest of a word that was cut in two
        [101, 3116, 3000, 3000, 3000, 3001, 102],  # "qaaab" in pieces, which is a word of its own
        [1000, 1001, 1002],  # without the [CLS] and [SEP] that TEI adds
        [101, 102],  # nothing in between
        [101, 103, 9000, 102],  # outside the vocabulary
    ],
)
async def test_ids_that_no_text_says_are_not_sent(url: str, tei: Engine, ids: list[int]):
    backend = connect(url)
    await backend.info(timeout_seconds=10)
    before = len(await tei.seen())
    with pytest.raises(RequestRefused, match="row 1"):
        await backend.embed([ROWS[0], row_of(ids)], timeout_seconds=10)
    await backend.close()
    assert len(await tei.seen()) == before


@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        ((), {}, "state revision="),
        (("--sha", "abc"), {"revision": "xyz"}, "'abc', not 'xyz'"),
        (("--sha", "abc"), {"model": "other"}, "'stella', not 'other'"),
        (("--sha", "abc", "--reranker"), {}, "not an embedding model"),
        (("--sha", "abc", "--pooling", "cls"), {"heads": True}, "pools by 'cls'"),
        (("--sha", "abc", "--always-normalises"), {"heads": True}, "its normalization is on"),
        (("--sha", "abc", "--width", "24"), {"heads": True}, "of 24, but the heads need 16"),
    ],
)
async def test_one_set_up_otherwise_does_not_get_in(
    vocabulary: Path, heads: Path, arguments: tuple[str, ...], options: dict, reason: str
):
    options = {**options, "heads": heads} if "heads" in options else options
    with engine("tei", "tei", vocabulary, *arguments) as other:
        backend = connect(other.url(vocabulary=vocabulary, **options))
        with pytest.raises(InvalidAnswer, match=reason):
            await backend.info(timeout_seconds=10)
        with pytest.raises(InvalidAnswer, match=reason):
            await backend.embed(ROWS, timeout_seconds=10)
        await backend.close()


async def test_a_stated_revision_stands_in_for_a_missing_one(vocabulary: Path):
    with engine("tei", "tei", vocabulary) as local:
        backend = connect(local.url(vocabulary=vocabulary, revision="r7"))
        assert (await backend.info(timeout_seconds=10)).revision == "r7"
        await backend.close()
